"""Standard streams that are closed, full or gone."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from runtime import cli, log
app = cli.new_app("Talks.")
@app.command()
def talk(lines: int = 3, file: str = ""):
    cli.print_stderr("a note")
    log.get().warning("an event")
    if file:
        with open(file, "w") as opened:  # its descriptor must not be that of a closed stream
            assert opened.fileno() > 2
            cli.print_stderr("another note")
            print("a result", flush=True)
            opened.write("mine")
    for _ in range(lines):
        print("x" * 100, flush=True)
cli.run(app)
"""
FULL = "error: standard output cannot be written: No space left on device"


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program with streams as a shell redirects them."""
    command = ["bash", "-c", f'"$@" {redirection}', "x", sys.executable, "-c", PROGRAM]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", ">&- 2>&-", ">&- 2>&- <&-"])
def test_closed_streams(redirection: str, tmp_path: Path) -> None:
    """What would be printed is gone; the work is done, and no file gets it."""
    done = shell(redirection, "--file", str(tmp_path / "made"))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "made").read_text() == "mine"


def test_a_full_stdout_is_told() -> None:
    """Lost results are an error, after the work is done."""
    done = shell(">/dev/full")
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if line.startswith("error")] == [FULL]


def test_a_full_stderr_loses_notes_only() -> None:
    """Notes and log lines that cannot be written stop nothing."""
    done = shell("2>/dev/full")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)


def test_everything_full() -> None:
    """Then the exit code alone tells."""
    assert shell(">/dev/full 2>/dev/full").returncode == 3


def test_a_reader_of_notes_that_is_gone() -> None:
    """A pipe that nobody reads stops nothing where only notes go there."""
    done = shell("2> >(exec true); sleep 0.2", "--lines", "1000")
    assert "Traceback" not in done.stdout + done.stderr


def test_a_terminal_that_was_closed() -> None:
    """As after `nohup`, when its window is closed: the work ends with its own exit code."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "input()\n" + PROGRAM],
        stdin=subprocess.PIPE,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    os.close(master)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16", "cp437"])
def test_what_an_encoding_lacks_is_escaped(encoding: str) -> None:
    """A terminal that cannot show a character gets its escape."""
    program = "from runtime import cli, streams\nstreams.guard()\nprint('\\udce9 \\u4e2d')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.decode(encoding) == "\\udce9 \\u4e2d\n" or encoding == "utf-16"
