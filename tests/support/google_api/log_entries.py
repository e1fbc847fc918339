"""Log entries of Cloud Logging: those that a filter chooses, newest first."""

import re
from typing import Any, Final

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.refusals import Refusal
from tests.support.google_api.resources import Resource, now

_TERM: Final = re.compile(r'([\w.]+)(=|>=)"([^"]*)"|(severity)(>=)(\w+)')
_ORDER: Final = ("timestamp asc", "timestamp desc")
_SEVERITIES: Final = ("DEFAULT", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class LogEntries:
    """Entries of all logs.

    Attributes:
        found: oldest first.
    """

    def __init__(self) -> None:
        self.found: list[Resource] = []

    def add(self, project: str, resource: Resource, **fields: Any) -> None:  # noqa: ANN401 - JSON
        """Add an entry, written now."""
        logged = {"logName": f"projects/{project}/logs/run", "timestamp": now()}
        self.found.append({"severity": "DEFAULT", **logged, "resource": resource, **fields})

    def handlers(self) -> Handlers:
        """By method id."""
        return {"logging.entries.list": self._list}

    def _list(self, call: Call) -> Resource:
        body = call.body
        if not body.get("resourceNames"):
            raise Refusal(400, "resource_names: at least one is required")
        if body.get("orderBy", _ORDER[0]) not in _ORDER:
            raise Refusal(400, f"order_by: one of {_ORDER}")
        terms = [term.strip() for term in body.get("filter", "").split(" AND ") if term.strip()]
        projects = tuple(f"{name}/" for name in body["resourceNames"])
        found = [
            entry
            for entry in list(self.found)
            if entry["logName"].startswith(projects) and all(_holds(entry, term) for term in terms)
        ]
        if body.get("orderBy") == _ORDER[1]:
            found.reverse()
        return {"entries": found[: body.get("pageSize", 50)]}


def _holds(entry: Resource, term: str) -> bool:
    match = _TERM.fullmatch(term)
    if match is None:
        raise Refusal(400, f"filter: {term!r} is not understood here")
    if match[4]:
        return _SEVERITIES.index(entry["severity"]) >= _SEVERITIES.index(match[6])
    value: Any = entry
    for part in match[1].split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
    return bool(value == match[3] if match[2] == "=" else str(value) >= match[3])
