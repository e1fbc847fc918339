"""IAM bindings of Pub/Sub's service account; other bindings are not changed."""

from collections.abc import Iterator, Sequence
from typing import Final

import google.auth
import google.auth.exceptions
from google.auth.transport.requests import AuthorizedSession

from infra.changes import Action, Change
from infra.desired import Binding
from infra.pubsub_admin import PubSubAdmin
from runtime.errors import UnreachableError, UsageError

_PROJECTS: Final = "https://cloudresourcemanager.googleapis.com/v1/projects"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_CALL_S: Final = 20.0


def compare(admin: PubSubAdmin, wanted: Sequence[Binding]) -> Iterator[Change]:
    """Compare desired bindings; a resource that does not exist misses all of its bindings."""
    for binding in wanted:
        policy = admin.policy(binding.resource)
        held = policy is not None and _holds(policy, binding)
        yield Change(
            Action.OK if held else Action.CREATE,
            "binding",
            binding.resource.rpartition("/")[2],
            f"{binding.role} for Pub/Sub's service account",
        )


def grant(admin: PubSubAdmin, wanted: Sequence[Binding]) -> None:
    """Add missing bindings; concurrent changes of a policy are detected by its etag."""
    for binding in wanted:
        policy = admin.policy(binding.resource)
        if policy is not None and not _holds(policy, binding):
            policy.bindings.add(role=binding.role, members=[binding.member])
            admin.set_policy(binding.resource, policy)


def _holds(policy: object, binding: Binding) -> bool:
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
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call] # Google's
        answer = session.get(f"{_PROJECTS}/{project}", timeout=_CALL_S)
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise UsageError(
            "no Google Cloud credentials found", hint="gcloud auth application-default login"
        ) from error
    except (google.auth.exceptions.GoogleAuthError, OSError) as error:
        raise UnreachableError(f"project {project} cannot be looked up: {error}") from error
    if not answer.ok:
        raise UsageError(
            f"the number of project {project} cannot be looked up ({answer.status_code})",
            hint=f"pass it: --project-number $(gcloud projects describe {project} "
            "--format='value(projectNumber)')",
        )
    return int(answer.json()["projectNumber"])
