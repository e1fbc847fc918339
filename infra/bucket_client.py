"""Administrative calls to Cloud Storage: buckets, their policies, the caller's rights."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from google.api_core import exceptions as api

from infra.bucket_facts import BucketFacts
from runtime import settings
from runtime.errors import UsageError
from runtime.storage.gcs_client import client
from runtime.storage.gcs_errors import call_with_retry, translate_errors
from runtime.urls import GS

POLICY_VERSION: Final = 3  # with conditions
PAYER_HINT: Final = "requester pays, and no project is named to pay: set USER_PROJECT"
_REQUEST: Final = re.compile(r"[A-Z]+ https?://\S+: ")  # with which the client begins messages
_PAYER_MISSING: Final = re.compile(r"(?i)requester pays|UserProjectMissing")
STANDARD: Final = "STANDARD"
MOST_TRIES: Final = 10  # to change what another program changes, too
TAKEN: Final = "this name is taken by another project's bucket"

T = TypeVar("T")
Untyped = Any  # Google publishes no types


class BucketDeniedError(UsageError):
    """The caller may not see or change a bucket."""


class PayerMissingError(UsageError):
    """Requesters pay, and no project is named that does."""


class BucketClient:
    """Buckets, by name.

    Args:
        project: of new buckets.
    """

    def __init__(self, project: str) -> None:
        self._project = project

    def get(self, name: str) -> BucketFacts | None:
        """Facts of a bucket; None if it does not exist.

        Raises:
            BucketDeniedError: the caller may not see them, which no role on objects allows.
        """
        found = self._or_none(name, lambda: self._read(name))
        return None if found is None else BucketFacts.of(found)

    def create(self, name: str, region: str) -> None:
        """Make a bucket in one call: regional, standard, uniform access, no soft delete.

        Location and the begin of soft delete cannot be mended afterwards without a trace.

        Raises:
            BucketDeniedError: the caller may not, or another project has a bucket of this name.
        """
        bucket = client().bucket(name)
        bucket.storage_class = STANDARD
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        _stop_soft_delete(bucket)
        try:
            self._call(
                name,
                lambda: bucket.create(client(), project=self._project, location=region, retry=None),
            )
        except api.Conflict as error:  # also made by this call, if its answer was lost
            try:
                self.get(name)
            except BucketDeniedError:
                raise BucketDeniedError(
                    f"{GS}{name}: {TAKEN}", hint="names are shared by all of Google: choose another"
                ) from error

    def stop_soft_delete(self, name: str) -> None:
        """Turn soft delete off, and change nothing else."""

        def change() -> None:
            bucket = self._read(name)
            if not bucket.soft_delete_policy.retention_duration_seconds:
                return
            _stop_soft_delete(bucket)
            bucket.patch(if_metageneration_match=bucket.metageneration, retry=None)

        self._again_if_changed(name, change)

    def policy(self, name: str) -> Untyped | None:
        """IAM policy of a bucket; None if it does not exist."""
        return self._or_none(
            name,
            lambda: self._bucket(name).get_iam_policy(
                requested_policy_version=POLICY_VERSION, retry=None
            ),
        )

    def grant(self, name: str, wanted: Iterable[tuple[str, str]]) -> bool:
        """Add roles of members to a bucket's policy; False if the bucket does not exist."""

        def change() -> None:
            policy = self._bucket(name).get_iam_policy(
                requested_policy_version=POLICY_VERSION, retry=None
            )
            missing = [(role, member) for role, member in wanted if not holds(policy, role, member)]
            if missing:
                policy.bindings = with_members(policy.bindings, missing, set)
                policy.version = POLICY_VERSION
                self._bucket(name).set_iam_policy(policy, retry=None)

        try:
            self._again_if_changed(name, change)
        except api.NotFound:
            return False
        return True

    def held(self, name: str, permissions: Sequence[str]) -> set[str]:
        """Those of some permissions that the caller has; all if the bucket does not exist."""
        found = self._or_none(
            name,
            lambda: self._bucket(name).test_iam_permissions(list(permissions), retry=None),
        )
        return set(permissions if found is None else found)

    def _read(self, name: str) -> Untyped:
        bucket = self._bucket(name)
        bucket.reload(retry=None)
        return bucket

    @staticmethod
    def _bucket(name: str) -> Untyped:
        return client().bucket(name, user_project=settings.get(settings.USER_PROJECT))

    def _again_if_changed(self, name: str, change: Callable[[], None]) -> None:
        """Make a change of what was read; again if another program changed it meanwhile."""
        for _ in range(MOST_TRIES - 1):
            try:
                self._call(name, change)
            except api.PreconditionFailed:
                continue
            return
        with translate_errors(f"{GS}{name}"):
            call_with_retry(change)

    def _or_none(self, name: str, request: Callable[[], T]) -> T | None:
        try:
            return self._call(name, request)
        except api.NotFound:
            return None

    @staticmethod
    def _call(name: str, request: Callable[[], T]) -> T:
        """The answer; a refusal for lack of rights is BucketDeniedError."""
        try:
            return call_with_retry(request)
        except (api.Forbidden, api.Unauthorized) as error:
            raise BucketDeniedError(
                f"{GS}{name}: {_REQUEST.sub('', error.message, count=1)}",
                hint=f"grant roles/storage.admin on {GS}{name} to the account that runs this",
            ) from error
        except (api.NotFound, api.Conflict, api.PreconditionFailed):
            raise  # the caller knows what to do
        except Exception as error:
            if _PAYER_MISSING.search(str(error)):
                raise PayerMissingError(f"{GS}{name}: {PAYER_HINT}") from error
            with translate_errors(f"{GS}{name}"):
                raise


def with_members(
    bindings: Iterable[Mapping[str, Any]],
    missing: Iterable[tuple[str, str]],
    of: type[set[str]] | type[list[str]],
) -> list[dict[str, Any]]:
    """Bindings of a policy with more members, in those of their roles where there are some.

    Args:
        bindings: of the policy; those with conditions stay as they are.
        missing: roles and members.
        of: what holds the members.
    """
    found = [dict(one) for one in bindings]
    plain = {one["role"]: one for one in found if not one.get("condition")}
    for role, member in missing:
        if role not in plain:
            plain[role] = {"role": role, "members": of()}
            found.append(plain[role])
        plain[role]["members"] = of([*plain[role]["members"], member])
    return found


def _stop_soft_delete(bucket: Untyped) -> None:
    """Set the one field; the client would send the begin of the policy too, which Google sets."""
    policy = bucket.soft_delete_policy
    policy.pop("effectiveTime", None)
    policy.retention_duration_seconds = 0


def holds(policy: Untyped, role: str, member: str) -> bool:
    """Whether an account has a role unconditionally."""
    return any(
        binding["role"] == role and member in binding["members"] and not binding.get("condition")
        for binding in policy.bindings
    )
