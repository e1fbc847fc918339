"""IAM policies of all kinds of resources: which bindings there are, and how some are added.

A binding is added to what was read; if another program changed the policy meanwhile, which its etag
tells, it is read again. Bindings of others, and those with conditions, stay as they are.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final

from infra import iam
from infra.bucket_client import BucketClient, holds, with_members
from infra.desired import Binding
from infra.pubsub_admin import PubSubAdmin
from infra.rest_service import ConflictError, Json, MissingError, RestService
from runtime.errors import UnreachableError
from runtime.google_endpoints import GoogleService

BUCKET: Final = "buckets/"
MOST_TRIES: Final = 10  # to change a policy that others change, too
_VERSION: Final = 3  # with conditions
_PUBSUB: Final = ("/topics/", "/subscriptions/")
Untyped = Any  # Google publishes no types


class Policies:
    """Policies by full resource name: `projects/P`, `projects/P/topics/T`, `buckets/B`, ...

    Args:
        queue: URL, for error messages.
        project: of the buckets.
    """

    def __init__(self, queue: str, project: str) -> None:
        self._queue = queue
        self._buckets = BucketClient(project)
        self._services: dict[GoogleService, RestService] = {}

    def missing(self, wanted: Sequence[Binding]) -> list[Binding]:
        """Those of some bindings of one resource that are not there; all if it does not exist.

        Raises:
            UsageError: the caller may not see the policy.
        """
        resource = wanted[0].resource
        if resource.startswith(BUCKET):
            policy = self._buckets.policy(resource.removeprefix(BUCKET))
            return [
                one for one in wanted if policy is None or not holds(policy, one.role, one.member)
            ]
        if any(part in resource for part in _PUBSUB):
            with closing(PubSubAdmin(self._queue)) as admin:
                found = admin.policy(resource)
            return [one for one in wanted if found is None or not iam.holds(found, one)]
        return _missing(self._read(resource), wanted)

    def grant(self, wanted: Sequence[Binding]) -> bool:
        """Add those of some bindings of one resource that are not there.

        Returns:
            False if the resource does not exist.
        """
        resource = wanted[0].resource
        if resource.startswith(BUCKET):
            pairs = [(one.role, one.member) for one in wanted]
            return self._buckets.grant(resource.removeprefix(BUCKET), pairs)
        if any(part in resource for part in _PUBSUB):
            with closing(PubSubAdmin(self._queue)) as admin:
                iam.grant(admin, wanted)
                return admin.policy(resource) is not None
        return self._grant_by_rest(resource, wanted)

    def _grant_by_rest(self, resource: str, wanted: Sequence[Binding]) -> bool:
        for _ in range(MOST_TRIES):
            policy = self._read(resource)
            if policy is None:
                return False
            missing = _missing(policy, wanted)
            if not missing:
                return True
            pairs = [(one.role, one.member) for one in missing]
            bindings = with_members(policy.get("bindings", ()), pairs, list)
            changed = {**policy, "bindings": bindings}
            if policy.get("version") is None:
                changed["version"] = 1
            try:
                self._service(resource).call(
                    "POST", f"{_path(resource)}:setIamPolicy", {"policy": changed}
                )
            except ConflictError:  # also by this call, if its answer was lost
                continue
            return True
        raise UnreachableError(
            f"the rights of {resource} are changed by another program",
            hint="run the same command again",
        )

    def _read(self, resource: str) -> Json | None:
        """The policy; None if the resource does not exist."""
        service, path = self._service(resource), f"{_path(resource)}:getIamPolicy"
        options: dict[str, str] = {"options.requestedPolicyVersion": str(_VERSION)}
        try:
            if _is_project(resource):  # it has the options in its body
                body = {"options": {"requestedPolicyVersion": _VERSION}}
                return service.call("POST", path, body)
            verb = "POST" if "/serviceAccounts/" in resource else "GET"
            return service.call(verb, path, **options)
        except MissingError:
            return None

    def _service(self, resource: str) -> RestService:
        kind = _kind(resource)
        return self._services.setdefault(kind, RestService(kind))


def by_resource(wanted: Iterable[Binding]) -> list[list[Binding]]:
    """Bindings of each resource together, in the order of the first ones."""
    found: dict[str, list[Binding]] = {}
    for one in wanted:
        found.setdefault(one.resource, []).append(one)
    return list(found.values())


def _missing(policy: Json | None, wanted: Sequence[Binding]) -> list[Binding]:
    held = {
        (binding["role"], member)
        for binding in (policy or {}).get("bindings", ())
        if not binding.get("condition")
        for member in binding.get("members", ())
    }
    return [one for one in wanted if (one.role, one.member) not in held]


def _is_project(resource: str) -> bool:
    return resource.count("/") == 1


def _kind(resource: str) -> GoogleService:
    if _is_project(resource):
        return GoogleService.CLOUDRESOURCEMANAGER
    return GoogleService.IAM if "/serviceAccounts/" in resource else GoogleService.RUN


def _path(resource: str) -> str:
    version = {
        GoogleService.CLOUDRESOURCEMANAGER: "v3",
        GoogleService.IAM: "v1",
        GoogleService.RUN: "v2",
    }[_kind(resource)]
    return f"{version}/{resource}"
