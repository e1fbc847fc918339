"""The command `shardlift`: all programs under one name, help that is quick and fits."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import consumer.__main__
import infra.__main__
import memmodel.__main__
import producer.__main__
from runtime.command_group import LazyCommand
from shardlift.__main__ import COMMANDS, app
from tests.support.commands import run_in_process

ROOT = Path(__file__).resolve().parents[3]
COMMAND = Path(sys.executable).with_name("shardlift")
PROGRAMS = ("shardlift", "producer", "consumer", "memmodel", "infra")
HEAVY = ("google", "numpy", "pyarrow", "pydantic", "structlog", "rich", "tensorstore", "grpc")
SUMMARY_CHARS = 62  # beside the longest name, in 80 columns
LINE_CHARS = 79


def leaves() -> Iterator[tuple[str, ...]]:
    """Every command that does something, as typed after `shardlift`."""
    yield from _leaves(typer.main.get_command(app), ())


def _leaves(  # Click is a part of Typer in some versions
    command: Any,  # noqa: ANN401
    path: tuple[str, ...],
) -> Iterator[tuple[str, ...]]:
    if not hasattr(command, "list_commands"):
        yield path
        return
    context = command.make_context("shardlift", [], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from _leaves(command.get_command(context, name), (*path, name))


LEAVES = list(leaves())


def shardlift(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the installed command."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_all_programs_have_one_name() -> None:
    """The producer's commands and the workers as they are; the rest below a word of theirs."""
    names = [one.name for one in COMMANDS]
    theirs = [*producer.__main__.COMMANDS, *consumer.__main__.COMMANDS]
    assert set(names) >= {one.name for one in theirs} | {"infra", "memory"}
    assert {path[1] for path in LEAVES if path[0] == "memory"} == {
        one.name for one in memmodel.__main__.COMMANDS
    }
    assert {path[1] for path in LEAVES if path[0] == "infra"} == {
        one.name for one in infra.__main__.COMMANDS
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_version_and_help(program: str, tmp_path: Path) -> None:
    """Each program has both, `-h` too."""
    version = run_in_process(program, "--version", folder=tmp_path)
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"shardlift \d+\.\d+\.\d+\S*\n", version.stdout)
    long, short = (run_in_process(program, name, folder=tmp_path) for name in ("--help", "-h"))
    assert long.returncode == 0
    assert long.stdout == short.stdout
    assert "Usage: " in long.stdout


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("shardlift", ["--help"]),
        ("shardlift", ["--version"]),
        ("shardlift", []),
        ("shardlift", ["infra", "--help"]),
        ("producer", ["--help"]),
        ("producer", ["--version"]),
        ("consumer", ["--help"]),
    ],
)
def test_help_imports_nothing_that_takes_time(program: str, arguments: list[str]) -> None:
    """Neither libraries nor the modules of commands."""
    script = (
        f"import sys, json; sys.argv = [{program!r}, *{arguments!r}]; import atexit\n"
        "atexit.register(lambda: print(json.dumps([*sys.modules]), file=sys.stderr))\n"
        f"import runpy; runpy.run_module({program!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    modules = json.loads(done.stderr.splitlines()[-1])
    assert [name for name in HEAVY if name in modules] == []
    assert [name for name in modules if ".commands." in name] == []


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.name)
def test_summaries_fit(one: LazyCommand) -> None:
    """A line of 80 columns holds each, whole; the command itself has the same name."""
    assert len(one.summary) <= SUMMARY_CHARS
    assert one.load().name == one.name


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_help_page(path: tuple[str, ...], tmp_path: Path) -> None:
    """Fits 80 columns, names no types of Python and no ranges of x, ends with an example."""
    page = run_in_process("shardlift", *path, "--help", folder=tmp_path).stdout
    text, _, examples = page.partition("\nExample")
    assert [line for line in text.splitlines() if len(line) > LINE_CHARS] == []
    assert not re.search(r"<\w+|\bINTEGER\b|\bRANGE\b|x[<>]=", page), page
    assert f"shardlift {path[0]}" in examples
    assert "python" not in page


def test_many_options_have_headings(tmp_path: Path) -> None:
    """What, how, where, workers, for experts; nothing else is left over but the common ones."""
    page = run_in_process("shardlift", "enqueue", "--help", folder=tmp_path).stdout
    titles = re.findall(r"^([A-Z][\w ]+):$", page, re.MULTILINE)
    assert titles == ["What", "How", "Where", "Workers", "For experts", "Options", "Example"]
    rest = page.split("\nOptions:\n")[1].split("\n\n")[0]
    assert re.findall(r"--[\w-]+", rest) == ["--verbose", "--quiet", "--help"]


def test_help_on_a_terminal_has_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bold headings, unless NO_COLOR."""
    script = "import sys; sys.stdout.isatty = lambda: True; from runtime import help_page as h; "
    script += "print(repr(h._styled('What', '1')))"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    command = [sys.executable, "-c", script]
    assert b"\\x1b[1mWhat" in subprocess.check_output(command, cwd=ROOT)
    monkeypatch.setenv("NO_COLOR", "1")
    assert subprocess.check_output(command, cwd=ROOT) == b"'What'\n"
    del tmp_path


def test_completion_of_a_shell() -> None:
    """The installed command completes names of commands and of options."""
    shown = shardlift("--show-completion", "bash").stdout + shardlift("--help").stdout
    assert "--install-completion" in shown
    words = {"COMP_WORDS": "shardlift repl", "COMP_CWORD": "1"}
    found = shardlift(_SHARDLIFT_COMPLETE="complete_bash", **words)
    assert found.stdout.split() == ["replay"], found.stderr
    words = {"COMP_WORDS": "shardlift status --wa", "COMP_CWORD": "2"}
    found = shardlift(_SHARDLIFT_COMPLETE="complete_bash", **words)
    assert found.stdout.split() == ["--watch"], found.stderr


def test_verbosity(tmp_path: Path) -> None:
    """-v logs what a command else does not; -q says results and errors only."""
    missing = ("runs", "--state", str(tmp_path))
    plain = run_in_process("shardlift", *missing, folder=tmp_path)
    assert plain.returncode == 0
    environment = {**os.environ}
    environment.pop("LOG_LEVEL", None)
    wrong = ("status", "--dest", str(tmp_path / "none"))
    told = run_in_process("shardlift", "-vv", *wrong, folder=tmp_path, environment=environment)
    assert "command_failed" in told.stderr
    told = run_in_process("shardlift", *wrong, "-v", folder=tmp_path, environment=environment)
    assert "command_failed" not in told.stderr  # one step is level info
    told = run_in_process("shardlift", *wrong, "-q", folder=tmp_path, environment=environment)
    assert told.returncode == 2
    assert told.stderr.startswith("error: no run below")
    assert "command_failed" not in told.stderr


def test_files_in_the_working_folder_are_not_run(tmp_path: Path) -> None:
    """Whatever they are called: rooms, libraries, modules of Python itself."""
    names = ("runtime", "consumer", "producer", "shardlift", "typer", "numpy", "typing", "types")
    for name in (*names, "re", "json", "dataclasses", "logging", "importlib"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py was run')\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for arguments in (["--version"], ["status", "--dest", "none"]):
        done = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "was run" not in done.stdout + done.stderr
        assert done.returncode in {0, 2}, done.stderr
