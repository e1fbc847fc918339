"""Log of the requests that the fake GCS gets, by what they do and to which objects."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self
from unittest import mock
from urllib.parse import unquote

from tests.support.gcs_server import Answer, GcsServer, Request

LISTING: Final = "list"
CLASS_A: Final = frozenset({LISTING, "write", "upload start", "compose"})
"""Kinds that Google bills as class A; a resumable upload is billed once, and deletes are free."""
CLASS_B: Final = frozenset({"read", "stat"})

_KINDS: Final = (
    ("GET", r"/storage/v1/b/[^/]+/o", LISTING),
    ("GET", r"/download/.*", "read"),
    ("GET", r".*/o/[^/]+", "stat"),
    ("POST", r".*/compose", "compose"),
    ("POST", r".*upload/storage/v1/.*", "write"),
    ("PUT", r".*upload/storage/v1/.*", "upload part"),
    ("DELETE", r".*", "delete"),
    ("POST", r"/batch/.*", "batch"),
)
_THINGS: Final = (  # the first that is in a name
    (".tmp-", "temporary"),
    (".csv", "source index"),
    (".arrow", "source"),
    (".shard", "shard"),
)
_DATA: Final = {
    *(("read", "source"), ("read", "shard")),
    *(("write", "shard"), ("write", "temporary")),  # a whole shard, or its head
}


@dataclass(frozen=True)
class Seen:
    """One request.

    Attributes:
        kind: what it does: read, stat, list, write, ...
        thing: what to: a source, a shard, or the part of a run's ledger.
        method: with its path, as it came.
    """

    kind: str
    thing: str
    method: str = ""

    @classmethod
    def of(cls, request: Request, run: str) -> Self:
        """What a request does.

        Args:
            request: as it came.
            run: prefix of the run's objects.
        """
        kind = _kind(request)
        name = _name(request, kind)
        thing = next((thing for part, thing in _THINGS if part in name), None)
        if name.startswith(run):
            inside = name.removeprefix(run)
            thing = inside.partition("/")[0] + "/" * ("/" in inside) or "run"
        return cls(kind, thing or name, f"{request.method} {name or request.path}")

    @property
    def is_data(self) -> bool:
        """Whether it carries the data themselves: ranges of sources and shards, upload parts."""
        return self.kind == "upload part" or ((self.kind, self.thing) in _DATA)


@dataclass
class RequestLog:
    """Requests in their order."""

    seen: list[Seen] = field(default_factory=list)

    def counts(self) -> Counter[tuple[str, str]]:
        """Requests by kind and thing."""
        return Counter((one.kind, one.thing) for one in self.seen)

    def besides_data(self) -> int:
        """Requests that carry no data of sources or shards."""
        return sum(not one.is_data for one in self.seen)

    def of_kind(self, *kinds: str) -> int:
        """Requests of these kinds, data included."""
        return sum(one.kind in kinds for one in self.seen)

    def table(self, units: int = 1) -> str:
        """A line per kind and thing, with the number per unit."""
        lines = [
            f"{count / units:7.2f}  {kind} {thing}"
            for (kind, thing), count in sorted(self.counts().items())
        ]
        lines.append(f"{len(self.seen) / units:7.2f}  all")
        lines.append(f"{self.besides_data() / units:7.2f}  besides data")
        return "\n".join(lines)


@contextmanager
def logged(server: GcsServer, run: str) -> Iterator[RequestLog]:
    """The requests that a server gets meanwhile.

    Args:
        server: the fake GCS.
        run: prefix of the run's objects in their bucket, with a slash at its end.
    """
    log, answer = RequestLog(), server.service.answer

    def answered(request: Request) -> Answer:
        log.seen.append(Seen.of(request, run))
        return answer(request)

    with mock.patch.object(server.service, "answer", answered):
        yield log


def _kind(request: Request) -> str:
    if request.query.get("uploadType") == "resumable" and request.method == "POST":
        return "upload start"
    if request.method == "GET" and request.query.get("alt") == "media":
        return "read"
    for method, pattern, kind in _KINDS:
        if method == request.method and re.fullmatch(pattern, request.path):
            return kind
    return request.method


def _name(request: Request, kind: str) -> str:
    """The object's name, or the prefix that is listed."""
    if kind == LISTING:
        return request.query.get("prefix", "")
    if kind in {"write", "upload start"}:
        return request.query.get("name") or _stated_name(request.body)
    found = re.search(r"/o/([^/]+)", request.path)
    return unquote(found[1]) if found else ""


def _stated_name(body: bytes) -> str:
    """The name in the properties that come with an upload."""
    found = re.search(rb'"name": *("(?:[^"\\]|\\.)*")', body)
    return str(json.loads(found[1])) if found else ""
