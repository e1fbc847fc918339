"""IAM bindings of Pub/Sub's service account; other bindings are not changed."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

import google.auth.exceptions

from infra.changes import Action, Change
from infra.desired import Binding
from infra.google_clients import RestSession
from infra.pubsub_admin import PubSubAdmin
from runtime.errors import UnreachableError, UsageError
from runtime.google_endpoints import GoogleService

_CALL_S: Final = 20.0
MOST_TRIES: Final = 10  # to change a policy that others change, too


def compare(admin: PubSubAdmin, wanted: Sequence[Binding]) -> Iterator[Change]:
    """Compare desired bindings; a resource that does not exist misses all of its bindings."""
    for binding in wanted:
        policy = admin.policy(binding.resource)
        held = policy is not None and holds(policy, binding)
        yield Change(
            Action.OK if held else Action.CREATE,
            "binding",
            binding.resource.rpartition("/")[2],
            f"{binding.role} for Pub/Sub's service account",
        )


def grant(admin: PubSubAdmin, wanted: Sequence[Binding]) -> None:
    """Add missing bindings; a policy that another program changed meanwhile is read again."""
    for binding in wanted:
        for _ in range(MOST_TRIES):
            policy = admin.policy(binding.resource)
            if policy is None or holds(policy, binding):
                break
            policy.bindings.add(role=binding.role, members=[binding.member])
            if admin.set_policy(binding.resource, policy):
                break
        else:
            raise UnreachableError(
                f"the rights of {binding.resource} are changed by another program",
                hint="run the same command again",
            )


def holds(policy: object, binding: Binding) -> bool:
    """Whether the account has the role unconditionally."""
    return any(
        held.role == binding.role
        and binding.member in held.members
        and not held.HasField("condition")
        for held in getattr(policy, "bindings", ())
    )


def project_number(project: str) -> int:
    """Look up a project's number, which names Pub/Sub's service account."""
    try:
        with closing(RestSession(GoogleService.CLOUDRESOURCEMANAGER)) as session:
            answer = session.call("GET", f"v1/projects/{project}", timeout_s=_CALL_S)
    except (google.auth.exceptions.GoogleAuthError, OSError) as error:
        raise UnreachableError(f"project {project} cannot be looked up: {error}") from error
    if not answer.ok:
        raise UsageError(
            f"the number of project {project} cannot be looked up ({answer.status_code})",
            hint=f"pass it: --project-number $(gcloud projects describe {project} "
            "--format='value(projectNumber)')",
        )
    return int(answer.json()["projectNumber"])
