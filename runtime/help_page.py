"""Help pages: options and commands below headings, examples that can be pasted, plain metavars."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runtime import settings
from runtime.interpreter import as_typed
from runtime.option_panels import ORDER, OTHER

_TYPES: Final = {"int": "N", "float": "NUMBER", "str": "TEXT", "path": "PATH", "file": "FILE"}
_TYPE: Final = re.compile(r"<(\w+(?:\[\w+\])?)(?: range)?>|\b([A-Z]+) RANGE\b")
_CHOICE: Final = re.compile(r"[<\[]([\w-]+(?:\|[\w-]+)+)[>\]]")
_EXTRA: Final = re.compile(r"  ?\\?\[([^\[\]]*)\]$")  # older versions escape the bracket
_EXAMPLE: Final = "Example: "
_HEADING: Final = "1"  # bold
_NAME: Final = "36"  # cyan
_LINE_CHARS: Final = 76
_NAME_CHARS: Final = 26  # of an option whose text begins on the same line


class HelpPage:
    """Help page of a Typer command or group, mixed into its class.

    Click's classes are part of Typer in some versions, so they have no types here.
    """

    help: str | None

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does, without its examples."""
        whole = self.help
        paragraphs = [one for one in _paragraphs(whole) if not one.startswith(_EXAMPLE)]
        self.help = as_typed("\n\n".join(paragraphs))
        try:
            super().format_help_text(ctx, formatter)  # type: ignore[misc] # of the other base
        finally:
            self.help = whole

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options by panel; of a group, its commands first."""
        if hasattr(self, "format_commands"):
            self.format_commands(ctx, formatter)
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined] # of the other base
            if record := parameter.get_help_record(ctx):
                panels.setdefault(_panel(parameter), []).append(_row(parameter, *record))
        named = [len(name) for rows in panels.values() for name, _ in rows]
        width = max((one for one in named if one <= _NAME_CHARS), default=0)
        for title in [*(one for one in panels if one not in ORDER), *ORDER]:
            if rows := panels.get(title):
                with formatter.section(_styled(title, _HEADING)):
                    formatter.write_dl([_aligned(name, text, width) for name, text in rows], width)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each as a command line that can be pasted."""
        super().format_epilog(ctx, formatter)  # type: ignore[misc] # of the other base
        examples = [one for one in _paragraphs(self.help) if one.startswith(_EXAMPLE)]
        if examples:
            title = "Examples" if len(examples) > 1 else "Example"
            with formatter.section(_styled(title, _HEADING)):
                for one in examples:
                    for line in _command_lines(as_typed(one.removeprefix(_EXAMPLE))):
                        formatter.write(f"  {line}\n")

    def write_commands(self, commands: Mapping[str, Any], formatter: Any) -> None:
        """Write commands and their summaries by panel, in the order of both."""
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, commands), default=0)
        for name, command in commands.items():
            if not command.hidden:
                title = getattr(command, "rich_help_panel", None) or "Commands"
                text = command.get_short_help_str(formatter.width)
                panels.setdefault(title, []).append(_aligned(name, as_typed(text), width))
        for title, rows in panels.items():
            with formatter.section(_styled(title, _HEADING)):
                formatter.write_dl(rows)


def _styled(text: str, code: str) -> str:
    """A text in a style of the terminal, if stdout is one that has styles."""
    if settings.plain_terminal() or not sys.stdout.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def _aligned(name: str, text: str, width: int) -> tuple[str, str]:
    return _styled(name, _NAME) + " " * (width - len(name)), text


def _paragraphs(text: str | None) -> list[str]:
    """Paragraphs, each as one line."""
    return [" ".join(one.split()) for one in (text or "").split("\n\n")]


def _panel(parameter: Any) -> str:
    default = "Arguments" if parameter.param_type_name == "argument" else OTHER
    return getattr(parameter, "rich_help_panel", None) or default


def _row(parameter: Any, names: str, text: str) -> tuple[str, str]:
    """A parameter's line without types of Python and ranges of x."""
    if parameter.param_type_name == "argument":
        names = names.split(maxsplit=1)[0].strip("[]").removesuffix("]...")
    names = _CHOICE.sub(r"\1", _TYPE.sub(_type_name, names))
    extra = _EXTRA.search(text)
    if extra is None:
        return names, as_typed(text)
    kept = "; ".join(part for part in extra[1].split("; ") if not re.search(r"\bx[<>]", part))
    return names, as_typed(text[: extra.start()] + (f"  [{kept}]" if kept else ""))


def _type_name(found: re.Match[str]) -> str:
    word = (found[1] or found[2]).lower()
    inner = word.removeprefix("list[").removesuffix("]")
    return _TYPES.get({"integer": "int"}.get(inner, inner), inner.upper())


def _command_lines(command: str) -> Iterator[str]:
    """A command in lines that a shell joins, none wider than a terminal where options allow."""
    line = ""
    for part in re.split(r" (?=--|> )", command):
        if line and len(line) + len(part) + 3 > _LINE_CHARS:
            yield f"{line} \\"
            line = "    " + part
        else:
            line = f"{line} {part}" if line else part
    yield line
