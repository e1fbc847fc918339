"""Help pages of all commands of a program, in a process that refuses what no help page needs.

Run as `python -m tests.support.help_walk PROGRAM`: prints the commands as a JSON list of words.
A module that is imported although no page needs it ends the process with its name.
"""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

import typer
from typer.testing import CliRunner

LIBRARIES: Final = {
    *("asyncio", "deflate", "google", "google_crc32c", "grpc", "matplotlib", "neuroglancer"),
    *("numpy", "psutil", "pyarrow", "rich", "sqlite3", "structlog", "tenacity", "tensorstore"),
    *("yaml", "zstandard"),  # pydantic is Typer's own in some versions; our models are refused
}
ROOMS: Final = {"braid", "delivery", "memmodel", "producer", "consumer", "infra", "shardlift"}
FOR_HELP: Final = {"__main__", "commands", "defaults"}  # of a room
RUNTIME_WORK: Final = {"document", "log", "memory", "storage", "table"}


class NoHelpPageNeedsItError(BaseException):
    """A help page imports what takes longer than itself."""


class Refusal(MetaPathFinder):
    """Finder that refuses libraries, and of our rooms all that commands import when they run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Refuse a module, or leave it to the other finders."""
        del path, target
        package, _, below = fullname.partition(".")
        module = below.partition(".")[0]
        work = package in ROOMS and module and module not in FOR_HELP
        model = package == "runtime" and module in RUNTIME_WORK
        if work or model or package in {*LIBRARIES, "braid"}:
            raise NoHelpPageNeedsItError(fullname)
        return None


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - Click is a part of Typer in some versions
    """Command and all below it, as they are typed; a shell completes the options of each."""
    yield path
    context = command.make_context(" ".join(path), [], resilient_parsing=True)
    assert command.shell_complete(context, "--"), path
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from walk(command.get_command(context, name), (*path, name))


def show(app: typer.Typer, path: Sequence[str]) -> None:
    """Show the help page of a command, and what is wrong with an option that it lacks."""
    page = CliRunner().invoke(app, [*path, "--help"])
    assert page.exit_code == 0, (path, page.output)
    assert "Usage: " in page.output, path
    refused = CliRunner().invoke(app, [*path, "--no-such-option"])
    assert refused.exit_code == 2, (path, refused.output)


def main() -> None:
    """Walk the program's commands."""
    sys.meta_path.insert(0, Refusal())
    app = importlib.import_module(f"{sys.argv[1]}.__main__").app
    paths = list(walk(typer.main.get_command(app)))
    for path in paths:
        show(app, path)
    print(json.dumps(paths))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
