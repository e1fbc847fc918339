"""IAM policies by resource, with etags, and the rights that callers lack."""

import base64
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.refusals import Refusal, not_found, stale
from tests.support.google_api.resources import Resource, new_etag

_ROLE: Final = re.compile(r"roles/[\w.]+|(projects|organizations)/[^/]+/roles/[\w.]+")
_MEMBER: Final = re.compile(
    r"(user|serviceAccount|group):[^@\s]+@[^@\s]+|domain:\S+|allUsers|allAuthenticatedUsers"
    r"|principal(Set)?://\S+"
)
_PERMISSION: Final = re.compile(r"\w+\.\w+\.\w+")


class IamPolicies:
    """Policies of all resources of the server.

    Attributes:
        denied: permissions that `testIamPermissions` says the caller lacks.
    """

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self._lock = threading.Lock()
        self._policies: dict[str, Resource] = {}

    def of(self, resource: str) -> Resource:
        """The policy of a resource; an empty one until the first is set."""
        with self._lock:
            return self._policies.setdefault(resource, {"version": 1, "etag": _etag()})

    def bindings(self, resource: str) -> dict[str, list[str]]:
        """Members by role."""
        found = self.of(resource).get("bindings", [])
        return {binding["role"]: binding["members"] for binding in found}

    def names(self) -> list[str]:
        """Resources that have a policy."""
        with self._lock:
            return list(self._policies)

    def replace(self, resource: str, bindings: list[dict[str, Any]]) -> None:
        """Set a policy behind the API, as another caller would; its etag changes."""
        with self._lock:
            self._policies[resource] = {"version": 1, "bindings": bindings, "etag": _etag()}

    def handlers(self, prefix: str, is_there: Callable[[str], bool]) -> Handlers:
        """Of the three methods that resources of a kind have.

        Args:
            prefix: of their ids, such as `run.projects.locations.workerPools`.
            is_there: whether a resource exists, by the name in the path.
        """

        def checked(handler: Callable[[Call], Resource]) -> Callable[[Call], Resource]:
            def handle(call: Call) -> Resource:
                if not is_there(call.name):
                    raise not_found(call.name)
                return handler(call)

            return handle

        return {
            f"{prefix}.getIamPolicy": checked(lambda call: self.of(call.name)),
            f"{prefix}.setIamPolicy": checked(self._set),
            f"{prefix}.testIamPermissions": checked(self._test),
        }

    def _set(self, call: Call) -> Resource:
        policy: dict[str, Any] = call.body["policy"]
        if wrong := list(_wrong(policy)):
            raise Refusal(400, "; ".join(wrong))
        present = self.of(call.name)
        with self._lock:
            if policy.get("etag") and policy["etag"] != present["etag"]:
                raise stale(call.name)
            self._policies[call.name] = {"version": 1, **policy, "etag": _etag()}
            return self._policies[call.name]

    def _test(self, call: Call) -> Resource:
        asked = call.body.get("permissions", [])
        if not asked or any(not _PERMISSION.fullmatch(name) for name in asked):
            raise Refusal(400, f"permissions {asked} cannot be tested")
        held = [name for name in asked if name not in self.denied]
        return {"permissions": held} if held else {}


def _wrong(policy: Resource) -> Iterator[str]:
    for binding in policy.get("bindings", []):
        if not _ROLE.fullmatch(binding.get("role", "")):
            yield f"role {binding.get('role')!r} is not supported"
        for member in binding.get("members", []):
            if not _MEMBER.fullmatch(member):
                yield f"member {member!r} lacks its kind, such as serviceAccount:"


def _etag() -> str:
    return base64.b64encode(new_etag().encode()).decode()
