"""Calls of one of Google's services in plain JSON: retries, translated errors, operations.

Callers handle what only they can: a refused right, a resource that is missing or was changed.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import google.auth.exceptions
import tenacity

from infra.google_clients import RestSession
from runtime import settings
from runtime.errors import ShardliftError, UnreachableError, UsageError
from runtime.google_endpoints import GoogleService

CALL_S: Final = 20.0  # deadline of one attempt
OPERATION_S: Final = 300.0  # of a change, until it holds
POLL_S: Final = (0.2, 2.0)  # pause before the second look at an operation, and the longest one
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})

Json = dict[str, Any]


class DeniedError(UsageError):
    """The caller lacks a right, or the API is off."""


class MissingError(UsageError):
    """The resource does not exist."""


class ConflictError(UsageError):
    """The resource exists already, or was changed since it was read."""


class _PassingError(Exception):
    """An answer or a broken connection after which the same request may succeed."""


class RestService:
    """One service of Google, for as long as a command needs it.

    Args:
        service: of Google.
    """

    def __init__(self, service: GoogleService) -> None:
        self._service = service
        self._session: RestSession | None = None  # made with the first call, and kept

    def call(self, verb: str, path: str, body: object = None, **query: str | Sequence[str]) -> Json:
        """The answer to a request; passing trouble is retried for STORAGE_RETRY_S.

        A request whose answer was lost is sent again, so callers take "exists already" for what
        they wanted.

        Raises:
            DeniedError, MissingError, ConflictError: as their names say.
            UsageError: another refusal.
            UnreachableError: no answer.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_PassingError),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=10),
            stop=tenacity.stop_before_delay(settings.storage_retry_s()),
            reraise=True,
        )
        try:
            return attempts(self._call_once, verb, path, body, query)
        except _PassingError as error:
            raise UnreachableError(
                f"{self._service.value}.googleapis.com cannot be reached ({error})",
                hint="check the network; then run the same command again",
            ) from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise UsageError(
                f"Google Cloud credentials cannot be used: {str(error).splitlines()[0]}",
                hint="gcloud auth application-default login",
            ) from error

    def wait(self, operation: Mapping[str, Any], version: str) -> Json:
        """What a change that was begun has made, once it holds.

        Args:
            operation: as the service answered.
            version: of the service, as paths begin.
        """
        begun, pause_s = time.monotonic(), POLL_S[0]
        found = dict(operation)
        while not found.get("done"):
            if time.monotonic() - begun > OPERATION_S:
                raise UnreachableError(
                    f"{self._service.value}.googleapis.com is not done after {OPERATION_S:.0f} s",
                    hint="run the same command again",
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_S[1])
            found = self.call("GET", f"{version}/{found['name']}")
        if error := found.get("error"):
            said = _one_line(error.get("message") or "no reason is given")
            raise UsageError(f"{self._service.value}.googleapis.com refuses the change: {said}")
        response: Json = found.get("response", {})
        return response

    def _call_once(
        self, verb: str, path: str, body: object, query: Mapping[str, str | Sequence[str]]
    ) -> Json:
        self._session = self._session or RestSession(self._service)
        try:
            answer = self._session.call(verb, path, timeout_s=CALL_S, body=body, **query)
        except OSError as error:
            raise _PassingError(type(error).__name__) from error
        if answer.status_code in _PASSING:
            raise _PassingError(f"status {answer.status_code}")
        if not answer.ok:
            raise self._refusal(answer)
        document: Json = answer.json() if answer.content else {}
        return document

    def _refusal(self, answer: Any) -> ShardliftError:  # noqa: ANN401 - Google publishes no types
        said = f"{self._service.value}.googleapis.com: {_message(answer)}"
        kinds = {
            _UNAUTHENTICATED: DeniedError,
            _FORBIDDEN: DeniedError,
            _NOT_FOUND: MissingError,
            _CONFLICT: ConflictError,
        }
        return kinds.get(answer.status_code, UsageError)(said)


def _message(answer: Any) -> str:  # noqa: ANN401 - Google publishes no types
    try:
        return _one_line(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
