"""Resources of one kind by full name, with etags, pages and field masks."""

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from tests.support.google_api.calls import Call
from tests.support.google_api.refusals import Refusal, exists, not_found, stale

Resource = dict[str, Any]

_VERSIONS: Final = itertools.count(1)
MOST_ON_A_PAGE: Final = 100


def now() -> str:
    """The present time as JSON has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_etag() -> str:
    """An etag that nothing had before."""
    return f'"{next(_VERSIONS):08x}"'


class Collection:
    """Resources by full name; every version has an etag of its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._found: dict[str, Resource] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._found))

    def get(self, name: str) -> Resource:
        """A copy of a resource."""
        with self.lock:
            if name not in self._found:
                raise not_found(name)
            return copy.deepcopy(self._found[name])

    def add(self, name: str, resource: Mapping[str, Any]) -> Resource:
        """Keep a new resource; its copy."""
        with self.lock:
            if name in self._found:
                raise exists(name)
            self._found[name] = {**copy.deepcopy(dict(resource)), "name": name, "etag": new_etag()}
            return self.get(name)

    def put(self, name: str, resource: Mapping[str, Any]) -> Resource:
        """Replace a resource by a new version; its copy."""
        with self.lock:
            self.get(name)
            self._found[name] = {**copy.deepcopy(dict(resource)), "name": name, "etag": new_etag()}
            return self.get(name)

    def remove(self, name: str) -> Resource:
        """Forget a resource; what it was."""
        with self.lock:
            found = self.get(name)
            del self._found[name]
            return found

    def check_etag(self, name: str, etag: str | None) -> None:
        """Refuse an etag that is not the present one; without one, the last writer wins."""
        if etag and etag != self.get(name)["etag"]:
            raise stale(name)

    def below(self, parent: str, kind: str) -> list[Resource]:
        """Resources of a parent, the newest first."""
        prefix = f"{parent}/{kind}/"
        with self.lock:
            names = [name for name in self._found if name.startswith(prefix)]
            return [self.get(name) for name in reversed(names) if "/" not in name[len(prefix) :]]


def identity() -> Resource:
    """Fields that every new resource gets from the service."""
    moment = now()
    return {"uid": str(uuid4()), "createTime": moment, "updateTime": moment}


def page(call: Call, key: str, found: Sequence[Resource], most: int = MOST_ON_A_PAGE) -> Resource:
    """One page of a listing."""
    size = min(int(call.query.get("pageSize") or 0) or most, most)
    token = call.query.get("pageToken") or "0"
    if size < 0 or not token.isdigit() or int(token) > len(found):
        raise Refusal(400, f"bad page: {call.query}")
    begin = int(token)
    answer: Resource = {key: list(found[begin : begin + size])}
    if begin + size < len(found):
        answer["nextPageToken"] = str(begin + size)
    return answer


def masked(
    before: Resource, body: Resource, mask: str | None, output: Callable[[str], bool]
) -> Resource:
    """What an update makes of a resource.

    Args:
        before: the resource.
        body: of the request.
        mask: paths that are taken from the body, absent ones there are cleared; without a mask all
            fields are.
        output: whether only the service sets a field; such fields of the body are ignored.
    """
    if not mask or mask == "*":
        kept = {key: value for key, value in before.items() if output(key)}
        return {**{k: v for k, v in body.items() if not output(k)}, **kept}
    after = copy.deepcopy(before)
    for path in mask.split(","):
        _copy_path(after, body, path.split("."))
    return after


def _copy_path(into: Resource, source: Resource, parts: Sequence[str]) -> None:
    first, *rest = parts
    if not rest:
        if first in source:
            into[first] = copy.deepcopy(source[first])
        else:
            into.pop(first, None)
        return
    _copy_path(into.setdefault(first, {}), source.get(first, {}), rest)
