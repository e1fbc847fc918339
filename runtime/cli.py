"""Command line support: what a program prints and asks, error reports and exit codes.

A program's `__main__` ends in `run(app)`. A command returns nothing on success, raises
`typer.Exit(code)` for another exit code, and leaves errors to `run`, which prints each as one line
and a hint.
"""

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from runtime import command_group, interrupts, other_tools, settings, streams, verbosity
from runtime.errors import (
    EXIT_DONE,
    EXIT_FINDINGS,
    EXIT_INTERRUPTED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    ShardliftError,
    UsageError,
)
from runtime.interpreter import as_typed, import_failure, missing_package
from runtime.text import json_text, printable, printable_lines

if TYPE_CHECKING:
    from runtime.document import Document

_said: dict[str, str | None] = {}  # by this command: its error, its hint, its JSON document
_LOST_HINT: Final = "what the command did is done; only its text is lost"
_STYLE: Final = re.compile(r"\x1b\[\d*m")


def new_app(text: str) -> typer.Typer:
    """Make a program or a group of commands for `run`.

    Args:
        text: its purpose, the first lines of `--help`.
    """
    return command_group.App(help=text)


def run(
    app: typer.Typer,
    exit_codes: Mapping[str, int] | None = None,
    *,
    log_level: str = "info",
) -> NoReturn:
    """Run a program and exit as documented; no known error ends in a traceback.

    Args:
        app: the program.
        exit_codes: exit codes of errors by the names of their classes, whose modules are not
            imported here; the error's own text is printed.
        log_level: used where LOG_LEVEL is not set; programs that print progress log less.
    """
    code = EXIT_FINDINGS
    _said.clear()
    try:
        streams.guard()
        interrupts.raise_in_command()
        settings.load_dotenv()
        verbosity.begin(log_level)
        code = _exit_code(app(standalone_mode=False))
    except Exception as error:  # noqa: BLE001 - the one place where errors become exit codes
        code = _report_error(error, exit_codes or {})
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    interrupts.end_at_once()
    if code == EXIT_INTERRUPTED:
        _print_stderr("interrupted")
    _complete_json(code)
    _flush_and_exit(code)


def _complete_json(code: int) -> None:
    """Print an error as the document that `--json` promises, if no result was printed."""
    if code == EXIT_DONE or "document" in _said or "--json" not in sys.argv[1:]:
        return
    error = _said.get("error", "interrupted" if code == EXIT_INTERRUPTED else "ended early")
    # The model is runtime.document.ErrorDocument, which takes longer to import than this program.
    found = {"schema": 1, "error": error, "hint": _said.get("hint"), "exit_code": code}
    print_lines(json_text(found, indent=1))


def _exit_code(returned: object) -> int:
    """Exit code of Typer's result: the code of a `typer.Exit`, else the command's return value."""
    return returned if isinstance(returned, int) else EXIT_DONE


def _report_error(error: Exception, exit_codes: Mapping[str, int]) -> int:
    """Print an error in one or two lines; returns its exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help page
        help_page: str = error.format_message()  # type: ignore[attr-defined] # one of Typer's own
        for line in _STYLE.sub("", help_page).split("\n"):
            _print_stderr(line)
        return EXIT_USAGE
    verbosity.trace(error)
    if isinstance(error, typer.Abort):
        return EXIT_INTERRUPTED
    if isinstance(error, ShardliftError):
        _print_error(str(error), error.hint)
        return error.exit_code
    if hasattr(error, "format_message"):  # Typer's own; its module depends on Typer's version
        message: str = error.format_message()
        _print_error(message, other_tools.hint(message) or _usage_hint(error))
        return EXIT_USAGE
    for kind in type(error).__mro__:
        if kind.__name__ in exit_codes:
            _print_error(str(error), getattr(error, "hint", None))
            return exit_codes[kind.__name__]
    return _report_unknown(error)


def _report_unknown(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):  # the reader of our output is gone: `... | head`
        return EXIT_DONE
    if missing := missing_package(error):
        _print_error(*missing)
        return EXIT_USAGE
    if failure := import_failure(error):
        _print_error(*failure)
        return EXIT_UNREACHABLE
    if isinstance(error, OSError) and error.strerror:
        _print_error(": ".join(filter(None, [error.strerror, _text(error.filename)])))
        return EXIT_UNREACHABLE
    first = str(error).splitlines()[0] if str(error) else ""
    place = _save_traceback(error)
    _print_error(f"{type(error).__name__}: {first}".rstrip(": "), f"a bug; its traceback: {place}")
    return EXIT_FINDINGS


def can_ask() -> bool:
    """Whether a terminal can answer questions."""
    return bool(sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty())


def confirm(deed: str, *, yes: bool, needs_answer: bool = True) -> None:
    """Ask on the terminal before something is done that is hard to undo.

    Args:
        deed: what is about to be done, such as `delete 14 resources`.
        yes: `--yes` was given: do not ask.
        needs_answer: without a terminal refuse, instead of going on as scripts expect.

    Raises:
        UsageError: there is no terminal, and no `--yes`.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not can_ask():
        if not needs_answer:
            return
        raise UsageError(
            f"this would {deed}, and no terminal can be asked", hint="if that is meant, pass --yes"
        )
    typer.confirm(printable(f"{deed[:1].upper()}{deed[1:]}?"), abort=True, err=True)


def _text(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else ""


def _usage_hint(error: Exception) -> str | None:
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    path = re.sub(r"^shardlift(?= |$)", "python -m shardlift", context.command_path)  # as typed
    return f"{path} --help shows its options"


def _save_traceback(error: Exception) -> str:
    """Path of a file with the traceback, or why there is none."""
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="shardlift-",
            suffix=".traceback",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(printable_lines("".join(traceback.format_exception(error))))
    except OSError as reason:
        return f"none ({reason.strerror}); LOG_LEVEL=debug shows it"
    return file.name


def _print_error(message: str, hint: str | None = None) -> None:
    _said["error"], _said["hint"] = _one_line(message), hint and _one_line(hint)
    _print_stderr(f"error: {_said['error']}")
    if hint:
        _print_stderr(f"hint: {_said['hint']}")


def _one_line(text: str) -> str:
    """A text in one line, whose commands work as printed."""
    return as_typed(" ".join(text.split()))


def print_line(line: str = "") -> None:
    """Print a line of a result; what is not printable is escaped, commands work as printed."""
    typer.echo(printable(as_typed(line)))  # noqa: TID251 - the one place that prints results


def print_lines(text: str) -> None:
    """Print lines of a result, each of which was made of printable texts, such as a table."""
    typer.echo(printable_lines(text))  # noqa: TID251 - likewise


def print_document(document: "Document") -> None:
    """Print the JSON document of a command."""
    print_json(document.text())


def print_json(text: str) -> None:
    """Print the one JSON document of a command, as text."""
    _said["document"] = text
    print_lines(text)


def print_stderr(line: str) -> None:
    """Print a line for people, a note or progress, unless -q; commands in it work as printed."""
    if not verbosity.is_quiet():
        _print_stderr(as_typed(line))


def _print_stderr(line: str) -> None:
    """Print a line to stderr; what is not printable is escaped."""
    print(printable(line), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints to stderr


def _flush_and_exit(code: int) -> NoReturn:
    """Exit; with an error where results could not be written to stdout."""
    lost = streams.flush_results()
    if lost is not None:
        _print_error(f"standard output cannot be written: {lost.strerror}", _LOST_HINT)
    sys.exit(code or (EXIT_UNREACHABLE if lost else EXIT_DONE))
