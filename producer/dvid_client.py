"""Client of a DVID server: the labels of single voxels, over DVID's HTTP interface.

Interface: the help text of DVID's `datatype/labelmap/labelmap.go`. A request for labels is a GET
whose body is a JSON list of coordinates; its answer is a JSON list of as many labels.
"""

import http
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import tenacity

from braid.typing import Vec3
from runtime.errors import UnreachableError, UsageError

MOST_POINTS: Final = 1000  # of one request

_ATTEMPTS: Final = 3
_FIRST_WAIT_S = 0.5
_INFO_TIMEOUT_S = 15.0
_LABELS_TIMEOUT_S = 120.0  # every point may lie in a block of its own
_TRANSIENT: Final = {408, 429, 500, 502, 503, 504}
_FORBIDDEN: Final = {401, 403}
_MOST_WORDS: Final = 200  # characters of a server's answer that an error quotes
_LABEL_MAP: Final = "labelmap"
_LABEL_END: Final = 1 << 64


class DvidInstance:
    """A `labelmap` instance at one version of a DVID server.

    Args:
        url: of the server, such as `http://dvid.example.org:8000`; `/api` may follow.
        uuid: of the version, or enough of its first characters.
        name: of the instance, such as `segmentation`.

    Raises:
        UsageError: `url` is not the address of a server.
    """

    def __init__(self, url: str, uuid: str, name: str) -> None:
        self._api = _api_url(url)
        self.name = f"{name} at {uuid}"
        self._url = f"{self._api}/node/{quote(uuid, safe=':')}/{quote(name, safe='')}"

    def check(self, scales: Sequence[int]) -> None:
        """Ask the server whether it has the instance, with labels and with these scales.

        Raises:
            UsageError: it has no such version, instance or scale, or is not a DVID server.
            UnreachableError: it does not answer.
        """
        info = self._info()
        kind = _field(info, "Base", "TypeName")
        if isinstance(kind, str) and kind != _LABEL_MAP:
            raise UsageError(
                f"{self.name}: the DVID instance is a {_quoted(kind)}, not a {_LABEL_MAP}",
                hint="--instance names the segmentation that was exported",
            )
        coarsest = _field(info, "Extended", "MaxDownresLevel")
        if isinstance(coarsest, int) and scales and max(scales) > coarsest:
            raise UsageError(
                f"{self.name}: the DVID instance has no scale {max(scales)}",
                hint=f"its scales are 0 to {coarsest}; name others with --scales",
            )

    def labels(self, points: Sequence[Vec3], scale: int, *, supervoxels: bool) -> list[int]:
        """Labels of voxels, in their order; 0 where the server has no block.

        Args:
            points: x, y, z of each voxel, counted in voxels of the scale.
            scale: the server's own; 0 is the finest.
            supervoxels: ask for supervoxels, not for the labels that they are mapped to.

        Raises:
            UsageError: the server refuses the request.
            UnreachableError: it does not answer, or not with a label for each point.
        """
        options = {"scale": str(scale)} | ({"supervoxels": "true"} if supervoxels else {})
        url = f"{self._url}/labels?{urlencode(options)}"
        found: list[int] = []
        for batch in _batches(points):
            found += self._retried(url, json.dumps(batch).encode(), len(batch))
        return found

    def _info(self) -> dict[str, Any]:
        answer = _retrying()(self._get, f"{self._url}/info", None, _INFO_TIMEOUT_S)
        info = _parsed(answer)
        if not isinstance(info, dict):
            raise UsageError(
                f"{self._api} does not answer as DVID does: {_words(answer)}",
                hint="--dvid is the address of a DVID server, such as http://HOST:8000",
            )
        return info

    def _retried(self, url: str, body: bytes, count: int) -> list[int]:
        def ask() -> list[int]:
            return self._checked(self._get(url, body, _LABELS_TIMEOUT_S), count)

        return _retrying()(ask)

    def _checked(self, answer: bytes, count: int) -> list[int]:
        """The labels of an answer; DVID may break one off in the middle."""
        found = _parsed(answer)
        if not isinstance(found, list) or not all(map(_is_label, found)):
            raise self._unreachable(f"answered without labels: {_words(answer)}")
        if len(found) != count:
            raise self._unreachable(f"answered with {len(found)} labels for {count} points")
        return found

    def _get(self, url: str, body: bytes | None, timeout_s: float) -> bytes:
        """Body of the answer to one request.

        Raises:
            UsageError: the server refuses.
            UnreachableError: no answer; a retry may help.
        """
        headers = {"Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(url, body, headers, method="GET")  # noqa: S310 - checked
        try:
            with _OPENER.open(request, timeout=timeout_s) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise self._refusal(error.code, _body(error)) from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            text = _quoted(str(reason)) or type(error).__name__
            raise self._unreachable(f"cannot be reached ({text})") from error

    def _refusal(self, code: int, answer: bytes) -> UsageError | UnreachableError:
        if code in _TRANSIENT:
            return self._unreachable(f"failed ({code}): {_words(answer)}")
        hint = f"check --uuid and --instance; {self._api}/repos/info lists what the server has"
        if code in _FORBIDDEN:
            hint = "ask whoever runs the server for the right to read, from this machine"
        elif code < http.HTTPStatus.BAD_REQUEST:
            hint = "the server is elsewhere: give --dvid the address that it moved to"
        words = _words(answer)
        return UsageError(f"{self.name}: DVID refuses the request ({code}): {words}", hint=hint)

    def _unreachable(self, what: str) -> UnreachableError:
        hint = "check --dvid, then run the same command again; it changes nothing"
        return UnreachableError(f"the DVID server {self._api} {what}", hint=hint)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: a request's points would be lost on the way."""

    def redirect_request(self, *_args: object, **_options: object) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def _retrying() -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(UnreachableError),
        wait=tenacity.wait_exponential(multiplier=_FIRST_WAIT_S, max=5),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )


def _api_url(text: str) -> str:
    """Address of a server's interface, without a slash at its end."""
    url = (text if "://" in text else f"http://{text}").rstrip("/").removesuffix("/api")
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port that is not a number
        known = False
    if not known or not url.isprintable() or " " in url:
        raise UsageError(
            f"--dvid {_quoted(text)!r} is not the address of a server",
            hint="give it as http://HOST:PORT",
        )
    return f"{url}/api"


def _batches(points: Sequence[Vec3]) -> Iterator[Sequence[Vec3]]:
    for begin in range(0, len(points), MOST_POINTS):
        yield points[begin : begin + MOST_POINTS]


def _parsed(answer: bytes) -> Any:  # noqa: ANN401 - JSON
    """The JSON document of an answer; None if it is not one."""
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _is_label(value: object) -> bool:
    return type(value) is int and 0 <= value < _LABEL_END


def _field(document: dict[str, Any], group: str, name: str) -> object:
    inner = document.get(group)
    return inner.get(name) if isinstance(inner, dict) else None


def _body(error: urllib.error.HTTPError) -> bytes:
    try:
        return bytes(error.read())
    except (OSError, http.client.HTTPException):
        return b""


def _words(answer: bytes) -> str:
    """The beginning of what a server said, fit for a terminal."""
    return _quoted(answer[: 4 * _MOST_WORDS].decode(errors="replace")) or "no words"


def _quoted(text: str) -> str:
    """Text from outside on one line, with what is not printable escaped, cut to a length."""
    line = " ".join(text.split())
    cut = line if len(line) <= _MOST_WORDS else line[:_MOST_WORDS] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
