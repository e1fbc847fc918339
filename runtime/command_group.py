"""Groups of commands that import a command's module when it is called, not before.

So `--help` and `--version` take no longer than Python and Typer themselves: Google's libraries,
Arrow, pydantic and numpy are imported by the commands that use them.
"""

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from runtime import option_panels, verbosity
from runtime.errors import UnreachableError
from runtime.help_page import HelpPage
from runtime.interpreter import missing_package, start_failure
from runtime.option_groups import spread
from runtime.option_values import keep_plain_values


def _print_version(wanted: bool) -> None:
    """Print it and exit, before a missing command is an error."""
    if wanted:
        verbosity.print_version()
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
]


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command by name, known before its module is imported.

    Args:
        name: as it is typed.
        module: what brings it: `register(app)` adds the command to a Typer app; without, it is
            that command of its `app`, or the whole app where that has none of the name.
        summary: what `--help` of the group says of it; fits a line of 80 columns.
        panel: heading below which `--help` lists it.
        log_level: what it logs by itself, where that is not what its program logs.
    """

    name: str
    module: str
    summary: str
    panel: str
    log_level: str | None = None

    def load(self) -> Any:
        """The command, once its module is imported."""
        module = self._imported()
        if hasattr(module, "register"):
            holder = App()
            module.register(holder)
            command: Any = typer.main.get_group(holder).commands[self.name]
        else:
            group = typer.main.get_group(module.app)
            command = group.commands.get(self.name, group)
            command.name = self.name
        command.short_help = self.summary
        return command

    def _imported(self) -> Any:
        try:
            return importlib.import_module(self.module)
        except Exception as error:
            failure = None if missing_package(error) else start_failure(error)
            if failure is None:  # a package that is missing has a message of its own
                raise
            raise UnreachableError(*failure) from error

    def placeholder(self) -> TyperCommand:
        """Command that has a name and a summary only."""
        return Command(self.name, short_help=self.summary, rich_help_panel=self.panel)


class Command(HelpPage, TyperCommand):
    """Command with our help page, and with -v and -q."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        option_panels.assign(self.params)
        self.params += verbosity.parameters()

    def invoke(self, ctx: Any) -> Any:
        """Run the command, after its log is set up."""
        verbosity.configure_log()
        verbosity.note_misspelt()
        return super().invoke(ctx)


class Group(HelpPage, TyperGroup):
    """Group of commands, those of `lazy` imported when they are called."""

    lazy: Sequence[LazyCommand] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += verbosity.parameters()
        self._listing = False
        declared = dict(self.commands)
        self.commands.clear()  # the order is that of the table
        self.commands.update({one.name: one.placeholder() for one in self.lazy})
        self.commands.update(declared)
        self._unloaded = {one.name: one for one in self.lazy}

    def get_params(self, ctx: Any) -> Any:
        """Options of the group, which take no imports."""
        options = super().get_params(ctx)
        keep_plain_values(options)
        return options

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; None without one."""
        if not self._listing and (found := self._unloaded.pop(cmd_name, None)):
            self.commands[cmd_name] = found.load()
            verbosity.set_base(found.log_level)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands by panel."""
        del ctx
        self.write_commands(self.commands, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Completions; to list commands imports none of them."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False


class App(typer.Typer):
    """Typer app whose commands and groups have our help page.

    Args:
        commands: those that are imported when they are called.
        options: Typer's own.
    """

    def __init__(self, commands: Iterable[LazyCommand] = (), **options: Any) -> None:
        kind = type("Group", (Group,), {"lazy": tuple(commands)})
        super().__init__(
            **{
                "cls": kind,
                "add_completion": False,
                "no_args_is_help": True,
                "pretty_exceptions_enable": False,  # `cli.run` reports errors
                "rich_markup_mode": None,  # brackets in a help text stay as they are
                "context_settings": {"help_option_names": ["-h", "--help"]},
                **options,
            }
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """As Typer's own, with groups of options as the options that they hold."""
        register = super().command(name, **{"cls": Command, **options})

        def add(command: Any) -> Any:
            register(spread(command))
            return command

        return add


def new_program(text: str, commands: Iterable[LazyCommand], *, completion: bool = False) -> App:
    """Make a program that has `--version`.

    Args:
        text: its purpose, the first lines of `--help`.
        commands: what it can do.
        completion: whether it installs completion into shells; only a command of its own can.
    """
    app = App(commands, help=text, add_completion=completion)

    @app.callback()
    def program(*, version: VersionOption = False) -> None:
        """Hold the option."""

    return app
