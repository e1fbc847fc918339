"""HTTP file server for the viewer: byte ranges, read only, for one viewer on this machine.

Any program and any web page of this machine can reach the port. So paths begin with a secret, the
host must be this machine's (a page's own name may be bound to it), only the viewer's pages may read
answers, and requests are bounded in size, time and number.
"""

import io
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, Final, Self
from urllib.parse import quote, urlsplit

from producer.byte_range import ByteRange, parse_range
from producer.http_limits import (
    MAX_LINE_BYTES,
    SEND_S,
    ConnectionLimit,
    HeadReader,
    HeadTooLargeError,
)
from producer.served_folder import ServedFolder

_PIECE_BYTES: Final = 256 << 10
_TYPES: Final = {"": "application/json", ".json": "application/json"}  # `info` has no suffix
_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

Rewrite = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """Record of one answered request."""

    method: str
    path: str
    status: int
    body_bytes: int


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        root: Path,
        on_served: Callable[[ServedRequest], None],
        rewrites: Mapping[str, Rewrite],
    ) -> None:
        super().__init__(address, _Handler)
        self.folder = ServedFolder(root)
        self.rewrites = {(root / name).resolve(): rewrite for name, rewrite in rewrites.items()}
        self.on_served = on_served
        self.connections = ConnectionLimit()
        self.secret = secrets.token_urlsafe(32)
        self.hosts = {f"{name}:{self.server_port}" for name in (str(address[0]), "localhost")}
        self.origin: str | None = None

    def process_request(self, request: object, client_address: object) -> None:
        """Answer on a thread, within the number of connections."""
        assert isinstance(request, socket.socket)  # noqa: S101 - it is TCP
        if self.connections.admit(request):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.send(_FULL)
        self.shutdown_request(request)

    def shutdown_request(self, request: object) -> None:
        """Forget the connection."""
        assert isinstance(request, socket.socket)  # noqa: S101 - it is TCP
        self.connections.release(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore dropped connections: viewers drop those of chunks that they no longer need."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # so that an answer to garbage has a head
    server_version, sys_version = "shardlift", ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()  # heads are read within limits, from the socket itself
        self._heads = HeadReader(self.connection)

    def handle_one_request(self) -> None:
        """Read a head within limits, and answer it."""
        self.close_connection = True
        try:
            head = self._heads.read()
            if head:
                self.server.connections.begin(self.connection)
                self.connection.settimeout(SEND_S)
                self._answer(head)
                self.server.connections.end(self.connection)
        except HeadTooLargeError:
            self._refuse_unread(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            self._heads.drain()
        except TimeoutError:  # a slow client; it may begin again
            self.close_connection = True

    def _answer(self, head: bytes) -> None:
        line, _, rest = head.partition(b"\n")
        if len(line) > MAX_LINE_BYTES:
            self._refuse_unread(HTTPStatus.REQUEST_URI_TOO_LONG)
            return
        self.raw_requestline, self.rfile = line + b"\n", io.BytesIO(rest)
        if not self.parse_request():
            return
        if refusal := self._refusal():
            self.send_error(refusal)
        elif self.command == "OPTIONS":
            self._head(HTTPStatus.NO_CONTENT, 0, {"Access-Control-Max-Age": "3600"})
        else:
            self._send_file(with_body=self.command == "GET")

    def _refusal(self) -> HTTPStatus | None:
        """Why a request is not answered, if so."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            return HTTPStatus.MISDIRECTED_REQUEST
        if self.command not in _METHODS:
            return HTTPStatus.METHOD_NOT_ALLOWED
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if self._relative() is None:
            return HTTPStatus.NOT_FOUND
        origins = self.headers.get_all("Origin", [])
        if origins and origins != [self.server.origin]:
            return HTTPStatus.FORBIDDEN
        return None

    def _relative(self) -> str | None:
        """The path behind the secret; None without it."""
        before, _, rest = self.path.partition("?")[0].removeprefix("/").partition("/")
        known = secrets.compare_digest(before.encode(), self.server.secret.encode())
        return rest if known else None

    def _send_file(self, *, with_body: bool) -> None:
        path = self.server.folder.find(self._relative() or "")
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
        self.send_header("Vary", "Origin")
        if self._of_viewer():
            self.send_header("Access-Control-Allow-Origin", str(self.server.origin))
            self.send_header("Access-Control-Allow-Methods", ", ".join(_METHODS))
            self.send_header("Access-Control-Allow-Headers", "Range, Content-Type")
            self.send_header("Access-Control-Expose-Headers", "Content-Range, Content-Length, ETag")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Content-Type-Options", "nosniff")
        # A shard may be replaced while it is viewed; an old index with new bytes would be garbage.
        self.send_header("Cache-Control", "no-cache")
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        shown = self._relative()
        path = self.path if shown is None else f"/{shown}"  # logs do not hold the secret
        self.server.on_served(ServedRequest(self.command or "", path, status, body_bytes))

    def _of_viewer(self) -> bool:
        """Whether the viewer's page asks."""
        headers = getattr(self, "headers", None)  # none before a head is parsed
        return bool(headers and self.server.origin and headers["Origin"] == self.server.origin)

    def _refuse_unread(self, status: HTTPStatus) -> None:
        """Refuse a request whose head is not parsed."""
        self.command, self.path, self.requestline = "", "", ""
        self.request_version = self.default_request_version
        self.send_error(status)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a status without a body, and end the connection; texts of requests stay here."""
        del message, explain
        self.close_connection = True
        self.path = getattr(self, "path", "")
        allow = {"Allow": ", ".join(_METHODS)}
        self._head(HTTPStatus(code), 0, allow if code == HTTPStatus.METHOD_NOT_ALLOWED else None)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's name)
        """Do nothing: requests are reported through `on_served`."""


class FileServer:
    """Context manager that serves the files of a volume's folder to its viewer.

    Args:
        root: the folder; see `ServedFolder` for what is sent. Listings never are.
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
        """URL of the folder, without a trailing slash; who knows it can read the files."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/{self._server.secret}"

    def allow_origin(self, url: str) -> None:
        """Let the pages of one origin read the files; no other page can.

        Args:
            url: of such a page.
        """
        parts = urlsplit(url)
        self._server.origin = f"{parts.scheme}://{parts.netloc}"

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
