"""Command line: settings and options; every error is a line, a hint and an exit code."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import typer

from runtime import cli, common_options
from runtime.errors import PermanentError, UnreachableError, UsageError

app = cli.new_app("A program for tests.")


class TheirsError(Exception):
    """An error of a room that the command line does not know."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "hostile": lambda: UsageError("a\x1b[2J\r\u202eb\nerror: x", hint="c\x9b31m [red]"),
    "hostile file": lambda: FileNotFoundError(2, "No such file", "a\x1b[2J\nb\udc9b"),
    "usage": lambda: UsageError("two\nlines", hint="do this"),
    "unreachable": lambda: UnreachableError("no such directory: /x"),
    "permanent": lambda: PermanentError("s0/0a: row 5: bad zstd"),
    "theirs": lambda: TheirsError("scale 0: no sharding"),
    "file": lambda: FileNotFoundError(2, "No such file or directory", "/a/b"),
    "bug": lambda: KeyError("x"),
    "exit": lambda: typer.Exit(1),
    "abort": typer.Abort,
    "ctrl-c": KeyboardInterrupt,
}


@app.command()
def show(
    source: common_options.SourceOption,
    scales: common_options.ScalesOption = "0",
    state: common_options.StateOption = None,
    json: common_options.JsonOption = False,
) -> None:
    """Show the settings."""
    cli.print_line(f"{source} {common_options.parse_scales(scales)} {state} {json}")


@app.command()
def fail(how: str) -> None:
    """Go wrong."""
    error = ERRORS[how]()
    raise error


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Run the program in an empty directory; its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_PATH", raising=False)
    structlog.reset_defaults()  # each run is a process of its own
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test run keeps its own
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.run(app, {"TheirsError": 2})
        return int(caught.value.code or 0)

    return call


Run = Callable[..., int]
Captured = pytest.CaptureFixture[str]


def test_a_flag_wins_over_the_environment_which_wins_over_dotenv(
    run: Run, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three places, one order."""
    monkeypatch.setenv("SCALES", "")  # so that what .env sets is undone
    monkeypatch.delenv("SCALES")
    (tmp_path / ".env").write_text("SOURCE_PATH=from-file\nSCALES=1,2\n")
    assert run("show") == 0
    assert capsys.readouterr().out == "from-file (1, 2) None False\n"
    monkeypatch.setenv("SOURCE_PATH", "from-environment")
    assert run("show", "--json") == 0
    assert capsys.readouterr().out == "from-environment (1, 2) None True\n"
    assert run("show", "--source", "from-flag", "--scales", "3") == 0
    assert capsys.readouterr().out == "from-flag (3,) None False\n"


def test_help_names_the_variable_of_every_option(run: Run, capsys: Captured) -> None:
    """For every option that has one."""
    assert run("show", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for variable in ("SOURCE_PATH", "SCALES", "STATE_PATH"):
        assert f"env var: {variable}" in text


def test_no_command_shows_the_help(run: Run, capsys: Captured) -> None:
    """As help, not as an error message made of it."""
    assert run() == 2
    assert "Commands:\n  show" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "code", "lines"),
    [
        ("usage", 2, ["error: two lines", "hint: do this"]),
        ("hostile", 2, [r"error: a\x1b[2J \u202eb error: x", r"hint: c\x9b31m [red]"]),
        ("hostile file", 3, [r"error: No such file: a\x1b[2J b\udc9b"]),
        ("unreachable", 3, ["error: no such directory: /x"]),
        ("permanent", 1, ["error: s0/0a: row 5: bad zstd"]),
        ("theirs", 2, ["error: scale 0: no sharding"]),
        ("file", 3, ["error: No such file or directory: /a/b"]),
        ("exit", 1, []),
        ("abort", 130, ["interrupted"]),
        ("ctrl-c", 130, ["interrupted"]),
    ],
)
def test_an_error_is_a_line_a_hint_and_a_code(
    run: Run, capsys: Captured, how: str, code: int, lines: list[str]
) -> None:
    """On stderr; stdout is for results."""
    assert run("fail", how) == code
    captured = capsys.readouterr()
    assert captured.err.splitlines() == lines
    assert captured.out == ""


def test_a_bug_is_one_line_and_keeps_its_traceback(run: Run, capsys: Captured) -> None:
    """In a file that the hint names."""
    assert run("fail", "bug") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: KeyError: 'x'"
    place = Path(second.removeprefix("hint: a bug; its traceback: "))
    assert "raise error" in place.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "Missing option '--source'"),
        (["show", "--nonsense"], "No such option: --nonsense"),
        (["show", "--source", "x", "--scales", "a"], "expected scale numbers"),
        (["nonsense"], "No such command 'nonsense'"),
        (["fail"], "Missing argument"),
    ],
)
def test_wrong_use_is_a_line_with_a_way_to_help(
    run: Run, capsys: Captured, arguments: list[str], message: str
) -> None:
    """Exit code 2."""
    assert run(*arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert "program" in second  # after what started the tests, if that was `python -m pytest`
    assert "--help" in second


def test_a_traceback_is_logged_at_level_debug(
    run: Run, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At LOG_LEVEL=debug only."""
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert run("fail", "unreachable") == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_bad_log_level_is_an_error_like_others(
    run: Run, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although logging is what reports errors."""
    monkeypatch.setenv("LOG_LEVEL", "loud")
    assert run("show", "--source", "x") == 2
    assert capsys.readouterr().err.startswith("error: LOG_LEVEL must be one of")


SLEEPER = """
import time, typer
from runtime import cli
app = cli.new_app("Sleeps.")
@app.command()
def sleep():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidied", flush=True)
@app.command()
def talk():
    for _ in range(100_000):
        print("x" * 100)
cli.run(app)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_with_cleanup(number: signal.Signals) -> None:
    """What is to be cleaned up is; exit code 130."""
    with _start("sleep") as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert out == b"tidied\n"
    assert err == b"interrupted\n"
    assert process.returncode == 130


def test_a_closed_output_pipe_is_not_an_error() -> None:
    """`... | head -1` ends quietly."""
    with _start("talk") as process:
        assert process.stdout
        assert process.stdout.readline() == b"x" * 100 + b"\n"
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""


def _start(command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SLEEPER, command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def test_what_deletes_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal; `--yes` answers, and is needed without one."""
    cli.confirm("delete it", yes=True)
    with pytest.raises(UsageError, match="this would delete it, and no terminal") as refused:
        cli.confirm("delete it", yes=False)
    assert "--yes" in (refused.value.hint or "")
    master, slave = os.openpty()
    with os.fdopen(master, "wb", buffering=0) as person, os.fdopen(slave, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        person.write(b"y\n")
        cli.confirm("delete it", yes=False)
        person.write(b"n\n")
        with pytest.raises(typer.Abort):
            cli.confirm("delete it", yes=False)
