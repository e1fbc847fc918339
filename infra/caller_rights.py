"""Rights that the caller lacks, found by asking before anything is made; named as roles."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Final

import google.auth
import google.auth.exceptions

from infra.bucket_client import BucketClient
from infra.changes import Action, Change
from infra.policies import BUCKET
from infra.pubsub_admin import PubSubAdmin
from infra.rest_service import MissingError, RestService
from infra.rights import Need
from infra.steps import StepPlan
from runtime.errors import UsageError
from runtime.google_endpoints import GoogleService, endpoint
from runtime.text import counted
from runtime.urls import GS

KIND: Final = "right"
_PUBSUB: Final = ("/topics/", "/subscriptions/")
_VERSIONS: Final = {GoogleService.CLOUDRESOURCEMANAGER: "v3", GoogleService.IAM: "v1"}


class CallerRights:
    """Rights of the account that runs this command.

    Args:
        queue: URL, for error messages.
        project: id.
    """

    def __init__(self, queue: str, project: str) -> None:
        self._queue = queue
        self._project = project
        self._buckets = BucketClient(project)

    def lacking(self, needs: Iterable[Need]) -> list[Need]:
        """Needs that the caller does not meet, each role once for a resource.

        Where Google does not tell, the right counts as held: the change itself shows.
        """
        wanted: dict[str, list[Need]] = {}
        for need in needs:
            wanted.setdefault(need.resource, []).append(need)
        lacking: dict[tuple[str, str], Need] = {}
        for resource, group in wanted.items():
            permissions = sorted({need.permission for need in group})
            held = self._held(resource, permissions)
            for need in group:
                if need.permission not in held:
                    lacking.setdefault((need.role, resource), need)
        return list(lacking.values())

    def _held(self, resource: str, permissions: Sequence[str]) -> set[str]:
        try:
            if resource.startswith(BUCKET):
                return self._buckets.held(resource.removeprefix(BUCKET), permissions)
            if any(part in resource for part in _PUBSUB):
                with closing(PubSubAdmin(self._queue)) as admin:
                    return admin.held(resource, permissions)
            return self._held_by_rest(resource, permissions)
        except UsageError:
            return set(permissions)

    def _held_by_rest(self, resource: str, permissions: Sequence[str]) -> set[str]:
        service = (
            GoogleService.IAM
            if "/serviceAccounts/" in resource
            else GoogleService.CLOUDRESOURCEMANAGER
        )
        path = f"{_VERSIONS[service]}/{resource}:testIamPermissions"
        try:
            answer = RestService(service).call("POST", path, {"permissions": list(permissions)})
        except MissingError:  # an account that is about to be made
            return self._held_by_rest(f"projects/{self._project}", permissions)
        return set(answer.get("permissions", ()))


def needs_of(plans: Iterable[StepPlan]) -> list[Need]:
    """Rights that the changes of all steps take."""
    return [need for plan in plans for need in plan.step.needs(plan.changes)]


def as_changes(lacking: Iterable[Need], action: Action = Action.WARN) -> list[Change]:
    """A line for each role that the caller lacks, with the command that grants it."""
    return [
        Change(
            action,
            KIND,
            need.role,
            f"lacks {need.permission} on {_place(need.resource)}; {_grant(need)}",
        )
        for need in lacking
    ]


def refuse_lacking(lacking: Sequence[Need]) -> None:
    """Refuse to begin what cannot be ended.

    Raises:
        UsageError: rights are lacking; nothing was done.
    """
    if lacking:
        named = ", ".join(f"{need.role} on {_place(need.resource)}" for need in lacking)
        raise UsageError(
            f"this account lacks {counted(len(lacking), 'role')}, so nothing was made: {named}",
            hint="grant them as shown above, or leave parts out with --only; "
            "`infra check` shows them again",
        )


def _place(resource: str) -> str:
    if resource.startswith(BUCKET):
        return f"bucket {GS}{resource.removeprefix(BUCKET)}"
    *_, kind, name = resource.split("/")
    return f"{kind.removesuffix('s') if kind != 'serviceAccounts' else 'account'} {name}"


def _grant(need: Need) -> str:
    """The command by which an owner grants a role."""
    member = f'--member="{caller()}" --role={need.role}'
    resource = need.resource
    name = resource.rpartition("/")[2]
    if resource.startswith(BUCKET):
        command = f"gcloud storage buckets add-iam-policy-binding {GS}{name}"
    elif "/topics/" in resource:
        command = f"gcloud pubsub topics add-iam-policy-binding {name}"
    elif "/serviceAccounts/" in resource:
        command = f"gcloud iam service-accounts add-iam-policy-binding {name}"
    else:
        command = f"gcloud projects add-iam-policy-binding {name}"
    return f"{command} {member}"


def caller() -> str:
    """The caller as policies name it; of a person, gcloud knows the address."""
    if endpoint(GoogleService.CLOUDRESOURCEMANAGER).anonymous:
        return "user:ADDRESS"
    try:
        credentials = google.auth.default()[0]
    except google.auth.exceptions.GoogleAuthError:
        return "user:ADDRESS"
    email = getattr(credentials, "service_account_email", None)
    if email and "@" in email:
        return f"serviceAccount:{email}"
    return "user:$(gcloud config get account)"
