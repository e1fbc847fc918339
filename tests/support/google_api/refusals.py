"""Refusals as Google's services send them: HTTP code, canonical status and message."""

from typing import Any, Final

STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """An answer other than success."""

    def __init__(self, code: int, message: str, status: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS.get(code, "UNKNOWN")

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"code": self.code, "message": self.message, "status": self.status}}


def not_found(name: str) -> Refusal:
    """No resource of this name."""
    return Refusal(404, f"Resource '{name}' was not found")


def exists(name: str) -> Refusal:
    """A resource of this name is there already."""
    return Refusal(409, f"Resource '{name}' already exists.", "ALREADY_EXISTS")


def stale(name: str) -> Refusal:
    """The etag is not that of the present version."""
    return Refusal(409, f"Conflict for resource '{name}': version does not match its etag")
