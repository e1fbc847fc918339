"""Bindings of a step: which are missing, in lines for people, and how they are granted."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from infra.changes import Action, Change
from infra.desired import Binding
from infra.policies import BUCKET, Policies, by_resource
from infra.rights import (
    ACCOUNT_ADMIN,
    PROJECT_IAM_ADMIN,
    PUBSUB_ADMIN,
    RUN_ADMIN,
    STORAGE_ADMIN,
    Need,
)
from infra.steps import UNSEEN
from runtime.errors import UsageError
from runtime.text import counted

KIND: Final = "binding"
DELAY: Final = "new rights on the project take some minutes to hold"
_PROJECT: Final = "project"
_NEW_ACCOUNT: Final = re.compile(r"(?i)service account .* does not exist")
_PAUSES_S: Final = (0.5, 1, 2, 4, 8, 15, 30)
_KINDS: Final = (  # of resources, by a part of their names, with the right to set their policies
    ("/topics/", "topic", "pubsub.topics.setIamPolicy", PUBSUB_ADMIN),
    ("/subscriptions/", "subscription", "pubsub.subscriptions.setIamPolicy", PUBSUB_ADMIN),
    ("/serviceAccounts/", "account", "iam.serviceAccounts.setIamPolicy", ACCOUNT_ADMIN),
    ("/workerPools/", "pool", "run.workerpools.setIamPolicy", RUN_ADMIN),
    (BUCKET, "bucket", "storage.buckets.setIamPolicy", STORAGE_ADMIN),
    ("projects/", _PROJECT, "resourcemanager.projects.setIamPolicy", PROJECT_IAM_ADMIN),
)


class BindingSet:
    """Bindings that a step wants.

    Args:
        policies: of the resources.
        wanted: bindings.
        shorts: names of their members, for people.

    Attributes:
        missing: those that were missing when they were compared last.
    """

    def __init__(
        self, policies: Policies, wanted: Sequence[Binding], shorts: Mapping[str, str]
    ) -> None:
        self.missing: list[Binding] = []
        self._policies = policies
        self._wanted = wanted
        self._shorts = shorts
        self._delayed = False
        self._absent: list[str] = []

    def compare(self) -> list[Change]:
        """A line for each account, role and kind of resources."""
        self.missing, denied = [], {}
        for group in by_resource(self._wanted):
            try:
                self.missing += self._policies.missing(group)
            except UsageError as error:
                denied[group[0].resource] = str(error)
        return [
            change
            for (member, role, kind), group in self._groups().items()
            for change in self._changes(self._shorts[member], f"{role} on", kind, group, denied)
        ]

    def grant(self) -> None:
        """Add the bindings that were missing, but for those on what does not exist."""
        for group in by_resource(self.missing):
            resource = group[0].resource
            if not self._grant(group):
                self._absent.append(f"{_kind(resource)[1]} {resource.rpartition('/')[2]}")
            self._delayed |= _kind(resource)[1] == _PROJECT

    def needs(self, project: str) -> list[Need]:
        """Rights to add the bindings that were missing, each once for a kind of resources."""
        found: dict[Need, None] = {}
        for one in self.missing:
            part, _, permission, role = _kind(one.resource)
            resource = one.resource if part == BUCKET else f"projects/{project}"
            found[Need(permission, role, resource)] = None
        return list(found)

    def notes(self) -> list[str]:
        """What is to be known of the bindings that were granted."""
        absent = [
            f"{name} does not exist, so no rights on it were granted: make it, then infra up"
            for name in self._absent
        ]
        return [*absent, *([DELAY] if self._delayed else [])]

    def _grant(self, group: Sequence[Binding]) -> bool:
        """Add bindings of one resource; an account that is new is unknown to it for a while."""
        for pause_s in _PAUSES_S:
            try:
                return self._policies.grant(group)
            except UsageError as error:
                if not _NEW_ACCOUNT.search(str(error)):
                    raise
            time.sleep(pause_s)
        return self._policies.grant(group)

    def _changes(
        self,
        name: str,
        what: str,
        kind: str,
        group: Sequence[Binding],
        denied: Mapping[str, str],
    ) -> Iterator[Change]:
        unseen = [one for one in group if one.resource in denied]
        lacking = [one for one in group if one in self.missing]
        if unseen:
            reason = denied[unseen[0].resource]
            note = f"{what} {_resources(kind, unseen)}; {UNSEEN}; {reason}"
            yield Change(Action.SKIP, KIND, name, note)
        if lacking:
            yield Change(Action.CREATE, KIND, name, f"{what} {_resources(kind, lacking)}")
        if not unseen and not lacking:
            yield Change(Action.OK, KIND, name, f"{what} {_resources(kind, group)}")

    def _groups(self) -> dict[tuple[str, str, str], list[Binding]]:
        found: dict[tuple[str, str, str], list[Binding]] = {}
        for one in self._wanted:
            key = (one.member, one.role, _kind(one.resource)[1])
            found.setdefault(key, []).append(one)
        return found


def _kind(resource: str) -> tuple[str, str, str, str]:
    return next(kind for kind in _KINDS if kind[0] in resource)


def _resources(kind: str, group: Sequence[Binding]) -> str:
    """`bucket some-bucket`, or `6 topics`."""
    if len(group) == 1:
        return f"{kind} {group[0].resource.rpartition('/')[2]}"
    return counted(len(group), kind)
