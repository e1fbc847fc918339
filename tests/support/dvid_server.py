"""A small HTTP server that answers for one `labelmap` instance as DVID's help text describes it.

It knows `info`, `label/X_Y_Z` and `labels` (a GET with a JSON body), each with `scale` and
`supervoxels`; everything else it refuses with 400 and a line of text. Voxels come from arrays, in
which a test may change some. Faults are ordered with `fail`.

    with DvidServer(labels={0: zyx}, supervoxels={0: zyx}) as server:
        client = DvidInstance(server.url, server.uuid, server.instance)
"""

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np

from braid.typing import UInt64Array
from producer.synthetic_export import SyntheticVolume

Fault = int | Literal["reset", "short", "cut", "page", "slow", "text", "moved"]

UUID = "3fa22c07b1e94cd3a6bd1d3de5a2be5f"
INSTANCE = "segmentation"


class RefusedError(Exception):
    """An answer with status 400."""


class DvidServer:
    """The running server.

    Args:
        labels: by scale, zyx voxels; 0 outside.
        supervoxels: likewise.
        typename: of the instance.
    """

    def __init__(
        self,
        labels: Mapping[int, UInt64Array],
        supervoxels: Mapping[int, UInt64Array],
        typename: str = "labelmap",
    ) -> None:
        self.labels, self.supervoxels = dict(labels), dict(supervoxels)
        self.typename = typename
        self.uuid, self.instance = UUID, INSTANCE
        self.points: list[tuple[int, int, int]] = []  # asked for, in order
        self.requests: list[str] = []
        self.released = threading.Event()  # ends slow answers
        self._faults: list[Fault] = []
        self._http = _HttpServer(("127.0.0.1", 0), _Handler)
        self._http.home = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @classmethod
    def of(cls, sample: SyntheticVolume) -> Self:
        """A server of a synthetic volume at scale 0."""
        labels, supervoxels = _voxels(sample)
        return cls({0: labels.copy()}, {0: supervoxels.copy()})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `producer verify` that name this server."""
        return "--dvid", self.url, "--uuid", self.uuid[:5], "--instance", self.instance

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Let the next requests for labels go wrong: with a status, or as the word says."""
        self._faults += [fault] * times

    def next_fault(self) -> Fault | None:
        """The fault of this request, used up by it."""
        return self._faults.pop(0) if self._faults else None

    def answer(self, target: str, body: bytes) -> Any:  # noqa: ANN401 - JSON
        """The document for a GET; raises RefusedError."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        api, node, uuid, name, command, *rest = [*parts.path.split("/")[1:], "", "", "", "", ""]
        if (api, node) != ("api", "node"):
            raise RefusedError(f"unknown request {parts.path}")
        if not uuid or not self.uuid.startswith(uuid):
            raise RefusedError(f"no version with UUID \x1b[31m{uuid}\x1b[0m is known")
        if name != self.instance:
            raise RefusedError(f"no data instance {name!r} in version {uuid}")
        if command == "info":
            return self._info()
        voxels = self._voxels(query)
        if command == "label":
            x, y, z = map(int, rest[0].split("_"))
            return {"Label": _at(voxels, x, y, z)}
        if command == "labels":
            points = [(x, y, z) for x, y, z in json.loads(body)]
            self.points += points
            return [_at(voxels, *point) for point in points]
        raise RefusedError(f"unknown request {command}")

    def _info(self) -> dict[str, Any]:
        extended = {"BlockSize": [64, 64, 64], "MaxDownresLevel": max(self.labels)}
        return {"Base": {"TypeName": self.typename, "Name": self.instance}, "Extended": extended}

    def _voxels(self, query: Mapping[str, str]) -> UInt64Array:
        table = self.supervoxels if query.get("supervoxels") == "true" else self.labels
        scale = int(query.get("scale", "0"))
        if scale not in table:
            raise RefusedError(f"scale {scale} is more than the maximum")
        return table[scale]


@cache
def _voxels(sample: SyntheticVolume) -> tuple[UInt64Array, UInt64Array]:
    """Labels and supervoxels of a whole volume, made once."""
    supervoxels = sample.supervoxels((0, 0, 0), sample.size)
    return sample.labels_of(supervoxels), supervoxels


def _at(voxels: UInt64Array, x: int, y: int, z: int) -> int:
    inside = all(0 <= c < n for c, n in zip((z, y, x), voxels.shape, strict=True))
    return int(voxels[z, y, x]) if inside else 0


def halved(voxels: UInt64Array) -> UInt64Array:
    """Every second voxel of each axis: a scale by a rule that no volume of ours follows."""
    return np.ascontiguousarray(voxels[::2, ::2, ::2])


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    home: DvidServer

    def handle_error(self, *_args: object) -> None:
        """Ignore clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_GET(self) -> None:
        """Answer, or fail as ordered."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        home = self.server.home
        home.requests.append(self.path)
        try:
            answer = json.dumps(home.answer(self.path, body)).encode()
        except RefusedError as error:
            self._send(400, str(error).encode())
            return
        fault = home.next_fault() if "/labels" in self.path else None
        self._fail(fault, answer) if fault is not None else self._send(200, answer)

    def _fail(self, fault: Fault, answer: bytes) -> None:
        if isinstance(fault, int):
            self._send(fault, b"a fault, as ordered")
        elif fault == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "slow":
            self.server.home.released.wait(30)
            self._send(200, answer)
        elif fault == "moved":
            self._send(302, b"", Location="http://127.0.0.1:1/api")
        else:
            broken = {
                "short": json.dumps(json.loads(answer)[:-1]).encode(),
                "cut": answer[: len(answer) // 2] + b"block 7 cannot be read",
                "page": b"<html>\x1b[31m sign in </html>",
                "text": b'["1", null, -2]',
            }
            self._send(200, broken[fault])

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response_only(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Keep quiet: `DvidServer.requests` holds what came."""
