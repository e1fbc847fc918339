"""Fields of a JSON log line that Cloud Logging shows and filters by: severity, time, message."""

from typing import Final

import structlog

_SUBJECTS: Final = ("shard", "pool", "worker", "run")  # the first that an event has is named
_REASONS: Final = ("reason", "error", "exception")


def add_fields(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add them, as a processor of structlog; the event's own fields stay."""
    added = {"severity": str(event["level"]).upper(), "message": sentence(event)}
    return {**event, **added, "time": event["timestamp"]}


def sentence(event: structlog.typing.EventDict) -> str:
    """An event in words: `shard released s0/0a: the worker shuts down`."""
    words = str(event["event"]).replace("_", " ")
    about = next((str(event[key]) for key in _SUBJECTS if event.get(key)), "")
    why = next((str(event[key]) for key in _REASONS if event.get(key)), "")
    text = f"{words} {about}".rstrip()
    return f"{text}: {why}" if why else text
