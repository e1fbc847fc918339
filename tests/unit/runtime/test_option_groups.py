"""Groups of options: Typer sees the options, the command gets the group."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from runtime import cli
from runtime.option_groups import spread

NumberOption = Annotated[int, typer.Option("--number", help="How many.")]


@dataclass(frozen=True)
class Place:
    """Where: one option that is needed, and one that is not."""

    folder: Annotated[str, typer.Option("--folder", envvar="FOLDER_OF_THIS_TEST")]
    file: Annotated[str, typer.Option("--file")] = "a"


@dataclass(frozen=True)
class PlaceAndNumber(Place):
    """A group that extends another."""

    number: NumberOption = 1


def run(command: Callable[..., None], *arguments: str, **environment: str) -> str:
    """Output of the only command of a program."""
    app = cli.new_app("A program for tests.")
    app.command()(command)
    app.command("another")(lambda: None)
    result = CliRunner().invoke(app, [command.__name__, *arguments], env=environment)
    return result.output if result.exit_code == 0 else f"{result.exit_code}: {result.output}"


def show(
    word: Annotated[str, typer.Argument()], place: PlaceAndNumber, *, json: bool = False
) -> None:
    """Show what came."""
    cli.print_line(f"{word} {place} {json}")


def test_a_group_comes_as_one() -> None:
    """With what options, the environment and defaults have; an argument stays one."""
    arguments = ["w", "--folder", "d", "--number", "2", "--json"]
    assert run(show, *arguments) == "w PlaceAndNumber(folder='d', file='a', number=2) True\n"
    assert "folder='e', file='f'" in run(show, "w", "--file", "f", FOLDER_OF_THIS_TEST="e")


def test_its_options_are_on_the_help_page() -> None:
    """Each with its own text, as if the command had declared it."""
    page = run(show, "--help")
    assert "How many." in page
    assert "FOLDER_OF_THIS_TEST" in page
    assert "[default: a]" in page
    assert "place" not in page.lower().replace("placeandnumber", "")


@pytest.mark.parametrize("arguments", [["w"], ["w", "--folder", "d", "--number", "x"]])
def test_its_options_are_checked(arguments: list[str]) -> None:
    """One that is needed, and one of another type."""
    assert run(show, *arguments).startswith("2: ")


def test_a_command_without_groups_stays_as_it_is() -> None:
    """Nothing stands between it and Typer."""

    def plain(number: NumberOption = 1) -> None:
        """Do nothing."""

    assert spread(plain) is plain
