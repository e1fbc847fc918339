"""HTTP file server for the viewer: byte ranges and CORS, read only."""

import io
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote, unquote, urlsplit

_PIECE_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {"": "application/json", ".json": "application/json"}  # `info` has no suffix

Rewrite = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Byte range [begin, end) of a file."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """Record of one answered request."""

    method: str
    path: str
    status: int
    body_bytes: int


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Parse a Range header (RFC 9110); the whole file without one, None if not satisfiable (416).

    Several ranges at once, other units and malformed headers are ignored, as the RFC allows.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return ByteRange(0, size)
    first, last = match.groups()
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return ByteRange(0, size)
    return ByteRange(begin, end) if begin < end else None


def resolve(root: Path, url_path: str) -> Path | None:
    """Resolve a URL path to a file below `root`; None if there is none or it lies outside."""
    relative = unquote(urlsplit(url_path).path).lstrip("/")
    if "\0" in relative:
        return None
    root = root.resolve()
    found = (root / relative).resolve()
    return found if found.is_relative_to(root) and found.is_file() else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        root: Path,
        on_served: Callable[[ServedRequest], None],
        rewrites: Mapping[str, Rewrite],
    ) -> None:
        super().__init__(address, _Handler)
        self.root = root
        self.rewrites = {(root / name).resolve(): rewrite for name, rewrite in rewrites.items()}
        self.on_served = on_served

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore dropped connections: viewers drop those of chunks that they no longer need."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_OPTIONS(self) -> None:
        self._head(HTTPStatus.NO_CONTENT, 0, {"Access-Control-Max-Age": "3600"})

    def _answer(self, *, with_body: bool) -> None:
        path = resolve(self.server.root, self.path)
        try:
            file = self._open(path) if path else None
        except OSError:
            file = None
        if path is None or file is None:
            self._head(HTTPStatus.NOT_FOUND, 0)
            return
        with file:
            self._send(path, file, with_body=with_body)

    def _open(self, path: Path) -> BinaryIO:
        rewrite = self.server.rewrites.get(path)
        return io.BytesIO(rewrite(path.read_bytes())) if rewrite else path.open("rb")

    def _send(self, path: Path, file: BinaryIO, *, with_body: bool) -> None:
        size = file.seek(0, 2)
        header = self.headers.get("Range")
        span = parse_range(header, size) if header else ByteRange(0, size)
        if span is None:
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            self._head(status, 0, {"Content-Range": f"bytes */{size}"})
            return
        extra = {"Content-Type": _TYPES.get(path.suffix, "application/octet-stream")}
        status = HTTPStatus.OK
        if span.size != size:
            status = HTTPStatus.PARTIAL_CONTENT
            extra["Content-Range"] = f"bytes {span.begin}-{span.end - 1}/{size}"
        self._head(status, span.size, extra)
        if with_body:
            self._body(file, span)

    def _body(self, file: BinaryIO, span: ByteRange) -> None:
        file.seek(span.begin)
        left = span.size
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:  # the file was truncated; the client must see that bytes are missing
                self.close_connection = True
                return
            self.wfile.write(piece)
            left -= len(piece)

    def _head(
        self, status: HTTPStatus, body_bytes: int, extra: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(body_bytes))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
        self.send_header("Access-Control-Allow-Headers", "Range, Content-Type")
        self.send_header("Access-Control-Expose-Headers", "Content-Range, Content-Length, ETag")
        self.send_header("Accept-Ranges", "bytes")
        # A shard may be replaced while it is viewed; an old index with new bytes would be garbage.
        self.send_header("Cache-Control", "no-cache")
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.server.on_served(ServedRequest(self.command, self.path, status, body_bytes))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's name)
        """Do nothing: requests are reported through `on_served`."""


class FileServer:
    """Context manager that serves the files below a folder.

    Args:
        root: the folder; files outside it and listings are never sent.
        host: address to listen on; the default is reachable from this machine only.
        port: 0 for a free one.
        on_served: called from serving threads after each answer.
        rewrites: by path below the root, what to send instead of a file's bytes; called at each
            request, so that answers follow the files. The files stay as they are.
    """

    def __init__(
        self,
        root: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        on_served: Callable[[ServedRequest], None] = lambda _: None,
        rewrites: Mapping[str, Rewrite] | None = None,
    ) -> None:
        self._server = _Server((host, port), root, on_served, rewrites or {})
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    @property
    def url(self) -> str:
        """URL of the folder, without a trailing slash."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def url_of(self, relative: str) -> str:
        """URL of one file or folder below the root."""
        return f"{self.url}/{quote(relative)}".rstrip("/")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
