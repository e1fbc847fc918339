"""Clients of Google's services, at Google or at the endpoints that gcloud's variables name.

Cloud Run is called over REST, so that what tests prove is what runs. Services without a client
library among the dependencies are called by `session`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import google.auth
import google.auth.exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession

from runtime.errors import UsageError
from runtime.google_endpoints import Endpoint, GoogleService, endpoint

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"

Untyped = Any  # Google publishes no types


def worker_pools() -> Untyped:
    """Client of Cloud Run's worker pools."""
    from google.cloud import run_v2  # noqa: PLC0415 - takes a second to import

    return _run_client(run_v2.WorkerPoolsClient)


def jobs() -> Untyped:
    """Client of Cloud Run's jobs."""
    from google.cloud import run_v2  # noqa: PLC0415 - takes a second to import

    return _run_client(run_v2.JobsClient)


def executions() -> Untyped:
    """Client of the executions of Cloud Run's jobs."""
    from google.cloud import run_v2  # noqa: PLC0415 - takes a second to import

    return _run_client(run_v2.ExecutionsClient)


class RestSession:
    """Calls of one service in plain JSON.

    Args:
        service: of Google.
    """

    def __init__(self, service: GoogleService) -> None:
        self.endpoint = endpoint(service)
        self._session: Untyped = AuthorizedSession(_credentials(self.endpoint))  # type: ignore[no-untyped-call] # Google's

    def call(
        self,
        verb: str,
        path: str,
        *,
        timeout_s: float,
        body: object = None,
        **query: str | Sequence[str],
    ) -> Untyped:
        """The answer to a request, whatever its status.

        Args:
            verb: of HTTP.
            path: with its version, such as `v1/projects/P`.
            timeout_s: of one attempt.
            body: sent as JSON; None sends none.
            query: parameters.
        """
        url = f"{self.endpoint.url}/{path}"
        return self._session.request(verb, url, params=query, json=body, timeout=timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _run_client(client: Callable[..., Untyped]) -> Untyped:
    at = endpoint(GoogleService.RUN)
    options = {"api_endpoint": at.url} if at.overridden else None
    return client(transport="rest", credentials=_credentials(at), client_options=options)


def _credentials(at: Endpoint) -> Untyped:
    """Credentials for an endpoint; none for one that is not encrypted.

    Raises:
        UsageError: there are none on this machine.
    """
    if at.anonymous:
        return AnonymousCredentials()  # type: ignore[no-untyped-call] # Google's
    try:
        return google.auth.default(scopes=[SCOPE])[0]
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise UsageError(
            "no Google Cloud credentials found", hint="gcloud auth application-default login"
        ) from error
