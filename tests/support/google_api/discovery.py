"""Google's discovery documents: methods, their paths and parameters.

The documents come with `google-api-python-client`, so that no network is needed.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final, Self

_DOCUMENTS: Final = "discovery_cache/documents"
_PLACEHOLDER: Final = re.compile(r"\{(\+?)(\w+)\}")


@dataclass(frozen=True)
class Method:
    """A method of a service.

    Attributes:
        id: such as `run.projects.locations.workerPools.create`.
        verb: of HTTP.
        path: its regular expression, with a named group for each parameter in it.
        literal: number of characters of the path that are no parameter's; the more, the closer.
        query: parameters of the query, by name, as the document has them.
        request: name of the body's schema; None without a body.
        response: likewise of the answer.
        schemas: of the document, by name.
    """

    id: str
    verb: str
    path: re.Pattern[str]
    literal: int
    query: dict[str, dict[str, Any]]
    request: str | None
    response: str | None
    schemas: dict[str, dict[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Document:
    """Methods of one version of a service."""

    methods: tuple[Method, ...]

    @classmethod
    @cache
    def load(cls, name: str) -> Self:
        """Read a document, such as `run.v2`."""
        file = resources.files("googleapiclient") / _DOCUMENTS / f"{name}.json"
        document = json.loads(file.read_text())
        return cls(tuple(_methods(document, document)))

    def find(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method that serves a path, and the parameters in it; None if there is none."""
        found = [
            (method, match)
            for method in self.methods
            if method.verb == verb and (match := method.path.fullmatch(path))
        ]
        if not found:
            return None
        method, match = max(found, key=lambda pair: pair[0].literal)
        return method, match.groupdict()


def _methods(document: dict[str, Any], level: dict[str, Any]) -> list[Method]:
    found = [_method(document, entry) for entry in level.get("methods", {}).values()]
    for inner in level.get("resources", {}).values():
        found += _methods(document, inner)
    return found


def _method(document: dict[str, Any], entry: dict[str, Any]) -> Method:
    parameters = entry.get("parameters", {})
    shared = document.get("parameters", {})
    own = {name: p for name, p in parameters.items() if p["location"] == "query"}
    template = entry["path"]
    return Method(
        id=entry["id"],
        verb=entry["httpMethod"],
        path=_pattern(template, parameters),
        literal=len(_PLACEHOLDER.sub("", template)) + sum(_literal(p) for p in parameters.values()),
        query={**shared, **own},
        request=entry.get("request", {}).get("$ref"),
        response=entry.get("response", {}).get("$ref"),
        schemas=document["schemas"],
    )


def _pattern(template: str, parameters: dict[str, dict[str, Any]]) -> re.Pattern[str]:
    """The template's regular expression; a reserved placeholder follows the document's pattern."""
    parts, end = ["/"], 0
    for found in _PLACEHOLDER.finditer(template):
        inner = parameters[found[2]].get("pattern", "^[^/]+$").removeprefix("^").removesuffix("$")
        parts += [re.escape(template[end : found.start()]), f"(?P<{found[2]}>{inner})"]
        end = found.end()
    return re.compile("".join([*parts, re.escape(template[end:])]))


def _literal(parameter: dict[str, Any]) -> int:
    """Characters that a parameter's pattern demands; `.*` at its end makes it a worse match."""
    if parameter["location"] != "path":
        return 0
    return len(re.sub(r"\[\^/\]\+|\.\*|[\^$]", "", parameter.get("pattern", "")))
