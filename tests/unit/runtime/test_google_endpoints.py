"""Endpoints of Google's services: their own, or those that gcloud's variables name."""

import pytest

from runtime.errors import UsageError
from runtime.google_endpoints import Endpoint, GoogleService, endpoint


def test_without_a_variable_a_service_is_googles() -> None:
    """Encrypted, with credentials."""
    found = endpoint(GoogleService.RUN)
    assert found == Endpoint("https://run.googleapis.com", overridden=False)
    assert not found.anonymous
    assert found.authority == "run.googleapis.com"


@pytest.mark.parametrize("service", list(GoogleService))
def test_each_service_has_gclouds_variable(
    service: GoogleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain server gets no credentials; the others stay where they are."""
    monkeypatch.setenv(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.name}", "http://127.0.0.1:81/")
    found = endpoint(service)
    assert found == Endpoint("http://127.0.0.1:81", overridden=True)
    assert found.anonymous
    assert found.authority == "127.0.0.1:81"
    assert sum(endpoint(one).overridden for one in GoogleService) == 1


def test_an_encrypted_endpoint_gets_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a region's own."""
    monkeypatch.setenv(GoogleService.RUN.variable, "https://us-central1-run.googleapis.com/")
    found = endpoint(GoogleService.RUN)
    assert found.url == "https://us-central1-run.googleapis.com"
    assert not found.anonymous


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for all settings."""
    monkeypatch.setenv(GoogleService.IAM.variable, "")
    assert not endpoint(GoogleService.IAM).overridden


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:81",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:x",
        "http://127.0.0.1:99999",
        "http://127.0.0.1/v2",
        "http://127.0.0.1?a=b",
        "http://user@127.0.0.1",
        "localhost",
    ],
)
def test_what_is_not_a_server_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, with an example."""
    monkeypatch.setenv(GoogleService.RUN.variable, text)
    with pytest.raises(UsageError, match="CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN is not the URL"):
        endpoint(GoogleService.RUN)
