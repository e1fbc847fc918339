"""A wheel in an empty environment is all that a user needs."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a program to its end; what it prints."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a clean copy of this repository; its kernels are hardly optimised."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    for name in run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT
    ).splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*build, "--wheel-dir", "dist", ".", folder=source, KERNEL_FLAGS="-O1")
    (made,) = (source / "dist").glob("shardlift-*.whl")
    return made


@pytest.mark.slow  # compiles the kernels, installs every dependency
@pytest.mark.timeout(1200)
def test_the_wheel_holds_every_room(wheel: Path) -> None:
    """Packages, their type marks, the kernels' stub; no tests."""
    with zipfile.ZipFile(wheel) as found:
        names = found.namelist()
    tops = {name.partition("/")[0] for name in names}
    rooms = {"braid", "consumer", "delivery", "infra", "memmodel", "producer", "runtime"}
    assert tops >= rooms | {"shardlift", "_braid-stubs"}
    assert not tops & {"tests", "benchmarks", "fuzz", "docs"}
    assert {f"{room}/py.typed" for room in rooms | {"shardlift"}} <= set(names)


@pytest.mark.slow  # installs every dependency
@pytest.mark.timeout(1200)
def test_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """`pip install` gives the command, which makes and verifies a volume."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    run(home / "bin" / "pip", "install", "--quiet", wheel, folder=tmp_path)
    command = home / "bin" / "shardlift"
    assert run(command, "--version", folder=tmp_path).startswith("shardlift ")
    assert "Usage: shardlift" in run(command, "--help", folder=tmp_path)
    shown = run(command, "demo", "--dir", "demo", folder=tmp_path)
    assert "environment/bin/shardlift view --dest demo/volume" in shown
    run(command, "doctor", "--dest", "demo/volume", folder=tmp_path)
    run(home / "bin" / "python", "-m", "producer", "runs", "--dest", "demo/volume", folder=tmp_path)
