"""The page docs/json.md, made from the models of the documents; run as a module to write it."""

import inspect
import re
import types
import typing
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import AwareDatetime, BaseModel

from runtime.document import Document
from shardlift.json_documents import DOCUMENTS, CommandDocument

JSON_MD = Path(__file__).resolve().parents[2] / "docs" / "json.md"

_HEAD = """\
# JSON

With `--json` a command prints one JSON document to stdout, and nothing else there.
Notes and progress go to stderr, and exit codes are those without it.
A command that ends with an error and has no result prints [the error](#every-command-that-fails).

- `schema` is 1, and changes only if a field goes or changes its meaning; fields may be added.
- Names are lower case with underscores; `…_s` is seconds, `…_bytes` and `bytes_…` bytes.
- Times are ISO 8601 in UTC and end in `Z`.
- What is not known is null, never 0.
- `run` is the URI of a run's folder and `run_id` its name; only in `runs`, `run` is the name.
- `runs` prints a list.
- `spec` prints the file that `--spec` takes, which is JSON already, as Neuroglancer has it.
  With `--json` it prints a document that holds the spec as `spec`, for scripts.
- `view` prints its document before it serves the address, until Ctrl-C.
  `view --link` prints it and ends.
- `work` and `fleet` have no `--json`, as they run until they are stopped.
  Their log is [JSON lines](events.md), and `status --json` tells how far a run is.

[The Python interface](python.md) returns the same models.
This page is made from them by `python -m tests.support.json_page`.
"""
_PLAIN: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    datetime: "time",
    AwareDatetime: "time",
    type(None): "null",
    Any: "any",
}
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", re.MULTILINE | re.DOTALL)


def json_md() -> str:
    """The whole page."""
    parts: list[type] = []
    sections = [_section(one, parts) for one in DOCUMENTS]
    text = _HEAD + "".join(sections) + "\n## Objects\n"
    for part in parts:  # grows meanwhile
        text += f"\n### {part.__name__}\n\n{_summary(part)}\n\n{_table(part, parts)}"
    return text


def _section(one: CommandDocument, parts: list[type]) -> str:
    name = f"`{one.command}`" if one.command else "Every command that fails"
    lists = "A list of:\n" if one.is_list else ""
    return f"\n## {name}\n\n{lists}{_summary(one.model)}\n\n{_table(one.model, parts)}"


def _table(model: type, parts: list[type]) -> str:
    meanings = _meanings(model)
    rows = [
        f"| `{name}` | {_type(annotation, parts)} | {meanings.get(name, '')} |\n"
        for name, annotation in _fields(model)
    ]
    return f"| field | type | meaning |\n|---|---|---|\n{''.join(rows)}"


def _fields(model: type) -> list[tuple[str, Any]]:
    """Names as they are printed, with their types; the schema first."""
    if not issubclass(model, BaseModel):
        hints = typing.get_type_hints(model)
        return [(name, hints[name]) for name in model.__dataclass_fields__]  # type: ignore[attr-defined]  # any dataclass
    found: dict[str, Any] = {
        field.alias or name: field.annotation for name, field in model.model_fields.items()
    }
    first = {"schema": found["schema"]} if issubclass(model, Document) else {}
    return list((first | found).items())


def _summary(model: type) -> str:
    return inspect.cleandoc(model.__doc__ or "").split("\n")[0]


def _meanings(model: type) -> dict[str, str]:
    """Meaning of each field, from the docstrings of the model and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = doc.partition("Attributes:\n")[2].partition("\n\n")[0] + "\n"
        for name, meaning in _ATTRIBUTE.findall(section):
            found[name] = " ".join(meaning.split()).rstrip(".")
    return found


def _type(annotation: object, parts: list[type]) -> str:
    """A type in words; objects are linked."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0], parts)
    if origin is types.UnionType or origin is typing.Union:
        return " or ".join(_type(one, parts) for one in arguments)
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if origin in {tuple, dict}:
        return _collection(arguments, parts, is_list=origin is tuple)
    return _PLAIN.get(annotation) or _object(annotation, parts)


def _collection(arguments: tuple[object, ...], parts: list[type], *, is_list: bool) -> str:
    if not is_list:
        return f"object: {_type(arguments[0], parts)} → {_type(arguments[1], parts)}"
    inner = ", ".join(dict.fromkeys(_type(one, parts) for one in arguments if one is not ...))
    return f"list of {inner}" if ... in arguments else f"list of {len(arguments)}: {inner}"


def _object(annotation: object, parts: list[type]) -> str:
    if not isinstance(annotation, type):
        raise TypeError(f"no words for {annotation}")
    if issubclass(annotation, Enum):
        return " or ".join(f"`{one.value}`" for one in annotation)
    for document in DOCUMENTS:
        if document.model is annotation:
            return f"as of [`{document.command}`](#{document.command.replace(' ', '-')})"
    if annotation not in parts:
        parts.append(annotation)
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"


if __name__ == "__main__":
    JSON_MD.write_text(json_md())
