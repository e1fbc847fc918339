"""Client of Google Cloud Storage, one per process, with its credentials and connections."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import google.auth
import google.auth.exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from runtime import settings
from runtime.errors import UsageError

_MOST_CONNECTIONS: Final = 256  # kept; as many as commands have threads
MOST_AT_ONCE_BYTES: Final = 8 << 20
"""Most bytes that Google's client uploads in one request; it begins a larger upload by another."""

_NO_PROJECT: Final = "none"  # reading needs none

Client = Any  # Google publishes no types


def client() -> Client:
    """Client of this process; anonymous where there are no credentials, which reads public data."""
    return _client_of(
        settings.get(settings.PROJECT_ID), settings.get(settings.STORAGE_EMULATOR_HOST)
    )


@cache
def _client_of(project: str | None, emulator: str | None) -> Client:
    """Client per project and endpoint, cached with its connections."""
    settings.disable_bucket_metadata_requests()
    if emulator:
        return _keep_connections(_anonymous(project or "local"))
    try:
        return _keep_connections(storage.Client(project=project))
    except google.auth.exceptions.DefaultCredentialsError as error:
        if "default credentials were not found" not in str(error):  # there are some, of no use
            raise UsageError(
                f"Google Cloud credentials cannot be used: {str(error).splitlines()[0]}",
                hint="gcloud auth application-default login",
            ) from error
        return _keep_connections(_anonymous(project or _NO_PROJECT))


def upload_retry(is_wanted: Callable[[], bool]) -> Any | None:  # noqa: ANN401 - Google's type
    """How the client tries the chunks of an upload again; None: it does not.

    Args:
        is_wanted: whether the upload still is.
    """
    limit_s = settings.storage_retry_s()
    transient = DEFAULT_RETRY._predicate  # noqa: SLF001 - no public name
    retry = (
        DEFAULT_RETRY.with_timeout(limit_s)
        .with_delay(initial=0.25, maximum=15)
        .with_predicate(lambda error: is_wanted() and transient(error))
    )
    return retry if limit_s else None


def find_credentials() -> tuple[str | None, str | None]:
    """Service account and project of this machine's credentials, where they name one.

    Raises:
        UsageError: there are no credentials.
    """
    try:
        found, project = google.auth.default()
    except google.auth.exceptions.DefaultCredentialsError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(reason, hint="gcloud auth application-default login") from error
    return getattr(found, "service_account_email", None), project


def _anonymous(project: str) -> Client:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # Google's
    return storage.Client(project=project, credentials=credentials)


def _keep_connections(found: Client) -> Client:
    """Let every thread keep a connection; the default keeps ten, and opens others each time."""
    adapter = HTTPAdapter(pool_maxsize=_MOST_CONNECTIONS)
    for scheme in ("https://", "http://"):
        found._http.mount(scheme, adapter)  # noqa: SLF001 - it has no public name
    return found
