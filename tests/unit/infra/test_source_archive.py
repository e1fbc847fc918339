"""Archive of the sources: exactly what the Dockerfile copies, the same on every machine."""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from infra.source_archive import DOCKERFILE, ROOT, SUFFIXES, SourceArchive, copied, read_sources
from runtime.errors import UsageError


def project() -> SourceArchive:
    """The archive of this project."""
    found = read_sources()
    assert found is not None
    return found


def write(archive: SourceArchive, folder: Path, *, mode: int, reverse: bool, time_s: int) -> Path:
    """Write the sources as another machine has them."""
    folder.mkdir()
    for name in sorted(archive.files, reverse=reverse):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.files[name])
        path.chmod(mode)
        os.utime(path, (time_s, time_s))
    return folder


def test_two_machines_make_the_same_archive(tmp_path: Path) -> None:
    """Whatever their clocks, their umask, the order of their folders, and what they compiled."""
    here = project()
    one = write(here, tmp_path / "one", mode=0o600, reverse=False, time_s=1)
    other = write(here, tmp_path / "other", mode=0o775, reverse=True, time_s=1_700_000_000)
    (other / "runtime" / "__pycache__").mkdir()
    (other / "runtime" / "__pycache__" / "log.cpython-311.pyc").write_bytes(b"made")
    (other / "_braid.c").write_bytes(b"made")
    (other / "infra" / "notes.txt").write_bytes(b"mine")
    archives = [read_sources(folder) for folder in (one, other)]
    assert {found.sha256 for found in archives if found} == {here.sha256}
    assert len({found.tar_gz for found in archives if found}) == 1


def test_a_process_with_another_hash_seed_makes_the_same_archive() -> None:
    """Sets are in another order there."""
    code = "from infra.source_archive import read_sources; print(read_sources().sha256)"
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == project().sha256


def test_a_changed_source_changes_the_archive(tmp_path: Path) -> None:
    """A byte of any file, or its name."""
    here = project()
    folder = write(here, tmp_path / "changed", mode=0o644, reverse=False, time_s=1)
    (folder / "consumer" / "answers.py").write_bytes(here.files["consumer/answers.py"] + b"\n")
    changed = read_sources(folder)
    (folder / "consumer" / "answers.py").write_bytes(here.files["consumer/answers.py"])
    (folder / "consumer" / "answers.py").rename(folder / "consumer" / "answer.py")
    renamed = read_sources(folder)
    assert changed
    assert renamed
    assert len({here.sha256, changed.sha256, renamed.sha256}) == 3


def test_entries_have_no_properties_of_this_machine() -> None:
    """And the archive is one that any program can unpack."""
    archive = project()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive.tar_gz))) as tar:
        entries = tar.getmembers()
        assert [one.name for one in entries] == sorted(archive.files)
        for one in entries:
            kept = (one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode)
            assert kept == (0, 0, 0, "", "", 0o644)
            content = tar.extractfile(one)
            assert content
            assert content.read() == archive.files[one.name]
    assert archive.tar_gz[4:8] == bytes(4)  # the time in the gzip header


def test_it_holds_what_is_tracked_of_what_the_dockerfile_copies() -> None:
    """No source is left out for its suffix."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    names = [DOCKERFILE, ".dockerignore", *copied((ROOT / DOCKERFILE).read_text())]
    command = [git, "ls-files", "-co", "--exclude-standard", "--", *names]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    there = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert set(project().files) == there


def test_the_dockerfile_copies_every_package() -> None:
    """Those of pyproject, and what the build needs beside them."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = configuration["tool"]["setuptools"]["packages"]["find"]["include"]
    names = copied((ROOT / DOCKERFILE).read_text())
    rooms = {name.removesuffix("*") for name in packages}
    assert {name for name in names if (ROOT / name).is_dir()} == {"kernels", *rooms}
    assert all(f"{room}/__init__.py" in project().files for room in rooms)
    for needed in ("pyproject.toml", "setup.py", "_braid.pyx", "_braid.pxd", "_braid.pyi"):
        assert needed in names
    assert configuration["project"]["readme"] in names
    assert {".py", ".pxi", ".h"} < SUFFIXES


def test_docker_is_given_the_same_context() -> None:
    """The names that .dockerignore lets through are those that are copied."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert allowed == set(copied((ROOT / DOCKERFILE).read_text()))
    assert "**/__pycache__" in rules


def test_the_image_says_what_it_is_and_does_not_run_as_root() -> None:
    """OCI labels, with the version of the package; a user by number, as Kubernetes wants it."""
    text = (ROOT / DOCKERFILE).read_text()
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    label = "org.opencontainers.image"
    assert f'{label}.version="{configuration["version"]}"' in text
    assert f'{label}.licenses="{configuration["license"]}"' in text
    assert (f"{label}.source" in text) == ("urls" in configuration)  # no invented address
    (user,) = [line for line in text.splitlines() if line.startswith("USER ")]
    assert int(user.split()[1]) > 0
    assert 'ENTRYPOINT ["python", "-m"]' in text  # the worker itself gets SIGTERM, without a shell


def test_without_sources_there_is_no_archive(tmp_path: Path) -> None:
    """As in an installed wheel; a part that is missing from a clone is named."""
    assert read_sources(tmp_path) is None
    (tmp_path / DOCKERFILE).write_text("FROM x\nCOPY --from=build /a /b\nCOPY kernels kernels\n")
    (tmp_path / ".dockerignore").write_text("")
    with pytest.raises(UsageError, match="lacks kernels"):
        read_sources(tmp_path)
