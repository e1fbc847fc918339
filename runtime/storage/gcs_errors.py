"""Classification of errors of Google's storage client: transient, not found, not permitted.

The errors come from four libraries and are classified by their attributes (an HTTP code, a
response, `retryable`), so that this module imports none of the four.
"""

import http
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import tenacity

from runtime import log, log_events, settings
from runtime.errors import (
    DamagedInTransit,
    NoSuchBucketError,
    ObjectNotFound,
    ShardliftError,
    UnreachableError,
    UsageError,
)

T = TypeVar("T")

# Beside all 5xx. 410: an upload or a listing that the storage has forgotten. 416: a range of a
# generation whose size is known is never outside it.
_TRANSIENT: Final = {408, 410, 416, 429}
_BAD_REQUEST: Final = 400
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
# Modules of errors of a connection that breaks in the middle; not all of them are OSErrors.
_CONNECTION: Final = ("urllib3", "http")
_CHECKSUM: Final = re.compile(r"(?i)\b(crc32c|md5)\b.*match")
_TOO_MANY: Final = re.compile(r"(?i)rateLimitExceeded|quotaExceeded|rate limit")
_PAYER_WANTED: Final = re.compile(r"(?i)requester pays|UserProjectMissing")
_PAYER_REFUSED: Final = re.compile(r"(?i)serviceusage\.services\.use")


_tries_once: ContextVar[bool] = ContextVar("tries_once", default=False)


@contextmanager
def without_retries() -> Iterator[None]:
    """Requests of this thread are tried once while the block runs, for looks that may fail."""
    token = _tries_once.set(True)
    try:
        yield
    finally:
        _tries_once.reset(token)


def call_with_retry(request: Callable[[], T]) -> T:
    """Call `request` until it succeeds, fails for good, or STORAGE_RETRY_S is over."""
    if _tries_once.get():
        return request()
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


@contextmanager
def reading_answer(name: str) -> Iterator[None]:
    """Reading values of an answer about the object or bucket `name`, which no checksum protects.

    Raises:
        DamagedInTransit: a value is missing, or not what it should be; a retry may help.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedInTransit(
            f"{name}: damaged on the way: an answer that cannot be read ({error})",
            hint="it is requested again; if it goes on, check the network of this machine",
        ) from error


def to_shardlift_error(error: Exception, name: str) -> ShardliftError:
    """Translate a client error to the ShardliftError that says what to do.

    Args:
        error: what the client raised.
        name: `gs://bucket/object`, or `gs://bucket` alone.
    """
    code = _code(error)
    bucket = "/".join(name.split("/")[:3])
    if _is_transient(error):
        return UnreachableError(
            f"{name}: storage cannot be reached ({_describe(error, code)})",
            hint="run the same command again: it continues",
        )
    if code == _NOT_FOUND:
        return _not_found(error, name, bucket)
    if payer := _payer_error(error, bucket):
        return payer
    if code is None or code == _UNAUTHENTICATED:
        return UsageError(
            f"{name}: storage refuses these credentials, or there are none",
            hint="gcloud auth application-default login",
        )
    if code == _FORBIDDEN:
        return UsageError(
            f"{name}: no permission ({code})",
            hint=f"grant roles/storage.objectUser on {bucket} to the account that runs this",
        )
    return UsageError(f"{name}: storage refuses the request ({code}): {_server_message(error)}")


def upload_error(error: Exception, name: str) -> ShardliftError:
    """Translate an error of an upload in chunks, which cannot be repeated: its bytes are gone."""
    if isinstance(error, ValueError) and _code(error) is None:  # the client's: chunks out of step
        return UnreachableError(
            f"{name}: storage lost a part of the upload ({error})",
            hint="the shard is made again; run the same command again: it continues",
        )
    return to_shardlift_error(error, name)


def _payer_error(error: Exception, bucket: str) -> ShardliftError | None:
    """Error of a bucket whose readers pay, if it is one."""
    text = _server_message(error)
    if _PAYER_WANTED.search(text):
        return UsageError(
            f"{bucket}: a requester-pays bucket: whoever reads it names a project that pays",
            hint=f"set {settings.USER_PROJECT} to that project's id, for workers too",
        )
    if _PAYER_REFUSED.search(text):
        payer = settings.get(settings.USER_PROJECT)
        return UsageError(
            f"{bucket}: no permission to let project {payer} pay for requests",
            hint="grant roles/serviceusage.serviceUsageConsumer to the account that runs this",
        )
    return None


def _is_storage_error(error: Exception) -> bool:
    return _code(error) is not None or hasattr(error, "retryable") or _is_broken_connection(error)


def _is_broken_connection(error: BaseException) -> bool:
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or not modules.isdisjoint(_CONNECTION)


def _not_found(error: Exception, name: str, bucket: str) -> ShardliftError:
    if name == bucket or "bucket does not exist" in _server_message(error):
        return NoSuchBucketError(f"{bucket}: no such bucket", hint="check the name, or create it")
    return ObjectNotFound(f"not found: {name}")


def _is_transient(error: BaseException) -> bool:
    """Whether a retry may help."""
    if isinstance(error, DamagedInTransit):
        return True
    code = _code(error)
    if code is not None:
        # An error despite a success code is a damaged response. Redirects are a proxy's: storage
        # sends none.
        if getattr(getattr(error, "response", None), "history", None):
            return True
        beyond = not http.HTTPStatus.BAD_REQUEST <= code < http.HTTPStatus.INTERNAL_SERVER_ERROR
        return beyond or code in _TRANSIENT or _is_passing_refusal(error, code)
    retryable = getattr(error, "retryable", None)  # Google's authentication
    return bool(retryable) if retryable is not None else _is_broken_connection(error)


def _is_passing_refusal(error: BaseException, code: int) -> bool:
    """Whether a 4xx is not about the request: a lost upload, bytes that changed, too many."""
    if code == _NOT_FOUND:
        request = getattr(getattr(error, "response", None), "request", None)
        return "upload_id=" in str(getattr(request, "url", ""))
    text = _server_message(error)
    if code == _BAD_REQUEST:
        return bool(_CHECKSUM.search(text))
    return code == _FORBIDDEN and bool(_TOO_MANY.search(f"{_reasons(error)} {text}"))


def _reasons(error: BaseException) -> list[Any]:
    items = getattr(error, "errors", None) or ()
    return [item.get("reason") for item in items if isinstance(item, dict)]


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
    log.get().warning(
        log_events.STORAGE_RETRIED, attempt=state.attempt_number, error=type(error).__name__
    )
