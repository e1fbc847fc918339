"""Every command of docs/tutorial.md, in its order, ends as the page says."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workspace import clean_environment

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text()
# The Makefile's target runs this in the clone; the reader's own data is the demo's here.
STANDS_FOR = {
    "make demo": "shardlift demo --dir demo",
    ". .venv/bin/activate": "true",
    "/data/export": "demo/export",
    "/data/volume": "own",
    "--spec spec.json": "--spec demo/spec.json",
}


def commands() -> Iterator[str]:
    """The commands of the page's code blocks, lines that go on joined."""
    for block in re.findall(r"^```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            command = line
            for written, meant in STANDS_FOR.items():
                command = command.replace(written, meant)
            yield re.sub(r"^shardlift ", f"{sys.executable} -u -m shardlift ", command)


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command line in a shell."""
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def view(command: str, folder: Path) -> None:
    """Start the viewer and end it with Ctrl-C, as the page says, once it printed its link."""
    words = [*command.split(), "--no-browser"]
    with subprocess.Popen(
        words, cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, text=True
    ) as viewer:
        assert viewer.stdout is not None
        assert "http" in next(line for line in viewer.stdout if "http" in line)
        viewer.send_signal(signal.SIGINT)
        viewer.communicate(timeout=60)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the reader works."""
    return tmp_path_factory.mktemp("tutorial")


@pytest.mark.slow  # the demo twice, and a fleet
@pytest.mark.timeout(900)
def test_the_tutorial(home: Path) -> None:
    """Each command ends with 0, but for the fleet that meets the cut file; after it all is well."""
    ended: dict[str, subprocess.CompletedProcess[str]] = {}
    listed = list(commands())
    assert len(listed) >= 12
    for number, command in enumerate(listed):
        if " view " in command:
            view(command, home)
            continue
        done = run(command, home)
        expected = 1 if " fleet " in command else 0
        assert done.returncode == expected, (command, done.stdout, done.stderr)
        ended[f"{number} {command}"] = done
    letters = next(done for name, done in ended.items() if "dead-letters list" in name)
    assert "s0/0" in letters.stdout
    demos = [done for name, done in ended.items() if " demo " in name]
    assert len(demos) == 2
    assert "made anew: s0/0_0_0.arrow" in demos[1].stderr
    assert "every voxel is right" in demos[1].stderr
    verified = next(done for name, done in ended.items() if " verify " in name)
    assert "no findings" in verified.stdout


@pytest.mark.slow  # the demo twice once more
@pytest.mark.timeout(900)
def test_requeued_too_early(home: Path) -> None:
    """A shard that was requeued before its cut file was mended does not keep the demo from it."""
    demo, cut, redo, fleet = (
        next(command for command in commands() if word in command)
        for word in (" demo ", "truncate", " replay ", " fleet ")
    )
    requeue = f"{sys.executable} -m producer dead-letters requeue s0/0 --dest demo/volume"
    for command in (demo, cut, redo, fleet, requeue):  # the demo is there already, or is made
        done = run(command, home)
        assert done.returncode == (1 if command == fleet else 0), (command, done.stderr)
    ended = run(demo, home)
    assert ended.returncode == 0, ended.stderr
    assert "every voxel is right" in ended.stderr
    for last in ("status", "verify"):
        done = run(f"{sys.executable} -m producer {last} --dest demo/volume", home)
        assert done.returncode == 0, done.stdout
