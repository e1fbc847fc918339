"""What Google's storage client raises, sorted into: try again, not there, not allowed.

Its errors come from four libraries and are known here by what they carry: an HTTP code, a
response, or whether a retry makes sense. So this module imports none of them.
"""

import http
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import tenacity

from runtime import log, settings
from runtime.errors import ObjectNotFound, ShardliftError, UnreachableError, UsageError

T = TypeVar("T")

_PASSING: Final = {408, 429, 500, 502, 503, 504}
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403


def patiently(request: Callable[[], T]) -> T:
    """Call `request` until it succeeds, fails for good, or STORAGE_RETRY_S is over."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_passes),
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=15),
        stop=tenacity.stop_before_delay(settings.storage_retry_s()),
        before_sleep=_tell,
        reraise=True,
    )
    return attempts(request)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the client's errors about the object or bucket `name` into ours."""
    try:
        yield
    except ShardliftError:
        raise
    except Exception as error:
        if not _is_storages(error):
            raise  # a bug of ours
        raise ours(error, name) from error


def ours(error: Exception, name: str) -> ShardliftError:
    """The error that tells our caller what may be done.

    Args:
        error: what the client raised.
        name: `gs://bucket/object`, or `gs://bucket` alone.
    """
    code = _code(error)
    bucket = "/".join(name.split("/")[:3])
    if code == http.HTTPStatus.NOT_FOUND:
        return _not_found(error, name, bucket)
    if code == _UNAUTHENTICATED or (code is None and not _passes(error)):
        return UsageError(
            f"{name}: storage refuses these credentials",
            hint="gcloud auth application-default login",
        )
    if code == _FORBIDDEN:
        return UsageError(
            f"{name}: no permission ({code})",
            hint=f"grant roles/storage.objectUser on {bucket} to the account that runs this",
        )
    if code is not None and not _passes(error):
        return UsageError(f"{name}: storage refuses the request ({code}): {_said(error)}")
    return UnreachableError(
        f"{name}: storage cannot be reached ({_why(error, code)})",
        hint="run the same command again: it continues",
    )


def _is_storages(error: Exception) -> bool:
    return _code(error) is not None or hasattr(error, "retryable") or isinstance(error, OSError)


def _not_found(error: Exception, name: str, bucket: str) -> ShardliftError:
    if name == bucket or "bucket does not exist" in _said(error):
        return UnreachableError(f"{bucket}: no such bucket", hint="check the name, or create it")
    return ObjectNotFound(f"not found: {name}")


def _passes(error: BaseException) -> bool:
    """Whether trying again may help."""
    code = _code(error)
    if code is not None:  # an error in spite of a good code is a damaged answer
        return code in _PASSING or code < http.HTTPStatus.MULTIPLE_CHOICES
    retryable = getattr(error, "retryable", None)  # Google's authentication
    return bool(retryable) if retryable is not None else isinstance(error, OSError)


def _code(error: BaseException) -> int | None:
    """The HTTP code of an answer that the client took for an error."""
    code = getattr(error, "code", None)
    if code is None:
        code = getattr(getattr(error, "response", None), "status_code", None)
    return int(code) if isinstance(code, int) else None


def _said(error: BaseException) -> str:
    """The server's own words."""
    for item in getattr(error, "errors", None) or ():
        if isinstance(item, dict) and item.get("message"):
            return str(item["message"])
    return str(error)


def _why(error: BaseException, code: int | None) -> str:
    return f"{code} {http.HTTPStatus(code).phrase}" if code else type(error).__name__


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.get().warning(log.STORAGE_RETRIED, attempt=state.attempt_number, error=type(error).__name__)
