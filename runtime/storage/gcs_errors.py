"""Classification of errors of Google's storage client: transient, not found, not permitted.

The errors come from four libraries and are classified by their attributes (an HTTP code, a
response, `retryable`), so that this module imports none of the four.
"""

import http
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import tenacity

from runtime import log, settings
from runtime.errors import ObjectNotFound, ShardliftError, UnreachableError, UsageError

T = TypeVar("T")

_TRANSIENT: Final = {408, 429, 500, 502, 503, 504}
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403


def call_with_retry(request: Callable[[], T]) -> T:
    """Call `request` until it succeeds, fails for good, or STORAGE_RETRY_S is over."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_transient),
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=15),
        stop=tenacity.stop_before_delay(settings.storage_retry_s()),
        before_sleep=_log_retry,
        reraise=True,
    )
    return attempts(request)


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Translate the client's errors about the object or bucket `name` to ShardliftError."""
    try:
        yield
    except ShardliftError:
        raise
    except Exception as error:
        if not _is_storage_error(error):
            raise  # not an error of the client: a bug
        raise to_shardlift_error(error, name) from error


def to_shardlift_error(error: Exception, name: str) -> ShardliftError:
    """Translate a client error to the ShardliftError that says what to do.

    Args:
        error: what the client raised.
        name: `gs://bucket/object`, or `gs://bucket` alone.
    """
    code = _code(error)
    bucket = "/".join(name.split("/")[:3])
    if code == http.HTTPStatus.NOT_FOUND:
        return _not_found(error, name, bucket)
    if code == _UNAUTHENTICATED or (code is None and not _is_transient(error)):
        return UsageError(
            f"{name}: storage refuses these credentials",
            hint="gcloud auth application-default login",
        )
    if code == _FORBIDDEN:
        return UsageError(
            f"{name}: no permission ({code})",
            hint=f"grant roles/storage.objectUser on {bucket} to the account that runs this",
        )
    if code is not None and not _is_transient(error):
        return UsageError(f"{name}: storage refuses the request ({code}): {_server_message(error)}")
    return UnreachableError(
        f"{name}: storage cannot be reached ({_describe(error, code)})",
        hint="run the same command again: it continues",
    )


def _is_storage_error(error: Exception) -> bool:
    return _code(error) is not None or hasattr(error, "retryable") or isinstance(error, OSError)


def _not_found(error: Exception, name: str, bucket: str) -> ShardliftError:
    if name == bucket or "bucket does not exist" in _server_message(error):
        return UnreachableError(f"{bucket}: no such bucket", hint="check the name, or create it")
    return ObjectNotFound(f"not found: {name}")


def _is_transient(error: BaseException) -> bool:
    """Whether a retry may help."""
    code = _code(error)
    if code is not None:  # an error despite a success code is a damaged response
        return code in _TRANSIENT or code < http.HTTPStatus.MULTIPLE_CHOICES
    retryable = getattr(error, "retryable", None)  # Google's authentication
    return bool(retryable) if retryable is not None else isinstance(error, OSError)


def _code(error: BaseException) -> int | None:
    """HTTP code of the response that the client raised for."""
    code = getattr(error, "code", None)
    if code is None:
        code = getattr(getattr(error, "response", None), "status_code", None)
    return int(code) if isinstance(code, int) else None


def _server_message(error: BaseException) -> str:
    """Message of the server."""
    for item in getattr(error, "errors", None) or ():
        if isinstance(item, dict) and item.get("message"):
            return str(item["message"])
    return str(error)


def _describe(error: BaseException, code: int | None) -> str:
    return f"{code} {http.HTTPStatus(code).phrase}" if code else type(error).__name__


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.get().warning(log.STORAGE_RETRIED, attempt=state.attempt_number, error=type(error).__name__)
