"""Calls to Cloud Run: retries, translated errors, and operations that are awaited together."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import google.auth.exceptions
from google.api_core import exceptions as api
from google.api_core.future.polling import DEFAULT_POLLING
from google.api_core.retry import Retry, if_exception_type

from runtime import settings
from runtime.errors import ShardliftError, UnreachableError, UsageError

CALL_S: Final = 20.0  # deadline of one attempt
OPERATION_S: Final = 300.0  # of a change, until it holds
_TRANSIENT: Final = (api.TooManyRequests, api.ServerError, OSError)  # as requests fail
_FAILURES: Final = (
    api.GoogleAPICallError,
    api.RetryError,
    google.auth.exceptions.GoogleAuthError,
    OSError,
)
_REQUEST: Final = re.compile(r"\d{3} [A-Z]+ https?://\S+: |[A-Z]+ https?://\S+: ")
T = TypeVar("T")
Untyped = Any  # Google publishes no types


class StaleError(UnreachableError):
    """Another program changed the resource since it was read; read it again."""


class CloudRun:
    """How one project and region are called.

    Args:
        parent: `projects/PROJECT/locations/REGION`; names the place in error messages.
    """

    def __init__(self, parent: str) -> None:
        self.parent = parent

    def call(self, method: Callable[..., T], request: Untyped) -> T:
        """The answer; passing trouble is retried for STORAGE_RETRY_S.

        A request whose answer was lost may be sent again, so callers take "exists already" and
        "is gone" for what they wanted.

        Raises:
            NotFound, Conflict: of google.api_core, for callers that know what to do.
        """
        limit_s = settings.storage_retry_s()
        passing = if_exception_type(*_TRANSIENT)
        retry = Retry(predicate=passing, initial=0.25, maximum=10, timeout=limit_s)
        with self.translated():
            return method(request=request, timeout=CALL_S, retry=retry if limit_s else None)

    def wait(self, operations: Sequence[Untyped]) -> None:
        """Wait until changes hold that were all begun before; None is one that needs no time."""
        polling = DEFAULT_POLLING.with_delay(initial=0.2, maximum=2.0).with_timeout(OPERATION_S)
        for operation in operations:
            if operation is not None:
                try:
                    with self.translated():
                        operation.result(polling=polling)
                except (api.NotFound, api.Conflict) as error:
                    raise self.error(error) from error

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the library's errors into ours, but for NotFound and Conflict."""
        try:
            yield
        except (api.NotFound, api.Conflict):
            raise
        except _FAILURES as error:
            raise self.error(error) from error

    def error(self, error: Exception) -> ShardliftError:
        """The error for a user, with the next action."""
        if isinstance(error, api.RetryError) and error.cause is not None:
            error = error.cause
        said = _first_line(error)
        if isinstance(error, api.Forbidden | api.Unauthorized):
            return UsageError(
                f"{self.parent}: Cloud Run refuses this account: {said}",
                hint="it needs roles/run.admin, roles/iam.serviceAccountUser on the workers' "
                "account, and the API: gcloud services enable run.googleapis.com",
            )
        if isinstance(error, api.Conflict):
            return StaleError(
                f"{self.parent}: another program changes the same resource: {said}",
                hint="run the same command again",
            )
        if isinstance(error, api.ClientError) and not isinstance(error, _TRANSIENT):
            return UsageError(f"{self.parent}: Cloud Run refuses the request: {said}")
        kind = type(error).__name__
        why = kind if isinstance(error, OSError) else f"{kind}: {said}"  # its text is long
        return UnreachableError(
            f"Cloud Run of {self.parent} cannot be reached ({why})",
            hint="check the network and REGION; then run the same command again",
        )


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    return _REQUEST.sub("", text.splitlines()[0], count=1) if text else type(error).__name__
