"""Options whose values need no conversion."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

from runtime.option_values import keep_plain_values

ROOT = Path(__file__).resolve().parents[3]


def _next(value: int | None) -> int | None:
    return None if value is None else value + 1


def _declare(
    *,
    times: Annotated[int, typer.Option("-t", count=True, callback=_next)] = 0,
    size: Annotated[int | None, typer.Option("--size", callback=_next)] = None,
    needed: Annotated[int, typer.Option("--needed")],
) -> None:
    """Hold the options."""
    print((times, size, needed))  # noqa: T201 - read below


@pytest.mark.parametrize(
    ("typed", "values"),
    [("--needed 5", (1, None, 5)), ("-tt --size 7 --needed 5", (3, 8, 5))],
)
def test_values_are_those_of_typer(
    typed: str, values: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A count and None pass as they are, all else is converted; callbacks get each once."""
    app = typer.Typer(rich_markup_mode=None)
    app.command()(_declare)
    command = typer.main.get_command(app)
    keep_plain_values(command.params)
    keep_plain_values(command.params)  # as a group that parses several command lines
    command.main(typed.split(), standalone_mode=False)
    assert capsys.readouterr().out == f"{values}\n"


def test_a_required_option_stays_required() -> None:
    """None is not its value."""
    app = typer.Typer(rich_markup_mode=None)
    app.command()(_declare)
    command = typer.main.get_command(app)
    keep_plain_values(command.params)
    with pytest.raises(Exception, match="Missing"):
        command.main([], standalone_mode=False)


@pytest.mark.parametrize(("level", "logged"), [("warning", "False\n"), ("debug", "True\n")])
def test_a_mistyped_option_waits_for_no_log(level: str, logged: str) -> None:
    """Unless its traceback is wanted."""
    script = "import atexit, runpy, sys; sys.argv = ['producer', '--nope']; "
    script += "atexit.register(lambda: print('structlog' in sys.modules)); "
    script += "runpy.run_module('producer', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "LOG_LEVEL": level},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, logged), done.stderr
