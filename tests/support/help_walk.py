"""Help pages of all commands of a program, in a process that refuses what no help page needs.

Run as `python -m tests.support.help_walk PROGRAM`: prints the commands as a JSON list of words.
A module that is imported although no page needs it ends the process with its name.
"""

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

import typer

from runtime import cli

FOR_COMPLETION: Final = {"pydantic"}  # Typer's own, to read what was typed before
LIBRARIES: Final = {
    *("asyncio", "deflate", "google", "google_crc32c", "grpc", "matplotlib", "neuroglancer"),
    *("numpy", "psutil", "pyarrow", "rich", "sqlite3", "structlog", "tenacity", "tensorstore"),
    *("yaml", "zstandard", *FOR_COMPLETION),
}
ROOMS: Final = {"braid", "delivery", "memmodel", "producer", "consumer", "infra", "shardlift"}
FOR_HELP: Final = {"__main__", "commands", "defaults"}  # of a room
WORK: Final = {"document", "log", "memory", "storage", "table"}  # of `runtime`


class NoHelpPageNeedsItError(BaseException):
    """A help page imports what takes longer than itself."""


class Refusal(MetaPathFinder):
    """Finder that refuses libraries, and of our rooms all that commands import when they run."""

    def __init__(self) -> None:
        self.libraries = LIBRARIES

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Refuse a module, or leave it to the other finders."""
        del path, target
        package, _, below = fullname.partition(".")
        module = below.partition(".")[0]
        ours = package in ROOMS and module and module not in FOR_HELP
        if ours or (package == "runtime" and module in WORK):
            raise NoHelpPageNeedsItError(fullname)
        if package in self.libraries or package == "braid":
            raise NoHelpPageNeedsItError(fullname)
        return None


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - Click is a part of Typer in some versions
    """The command and all below it, by the words that are typed."""
    yield path, command
    if hasattr(command, "list_commands"):
        context = _context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))


def _context(command: Any) -> Any:  # noqa: ANN401 - as above
    return command.make_context(command.name, [], resilient_parsing=True)


def run(app: typer.Typer, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command line."""
    page = io.StringIO()
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(page), contextlib.redirect_stderr(page):
        try:
            cli.run(app, log_level="warning")
        except SystemExit as ended:
            return int(ended.code or 0), page.getvalue()


def main() -> None:
    """Walk the program's commands."""
    refusal = Refusal()
    sys.meta_path.insert(0, refusal)
    app = importlib.import_module(f"{sys.argv[1]}.__main__").app
    commands = dict(walk(typer.main.get_command(app)))
    for path in commands:
        code, page = run(app, *path, "--help")
        assert (code, "Usage: " in page) == (0, True), (path, page)
        code, page = run(app, *path, "--no-such-option")
        assert (code, "No such option" in page) == (2, True), (path, page)
    refusal.libraries = LIBRARIES - FOR_COMPLETION
    for path, command in commands.items():
        assert command.shell_complete(_context(command), "--"), path
    print(json.dumps([*commands]))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
