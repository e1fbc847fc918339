"""Options -v, -q and --version: how much a program tells beside its results.

Imports next to nothing, because `--help` and `--version` end here.
"""

import contextlib
from functools import cache
from typing import Annotated, Any

import typer

from runtime import settings
from runtime.text import printable


class _State:
    """Of this process."""

    base = "info"  # the program's own log level
    steps = 0  # by which it logs more, or less if negative
    level: str | None = None  # that these steps led to, since when it is the environment's


def begin(level: str) -> None:
    """Begin a program.

    Args:
        level: its log level where neither LOG_LEVEL nor options set another.
    """
    _State.base, _State.steps, _State.level = level, 0, None


def set_base(level: str | None) -> None:
    """Let a command log at a level of its own; None: at its program's."""
    _State.base = level or _State.base


def configure_log() -> None:
    """Set up the log of a command whose options are parsed; its processes log as it does."""
    from runtime import log  # noqa: PLC0415 - structlog takes longer than all else of --help

    level = _level()
    if _State.steps:
        _State.level = level
        settings.set_log_level(level)
    log.configure(level=level)


def _level() -> str:
    """The program's log level, or as many steps from it as options say."""
    if _State.level is not None:
        return _State.level
    levels = settings.LOG_LEVELS
    level = settings.log_level(_State.base)
    return levels[min(max(levels.index(level) - _State.steps, 0), len(levels) - 1)]


def note_misspelt() -> None:
    """Note names in the `.env` that are a setting's but for a slip."""
    if not is_quiet():
        for name, meant in settings.misspelt().items():
            note = f"note: .env: {name} is not a setting; did you mean {meant}?"
            typer.echo(printable(note), err=True)  # noqa: TID251 - cli imports this module


def trace(error: BaseException) -> None:
    """Log, at level debug, the traceback of an error that a command reports in one line."""
    # The error itself may be a bad LOG_LEVEL, or that this machine has no memory for another
    # module: then Python raises errors of many kinds here, and the one line must still come.
    with contextlib.suppress(Exception):
        if _level() != settings.LOG_LEVELS[0]:
            return  # a mistyped option waits for no import
        configure_log()
        from runtime import log  # noqa: PLC0415 - see above

        log.trace(error)


def is_chosen() -> bool:
    """Whether -v or -q was given."""
    return _State.steps != 0


def is_quiet() -> bool:
    """Whether only results and errors are wanted."""
    return _State.steps < 0


@cache
def parameters() -> list[Any]:
    """Parameters -v and -q, for a command of any kind."""
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    holder.command()(_declare)
    command = typer.main.get_command(holder)
    return list(command.params)


def _more(times: int) -> int:
    _State.steps += times
    return times


def _less(times: int) -> int:
    _State.steps -= times
    return times


def _declare(
    *,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            callback=_more,
            expose_value=False,
            show_default=False,
            help="Log more, to stderr; -vv logs most.",
        ),
    ] = 0,
    quiet: Annotated[
        int,
        typer.Option(
            "--quiet",
            "-q",
            count=True,
            callback=_less,
            expose_value=False,
            show_default=False,
            help="Print results and errors only.",
        ),
    ] = 0,
) -> None:
    """Hold the parameters."""


def print_version() -> None:
    """Print the product's name and version."""
    from importlib.metadata import version  # noqa: PLC0415 - takes as long as all else of --help

    typer.echo(f"shardlift {version('shardlift')}")  # noqa: TID251 - nothing foreign in it
