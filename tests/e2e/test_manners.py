"""What destroys asks on a terminal; a script is not asked where nothing is lost for good."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workspace import Workspace, clean_environment, make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run of a small volume."""
    made = make_workspace(tmp_path_factory.mktemp("manners") / "w", (128, 64, 64), 2, "0.5")
    done = made.enqueue("--wait")
    assert done.returncode == 0, done.stderr
    return made


def on_terminal(folder: Path, answer: str, *words: str) -> tuple[int, str]:
    """Run a command whose stdin and stderr are a terminal, and answer; exit code and output."""
    master, slave = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "producer", *words],
            cwd=folder,
            env=clean_environment(),
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            text=True,
        ) as command:
            os.close(slave)
            slave = -1
            os.write(master, f"{answer}\n".encode())
            out, _ = command.communicate(timeout=120)
            asked = _rest(master)
            return command.returncode, out + asked
    finally:
        os.close(master)
        if slave != -1:
            os.close(slave)


def _rest(master: int) -> str:
    """What the terminal shows."""
    shown = b""
    try:
        while part := os.read(master, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    return shown.decode()


def test_overwrite_of_finished_work(workspace: Workspace) -> None:
    """No: nothing begins. Without a terminal, and with --yes, it does."""
    words = workspace.enqueue_command("--scales", "0", "--downres", "1", "--overwrite")
    before = workspace.files("out")
    code, shown = on_terminal(workspace.folder, "n", *words)
    assert code == 130, shown
    assert "again? [y/N]" in shown
    assert workspace.files("out") == before
    code, shown = on_terminal(workspace.folder, "", *words, "--yes")
    assert code == 0, shown
    assert "again?" not in shown


def test_cancel(workspace: Workspace) -> None:
    """No: the run goes on. Yes: it is cancelled, and once it is, nothing is asked."""
    dest = ("--dest", "cancelled")
    queued = workspace.run(*workspace.enqueue_command("--scales", "0", dest="cancelled"))
    assert queued.returncode == 0, queued.stderr
    code, shown = on_terminal(workspace.folder, "n", "cancel", *dest)
    assert code == 130, shown
    assert "Cancel run " in shown
    assert "are done? [y/N]" in shown
    assert "unfinished" in workspace.run("runs", *dest).stdout
    code, shown = on_terminal(workspace.folder, "y", "cancel", *dest)
    assert code == 0, shown
    assert "is cancelled" in shown
    code, shown = on_terminal(workspace.folder, "", "cancel", *dest)
    assert code == 0, shown
    assert "was cancelled before" in shown
    assert "[y/N]" not in shown
