"""Endpoints of Google's services; gcloud's own variables point the programs at other servers.

`CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN=http://127.0.0.1:PORT` and its siblings are honoured.
An `http://` endpoint gets no credentials, since they would travel in the clear.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from runtime import settings
from runtime.errors import UsageError

PREFIX: Final = "CLOUDSDK_API_ENDPOINT_OVERRIDES_"
_SCHEMES: Final = {"http", "https"}


class GoogleService(StrEnum):
    """A service that the programs call; the value is the first part of its host."""

    RUN = "run"
    CLOUDBUILD = "cloudbuild"
    ARTIFACTREGISTRY = "artifactregistry"
    IAM = "iam"
    CLOUDRESOURCEMANAGER = "cloudresourcemanager"
    SERVICEUSAGE = "serviceusage"
    MONITORING = "monitoring"
    LOGGING = "logging"

    @property
    def variable(self) -> str:
        """Variable that holds another endpoint."""
        return PREFIX + self.name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is.

    Attributes:
        url: without a slash at its end.
        overridden: whether a variable names it, instead of Google's own.
    """

    url: str
    overridden: bool

    @property
    def anonymous(self) -> bool:
        """Whether no credentials are sent."""
        return self.url.startswith("http://")

    @property
    def authority(self) -> str:
        """`host:port`, as gRPC needs it; without a port where the URL has none."""
        return urlsplit(self.url).netloc


def endpoint(service: GoogleService) -> Endpoint:
    """Endpoint of a service: its variable's, else Google's.

    Raises:
        UsageError: the variable holds something else than a URL of a server.
    """
    text = settings.get(service.variable)
    if text is None:
        return Endpoint(f"https://{service.value}.googleapis.com", overridden=False)
    if not _is_server(text):
        raise UsageError(
            f"{service.variable} is not the URL of a server: {text!r}",
            hint="such as http://127.0.0.1:8080 or https://us-central1-run.googleapis.com/",
        )
    return Endpoint(text.rstrip("/"), overridden=True)


def _is_server(text: str) -> bool:
    """Whether a text is scheme, host, perhaps a port, and no more than a slash."""
    try:
        parts = urlsplit(text)
        fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    bare = parts.path in {"", "/"} and not parts.query and not parts.fragment
    return (
        fine and bare and parts.scheme in _SCHEMES and bool(parts.hostname) and not parts.username
    )
