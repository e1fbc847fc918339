"""One service on a port of its own: reads requests whole, checks them, injects ordered faults."""

import contextlib
import json
import socket
import threading
import traceback
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, Self

from tests.support.google_api.calls import Call, find, parse
from tests.support.google_api.discovery import Document
from tests.support.google_api.faults import Faults
from tests.support.google_api.refusals import Refusal


@dataclass(frozen=True)
class Seen:
    """A request as it came, and how it was answered; 0 where the server hung up.

    Attributes:
        method: id of the method; verb and path where no document has one.
        name: resource in the path.
        query: parameters.
        body: as parsed from JSON.
        code: of the answer.
        authorized: whether the caller sent credentials.
    """

    method: str
    name: str = ""
    query: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    code: int = 0
    authorized: bool = False


class Home(Protocol):
    """What the services of one server share."""

    seen: list[Seen]
    mistakes: list[str]
    faults: Faults

    def answer(self, call: Call) -> dict[str, Any]:
        """The answer to a call; Refusal is one, too."""


class HttpService(ThreadingHTTPServer):
    """One service on a port of its own."""

    daemon_threads = True

    def __init__(self, home: Home, documents: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.home = home
        self.documents = tuple(Document.load(name) for name in documents)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, *_args: object) -> None:
        """Ignore clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    """Reads a request whole, checks it, injects ordered faults, answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: HttpService

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        home = self.server.home
        method, call = f"{self.command} {self.path}", None
        try:
            found, names = find(self.server.documents, self.command, self.path)
            method = found.id
            kind = self.headers.get("Content-Type", "")
            call = parse(found, names, self.path, kind, body)
            fault = home.faults.fault_for(method)
            if fault == "reset":
                self._note(method, call, 0)
                self._hang_up()
                return
            if isinstance(fault, int):
                raise Refusal(fault, "a fault, as ordered")  # noqa: TRY301 - answered below
            code, document = 200, home.answer(call)
        except Refusal as refusal:
            fault, code, document = None, refusal.code, refusal.document()
        except Exception:  # noqa: BLE001 - a fault of this server is an answer, too
            fault, code, document = None, 500, {"error": {"message": traceback.format_exc()}}
            home.mistakes.append(traceback.format_exc())
        self._note(method, call, code)
        if fault == "lost":
            self._hang_up()
        else:
            self._send(code, document)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base's

    def _note(self, method: str, call: Call | None, code: int) -> None:
        authorized = "Authorization" in self.headers
        if call is None:
            self.server.home.seen.append(Seen(method, code=code, authorized=authorized))
            return
        name = next(iter(call.names.values()), "")
        seen = Seen(method, name, dict(call.query), call.body, code, authorized)
        self.server.home.seen.append(seen)

    def _send(self, code: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response_only(code)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_args: object) -> None:
        """Keep quiet: `seen` holds what came."""
