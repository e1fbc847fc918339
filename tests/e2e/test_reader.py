"""Commands that look, given by a user who may read everything and write nothing."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import CommandResult
from tests.support.workspace import (
    Workspace,
    clean_environment,
    corrupt_zstd,
    make_small_workspace,
)

NOBODY = "65534"


@dataclass(frozen=True)
class Reader:
    """A user without the right to write.

    Attributes:
        prefix: what runs a command as that user.
        desk: the only folder that is theirs.
    """

    prefix: tuple[str, ...]
    desk: Path

    def run(self, workspace: Workspace, *words: str) -> CommandResult:
        """Run a command about the run of the workspace; it must not print a traceback."""
        command = [*self.prefix, sys.executable, "-m", "producer", *words]
        done = subprocess.run(
            [*command, "--dest", str(workspace.volume)],
            cwd=workspace.folder,
            env=clean_environment() | {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(self.desk)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert "a bug" not in done.stderr, done.stderr
        return CommandResult(done.args, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that others may read, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="shardlift-reader-"))
    folder.chmod(0o755)
    yield folder
    allow_writing(folder, allowed=True)
    shutil.rmtree(folder)


def allow_writing(folder: Path, *, allowed: bool) -> None:
    """Give or take the right to write, for the owner too, of a folder and all in it."""
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | 0o200 if allowed else mode & ~0o222)


@pytest.fixture(scope="module")
def reader(public: Path) -> Reader:
    """Ourselves, if rights bind us; for root, which none bind, another user."""
    desk = public / "desk"
    desk.mkdir()
    desk.chmod(0o777)
    if os.geteuid() != 0:
        return Reader((), desk)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv: root itself may write everywhere")
    prefix = (setpriv, f"--reuid={NOBODY}", "--clear-groups")
    script = "import producer.render, sys; open(sys.argv[1], 'w').close()"
    probe = [*prefix, sys.executable, "-c", script]
    for place, allowed in ((desk / "probe", True), (public / "probe", False)):
        done = subprocess.run([*probe, str(place)], capture_output=True, text=True, check=False)
        if (done.returncode == 0) is not allowed:
            pytest.skip(f"another user cannot be had here: {done.stderr[-200:] or 'may write'}")
    return Reader(prefix, desk)


@pytest.fixture(scope="module")
def failed(public: Path) -> Workspace:
    """A run that ended with a dead shard; nobody may write anything of it."""
    workspace = make_small_workspace(public / "failed")
    corrupt_zstd(workspace.arrow(1))
    assert workspace.enqueue("--wait").returncode == 1
    allow_writing(workspace.folder, allowed=False)
    return workspace


@pytest.fixture(scope="module")
def waiting(public: Path) -> Workspace:
    """A run that no worker serves."""
    workspace = make_small_workspace(public / "waiting")
    assert workspace.enqueue().returncode == 0
    allow_writing(workspace.folder, allowed=False)
    return workspace


def test_a_reader_looks_at_a_run_that_failed(reader: Reader, failed: Workspace) -> None:
    """Results and exit codes are its owner's; no note on the queue of a run that has ended."""
    page = reader.desk / "report.html"
    for code, text, *words in (
        (0, "queue: unknown: the queue", "status"),
        (1, "blocked by s0/", "errors"),
        (1, "zstd", "errors", "--details"),
        (0, "failed", "runs"),
        (0, f"wrote {page}", "report", "--out", str(page)),
        (1, "not made: failed: ", "verify"),
        (0, "zstd", "dead-letters", "list"),
    ):
        done = reader.run(failed, *words)
        assert (done.returncode, text in done.stdout) == (code, True), (words, done)
        assert "note:" not in done.stderr, (words, done)
    assert page.is_file()


def test_a_reader_looks_at_a_run_that_waits(reader: Reader, waiting: Workspace) -> None:
    """What cannot be known without the queue is said."""
    status = reader.run(waiting, "status")
    assert status.returncode == 0, status
    assert "not writable" in status.stdout
    for words in (("errors",), ("dead-letters", "list")):
        done = reader.run(waiting, *words)
        assert done.returncode == 0, done
        assert "what it holds is not shown" in done.stderr, done


def test_a_reader_changes_nothing(reader: Reader, failed: Workspace, waiting: Workspace) -> None:
    """An error line and a hint that helps; another queue would not."""
    for workspace, *words in (
        (failed, "dead-letters", "requeue", "--all"),
        (failed, "dead-letters", "drop", "--all", "--yes"),
        (waiting, "replay", "--missing"),
    ):
        done = reader.run(workspace, *words)
        assert done.returncode == 2, (words, done)
        assert "not writable" in done.stderr
        assert "hint: who may write it and its folder can do this" in done.stderr
    refused = reader.run(waiting, "cancel")
    assert refused.returncode == 3, refused
    assert "error: Permission denied: " in refused.stderr
    refused = reader.run(failed, "report", "--out", str(failed.folder / "report.html"))
    assert refused.returncode == 3, refused
    assert "error: Permission denied: " in refused.stderr
