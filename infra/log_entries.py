"""Log lines of builds and workers, as Cloud Logging holds them."""

from typing import Any, Final

from infra.rest_service import RestService
from runtime.google_endpoints import GoogleService

_TEXTS: Final = ("message", "event")  # of a JSON line, the first that it has


class LogEntries:
    """Lines of a project's log.

    Args:
        project: id.
    """

    def __init__(self, project: str) -> None:
        self._resource = f"projects/{project}"
        self._service = RestService(GoogleService.LOGGING)

    def last(self, count: int, log_filter: str) -> list[str]:
        """The last lines, oldest first; a line of ours in words.

        Args:
            count: of lines, at most.
            log_filter: in the query language of Cloud Logging.

        Raises:
            DeniedError: the caller may not read logs, or the API is off.
            UnreachableError: no answer.
        """
        body = {
            "resourceNames": [self._resource],
            "filter": log_filter,
            "orderBy": "timestamp desc",
            "pageSize": count,
        }
        found = self._service.call("POST", "v2/entries:list", body).get("entries", [])
        return [text for entry in reversed(found) if (text := _text(entry))]


def _text(entry: dict[str, Any]) -> str:
    """What an entry says, in one line."""
    payload = entry.get("jsonPayload", {})
    said = next((payload[key] for key in _TEXTS if payload.get(key)), entry.get("textPayload"))
    if said is None:  # of Cloud Run itself, such as a container that could not start
        said = entry.get("protoPayload", {}).get("status", {}).get("message", "")
    return " ".join(str(said).split())
