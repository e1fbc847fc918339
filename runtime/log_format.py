"""Lines of the log: JSON objects, or text for people on a terminal."""

import sys
import textwrap
import traceback
from typing import TextIO

import structlog

from runtime import cloud_log, log_context
from runtime.interpreter import as_typed
from runtime.text import json_text, printable, printable_lines


def json_processors() -> list[structlog.typing.Processor]:
    """Steps from an event to a JSON object in a line, with what is in work."""
    return [
        _name_commands,
        structlog.processors.format_exc_info,
        _add_context,
        cloud_log.add_fields,
        structlog.processors.JSONRenderer(serializer=_as_json),
    ]


def human_processors() -> list[structlog.typing.Processor]:
    """Steps from an event to text for people, without what would control their terminal."""
    return [
        _name_commands,
        _quote_unprintable,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_write_traceback
        ),
    ]


def _name_commands(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Write commands in reasons and hints as they work where the program was started."""
    return {
        key: as_typed(value) if isinstance(value, str) else value for key, value in event.items()
    }


def _add_context(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add what is in work; an event's own fields win."""
    return {**log_context.fields(), **event}


def _as_json(event: object, **_: object) -> str:
    return json_text(event, default=str)


class _Quoted:
    """Value that is shown by its own `repr`, with what is not printable escaped."""

    def __init__(self, value: object) -> None:
        self._text = printable(repr(value))

    def __repr__(self) -> str:
        return self._text


def _quote_unprintable(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Quote values that would reach the terminal with control characters in them."""
    return {
        key: value if key == "exc_info" or _is_plain(value) else _Quoted(value)
        for key, value in event.items()
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return value.isprintable()
    return value is None or isinstance(value, int | float)


def _write_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a traceback, indented so that no line of its message passes for an event."""
    lines = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    out.write("\n" + textwrap.indent(printable_lines(lines), "  "))
