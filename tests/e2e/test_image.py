"""The steps of the Dockerfile, in a virtual environment in place of a container."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from infra.source_archive import DOCKERFILE, ROOT, read_sources

WHEELS = "pip wheel --no-cache-dir -c constraints.txt --wheel-dir /wheels ."
INSTALL = "pip install --no-cache-dir /wheels/*.whl"

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    """Run a program that knows nothing of this project but what is in a folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.timeout(1500)
def test_the_archive_alone_builds_and_runs(tmp_path: Path) -> None:
    """Kernels and all; the entry point then finds every program."""
    dockerfile = (ROOT / DOCKERFILE).read_text()
    assert WHEELS in dockerfile
    assert INSTALL in dockerfile
    sources = read_sources()
    assert sources is not None
    with tarfile.open(fileobj=io.BytesIO(sources.tar_gz)) as archive:
        archive.extractall(tmp_path / "src", filter="data")
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", *WHEELS.replace("/wheels", "../wheels").split(), folder=tmp_path / "src")
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    run(python, "-m", "pip", "install", "--no-index", *wheels, folder=tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    for program in ("producer", "consumer", "infra", "memmodel", "shardlift"):
        assert "Usage" in run(python, "-m", program, "--help", folder=home)
    assert "--tier" in run(python, "-m", "consumer", "work", "--help", folder=home)
    run(python, "-m", "producer", "demo", folder=home)  # it verifies every voxel
    assert (home / "demo" / "volume" / "info").is_file()
    code = "from infra.source_archive import read_sources; print(read_sources())"
    assert run(python, "-c", code, folder=home).strip() == "None"  # an installed wheel has none
