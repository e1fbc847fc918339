"""Changes to resources, as a table and as JSON."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from runtime.text import printable

WIDTH: Final = 80  # columns of a plain terminal
_COLUMNS: Final = (9, 13)  # of action and kind
_COMMAND: Final = "gcloud "


class Action(StrEnum):
    """Action that a resource needs."""

    OK = "ok"  # as desired
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    CONFLICT = "conflict"  # differs in a field that cannot be changed
    WARN = "warn"  # costs money or will fail, and `up` does not change it
    EXTRA = "extra"  # of this queue, but not desired
    NOTE = "note"  # worth knowing, for some uses only
    SKIP = "skip"  # cannot be compared here


FINDINGS: Final = frozenset({Action.CREATE, Action.UPDATE, Action.CONFLICT, Action.WARN})
"""Actions that mean that a resource is not as desired."""


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """What a resource costs while it is there, at list prices.

    Attributes:
        dollars: per unit.
        per: the unit, such as `hour` or `GiB and month`.
    """

    dollars: float
    per: str

    def __str__(self) -> str:
        """As people read it; a digit of the smallest prices is left."""
        return f"${self.dollars:.2g} per {self.per}"


@dataclass(frozen=True, slots=True)
class Change:
    """Action for one resource.

    Attributes:
        action: to take.
        kind: of the resource: topic, subscription, bucket, pool, ...
        name: its id, without the project.
        note: fields that differ, or the reason to do nothing; lines are parted by `; `.
        price: of the resource, where it has one.
    """

    action: Action
    kind: str
    name: str
    note: str = ""
    price: UnitPrice | None = None


_DONE: Final = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.DELETE: "deleted",
}


def table(changes: Iterable[Change], *, done: bool) -> str:
    """Table with a line per resource; a note that exceeds 80 columns gets lines of its own.

    Args:
        changes: in the order of the lines.
        done: whether the changes were made, or only found.
    """
    return "\n".join(line for change in changes for line in _lines(change, done=done))


def _lines(change: Change, *, done: bool) -> Sequence[str]:
    action, kind = _COLUMNS
    word = _DONE.get(change.action, change.action) if done else change.action
    first = f"{word:<{action}}{change.kind:<{kind}}{printable(change.name)}"
    texts = (*change.note.split("; "), str(change.price or ""))
    helps = not (done and change.action in _DONE)  # a command that does what was done already
    parts = [printable(text) for text in texts if text and (helps or not _is_command(text))]
    note = "; ".join(parts)
    if len(first) + 2 + len(note) <= WIDTH:
        return [f"{first}  {note}".rstrip()]
    return [first, *(f"{'':<{action}}{line}" for part in parts for line in _wrapped(part))]


def _is_command(part: str) -> bool:
    return part.startswith(_COMMAND)


def _wrapped(part: str) -> Sequence[str]:
    """Lines of a part of a note; a command can be pasted as it is shown."""
    end = " \\" if _is_command(part) else ""
    width = WIDTH - _COLUMNS[0] - len(end)
    lines = textwrap.wrap(
        part, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [*(line + end for line in lines[:-1]), *lines[-1:]]


def summary(changes: Sequence[Change], *, done: bool) -> str:
    """Number of changes per action: `12 ok, 2 to create`, or `2 created`."""
    counts = [(sum(change.action is action for change in changes), action) for action in Action]
    return ", ".join(f"{count} {_word(action, done=done)}" for count, action in counts if count)


def _word(action: Action, *, done: bool) -> str:
    if action not in _DONE:
        return str(action)
    return _DONE[action] if done else f"to {action}"


def as_json(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Changes as JSON objects; those without a price have none."""
    return [
        {key: value for key, value in asdict(change).items() if key != "price" or value}
        for change in changes
    ]
