"""`producer demo` in an empty folder, again, and in foreign folders."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from producer.actions.demo import SIZE
from producer.synthetic_export import SyntheticVolume
from producer.tensorstore_reader import Volume
from tests.support.commands import CommandResult, run_in_process


def demo(folder: Path, *arguments: str) -> CommandResult:
    """`python -m producer demo` in a folder."""
    return run_in_process("producer", "demo", *arguments, folder=folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo ran; what it said lies in `said`."""
    folder = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "producer", "demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.mark.slow  # the demo itself: CI runs it for its own sake too
def test_the_volume_is_right(home: Path) -> None:
    """Made below ./demo, clipped at every face, in several shards, with merged labels and gaps."""
    info = json.loads((home / "demo" / "volume" / "info").read_text())
    assert all(edge % 64 for edge in info["scales"][0]["size"])
    assert len(list((home / "demo" / "volume" / "8x8x8").glob("*.shard"))) > 4
    sample = SyntheticVolume(SIZE)
    box = ((100, 100, 100), SIZE)
    truth = sample.labels(*box)
    assert (Volume(str(home / "demo" / "volume")).read(0, *box) == truth).all()
    assert (truth == 0).any()
    assert len(np.unique(sample.supervoxels(*box))) > len(np.unique(truth))


@pytest.mark.slow  # the demo itself: CI runs it for its own sake too
def test_it_prints_its_commands(home: Path) -> None:
    """It prints the commands it stands for, and they do what they say: nothing is left to do."""
    said = (home / "said").read_text()
    commands = [
        line.removeprefix("  $ python -m producer ").split()
        for line in said.splitlines()
        if line.startswith("  $ ")
    ]
    assert [words[0] for words in commands] == [
        *("init", "enqueue", "view", "status", "verify", "dead-letters", "report"),
    ]
    for words in commands:
        if words[0] == "view":
            continue
        done = run_in_process("producer", *words, folder=home)
        assert done.returncode == 0, (words, done.stderr)
    assert (home / "demo" / "report.html").is_file()


@pytest.mark.slow  # the demo itself: CI runs it for its own sake too
def test_again(home: Path) -> None:
    """A second time nothing is made again but what went missing; all is verified again."""
    lost, *others = sorted((home / "demo" / "volume" / "8x8x8").glob("*.shard"))
    whole, before = lost.read_bytes(), [other.stat().st_mtime_ns for other in others]
    lost.unlink()
    done = demo(home)
    assert done.returncode == 0, done.stderr
    assert "every voxel is right" in done.stderr
    assert lost.read_bytes() == whole
    assert [other.stat().st_mtime_ns for other in others] == before


@pytest.mark.slow
def test_another_version_starts_anew(home: Path) -> None:
    """What an older version left is cleared away, not mixed."""
    mark = home / "demo" / "demo.json"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"demo": "0.0.1"}))
    shard = min((home / "demo" / "volume" / "8x8x8").glob("*.shard"))
    before = shard.stat().st_mtime_ns
    done = demo(home)
    assert done.returncode == 0, done.stderr
    assert shard.stat().st_mtime_ns > before


def test_a_foreign_folder(tmp_path: Path) -> None:
    """A folder with other things is refused, and stays as it is."""
    (tmp_path / "export").mkdir()
    precious = tmp_path / "export" / "thesis.txt"
    precious.write_text("years")
    done = demo(tmp_path, "--dir", str(tmp_path))
    assert done.returncode == 2
    assert "--dir" in done.stderr
    assert [*tmp_path.rglob("*")] == [tmp_path / "export", precious]
