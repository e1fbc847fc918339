"""Long-running operations: pending for a number of polls, then done or failed."""

import threading
from typing import Any
from uuid import uuid4

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.refusals import not_found
from tests.support.google_api.resources import Resource

_TYPE = "type.googleapis.com/"


class Operations:
    """Operations of one service.

    Attributes:
        polls: how often a new operation is found pending before it is done; 0 is done at once.
    """

    def __init__(self, prefix: str = "") -> None:
        self.polls = 0
        self._prefix = prefix
        self._lock = threading.Lock()
        self._pending: dict[str, int] = {}
        self._ends: dict[str, Resource] = {}
        self._begins: dict[str, Resource] = {}
        self._failure: tuple[int, str] | None = None

    def fail_next(self, code: int, message: str) -> None:
        """Let the next operation fail, with a code of google.rpc: 7 is PERMISSION_DENIED."""
        self._failure = (code, message)

    def start(self, parent: str, kind: str, response: Resource, metadata: Any = None) -> Resource:  # noqa: ANN401 - JSON
        """An operation that ends with a response.

        Args:
            parent: to which it belongs; empty where a service has its operations at the top.
            kind: full name of the response's message.
            response: the result.
            metadata: with its type; the result itself by default, as Cloud Run does.
        """
        name = f"{parent}/operations/{uuid4()}" if parent else f"operations/{uuid4()}"
        typed = {"@type": _TYPE + kind, **response}
        begin = {"name": name, "metadata": typed if metadata is None else metadata}
        with self._lock:
            failure, self._failure = self._failure, None
            end = {"response": typed}
            if failure:
                end = {"error": {"code": failure[0], "message": failure[1]}}
            self._begins[name], self._ends[name] = begin, {**begin, "done": True, **end}
            self._pending[name] = self.polls
        return self._look(name, polled=False)

    def handlers(self, *prefixes: str) -> Handlers:
        """Of `operations.get`, and of `operations.wait` where a service has it."""
        found: Handlers = {}
        for prefix in prefixes:
            found[f"{prefix}.operations.get"] = self._get
            found[f"{prefix}.operations.wait"] = self._wait
        return found

    def _get(self, call: Call) -> Resource:
        return self._look(call.name, polled=True)

    def _wait(self, call: Call) -> Resource:
        with self._lock:
            self._pending[call.name] = 0
        return self._look(call.name, polled=False)

    def _look(self, name: str, *, polled: bool) -> Resource:
        with self._lock:
            if name not in self._ends:
                raise not_found(name)
            if not self._pending[name]:
                return self._ends[name]
            self._pending[name] -= polled
            return self._begins[name]
