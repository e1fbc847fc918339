"""Hook of the documentation site: one page per command, made from the commands themselves.

Typer brings a Click of its own in some versions, so commands are known by what they offer.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from mkdocs.structure.files import File, Files

from shardlift.__main__ import app

FOLDER: Final = "cli"
_OTHER: Final = "Options"  # panel of options that name none
_PROGRAMS: Final = {
    "producer": "shardlift",
    "consumer": "shardlift",
    "memmodel": "shardlift memory",
    "infra": "shardlift infra",
}


def on_config(config: Any) -> Any:
    """Append the pages of commands, and those of decisions, to the site's contents."""
    config.nav.append({"Commands": [{name: _path(name)} for name in commands()]})
    records = sorted(Path(config.docs_dir, "decisions").glob("*.md"))
    config.nav.append({"Decisions": [f"decisions/{one.name}" for one in records]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add a made page for each command of `shardlift`."""
    for name, command in commands().items():
        files.append(File.generated(config, _path(name), content=page(command, name)))
    return files


def commands() -> dict[str, Any]:
    """Commands of `shardlift` by name, in the order of its help."""
    return _subcommands(typer.main.get_command(app))


def page(command: Any, name: str) -> str:
    """Page of one command and of those below it, as Markdown."""
    return "\n".join(_lines(command, f"shardlift {name}", "#"))


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.md"


def _subcommands(command: Any) -> dict[str, Any]:
    if not hasattr(command, "list_commands"):
        return {}
    context = _context(command, "")
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: one for name, one in found.items() if not one.hidden}


def _context(command: Any, path: str) -> Any:
    return command.make_context(path, [], resilient_parsing=True)


def _lines(command: Any, path: str, heading: str) -> Iterator[str]:
    yield f"{heading} {path}\n"
    yield _paragraphs(command.help or "") + "\n"
    context = _context(command, path)
    yield f"```\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    for one in shown:
        if one.param_type_name == "argument":
            yield f"`{one.metavar or one.name}`: {_cell(one.help or '')}\n"
    options = [one for one in shown if one.param_type_name == "option"]
    panels = list(dict.fromkeys(map(_panel, options)))
    for panel in panels:
        yield f"**{panel}**\n"
        yield "| option | variable | default | meaning |\n|---|---|---|---|"
        yield from (_row(one, context) for one in options if _panel(one) == panel)
        yield ""
    for name, below in _subcommands(command).items():
        yield from _lines(below, f"{path} {name}", f"{heading}#")


def _paragraphs(text: str) -> str:
    """Help as Markdown; an example is a command to copy, in one line."""
    parts = inspect.cleandoc(text.replace("\b", "")).split("\n\n")
    return "\n\n".join(_example(one) if one.startswith("Example") else one for one in parts)


def _example(paragraph: str) -> str:
    line = " ".join(paragraph.partition(":")[2].split())
    for program, name in _PROGRAMS.items():
        line = line.replace(f"python -m {program} ", f"{name} ")
    return f"```\n{line}\n```"


def _panel(option: Any) -> str:
    return getattr(option, "rich_help_panel", None) or _OTHER


def _row(option: Any, context: Any) -> str:
    names, _ = option.get_help_record(context)
    variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
    bare = option.default is None or callable(option.default) or option.is_flag
    default = "" if bare else _code(str(option.default))
    variable = ", ".join(map(_code, variables))
    return f"| {_code(names)} | {variable} | {default} | {_cell(option.help or '')} |"


def _code(text: str) -> str:
    return f"<code>{_cell(text)}</code>"


def _cell(text: str) -> str:
    return " ".join(text.replace("<", "&lt;").replace("|", "&#124;").split())
