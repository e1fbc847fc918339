"""Calls: requests that a discovery document allows, and their handlers by method id."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.google_api.discovery import Document, Method
from tests.support.google_api.refusals import Refusal
from tests.support.google_api.schemas import (
    mask_problems,
    parameter_problem,
    problems,
)

# System parameters that the documents leave out; Google's REST clients send `$alt`.
_SYSTEM: Final = {"$alt": {"enum": ["json", "json;enum-encoding=int"]}}


@dataclass(frozen=True)
class Call:
    """A request that passed all checks of its method.

    Attributes:
        method: of the document.
        names: parameters in the path.
        query: parameters of the query; a repeated one is a list.
        body: as parsed from JSON; empty without one.
    """

    method: Method
    names: Mapping[str, str]
    query: Mapping[str, Any]
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The resource: the one parameter in the path."""
        return next(iter(self.names.values()))

    def flag(self, name: str) -> bool:
        """A boolean of the query, False by default."""
        return bool(self.query.get(name) == "true")


Handler = Callable[[Call], dict[str, Any]]
Handlers = dict[str, Handler]


def find(
    documents: tuple[Document, ...], verb: str, target: str
) -> tuple[Method, Mapping[str, str]]:
    """The method that a request is for, and the parameters in its path.

    Raises:
        Refusal: no document has one.
    """
    path = unquote(urlsplit(target).path)
    for document in documents:
        if found := document.find(verb, path):
            return found
    raise Refusal(404, f"no method serves {verb} {path}")


def parse(
    method: Method, names: Mapping[str, str], target: str, content_type: str, body: bytes
) -> Call:
    """The call that a request is.

    Raises:
        Refusal: the document does not allow it.
    """
    query = _query(method, urlsplit(target).query)
    document = _body(method, content_type, body)
    wrong = list(_mask(method, query.get("updateMask")))
    if method.request:
        wrong += problems(
            method.schemas, method.request, document, output_allowed=method.verb == "PATCH"
        )
    if wrong:
        raise Refusal(400, f"{method.id}: " + "; ".join(wrong))
    return Call(method, names, query, document)


def _query(method: Method, text: str) -> dict[str, Any]:
    # What their descriptions call required is not: `builds.get` has the name in its path instead.
    known = {**method.query, **_SYSTEM}
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parameter = known.get(name)
        if parameter is None:
            raise Refusal(400, f"{method.id}: unknown parameter {name!r}")
        if wrong := parameter_problem(parameter, value):
            raise Refusal(400, f"{method.id}: {name}: {wrong}")
        if parameter.get("repeated"):
            found.setdefault(name, []).append(value)
        elif name in found:
            raise Refusal(400, f"{method.id}: parameter {name!r} is there twice")
        else:
            found[name] = value
    return found


def _body(method: Method, content_type: str, body: bytes) -> dict[str, Any]:
    if method.request is None:
        if body.strip() not in {b"", b"{}"}:
            raise Refusal(400, f"{method.id} has no body")
        return {}
    if body and content_type.partition(";")[0] != "application/json":
        raise Refusal(400, f"{method.id}: the body is {content_type or 'untyped'}, not JSON")
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise Refusal(400, f"{method.id}: the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refusal(400, f"{method.id}: the body is not an object")
    return found


def _mask(method: Method, mask: str | None) -> list[str]:
    if not mask or method.request is None or mask == "*":
        return []
    return mask_problems(method.schemas, method.request, mask)
