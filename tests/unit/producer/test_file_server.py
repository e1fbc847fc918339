"""HTTP file server for local volumes."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from producer.byte_range import ByteRange, parse_range
from producer.file_server import FileServer, ServedRequest
from producer.http_limits import MAX_CONNECTIONS, HeadReader
from producer.synthetic_export import sample_spec
from tests.support.waiting import wait_for

VIEWER = "http://127.0.0.1:1"
DATA = bytes(range(256)) * 40


@pytest.fixture
def served() -> list[ServedRequest]:
    """What the server answered, in order."""
    return []


@pytest.fixture
def server(tmp_path: Path, served: list[ServedRequest]) -> Iterator[FileServer]:
    """A server of one small volume; a file next to its root must stay hidden."""
    root = tmp_path / "volume"
    (root / "8x8x8").mkdir(parents=True)
    (root / "info").write_text('{"scales": []}')
    (root / "8x8x8" / "0.shard").write_bytes(DATA)
    (tmp_path / "secret").write_text("secret")
    (root / "way-out").symlink_to(tmp_path / "secret")
    with FileServer(root, on_served=served.append) as running:
        running.allow_origin(f"{VIEWER}/v/token/")
        yield running


def ask(
    server: FileServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """As `ask_for`, of a path below the server's URL."""
    return ask_for(server, f"{urlsplit(server.url).path}{path}", method, **headers)


def ask_for(
    server: FileServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in small letters) and body; the path goes out as it is."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, names, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("header", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299", 100, 300),
        ("bytes=10000-", 10000, len(DATA)),
        ("bytes=-16", len(DATA) - 16, len(DATA)),
        ("bytes=10230-99999", 10230, len(DATA)),
    ],
)
def test_byte_ranges(server: FileServer, header: str, begin: int, end: int) -> None:
    """A range is answered with exactly its bytes, and says which they are."""
    status, headers, body = ask(server, "/8x8x8/0.shard", Range=header)
    assert (status, body) == (206, DATA[begin:end])
    assert headers["content-range"] == f"bytes {begin}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize("header", [f"bytes={len(DATA)}-", "bytes=-0", "bytes=20000-30000"])
def test_ranges_past_the_end(server: FileServer, header: str) -> None:
    """A range that meets no byte is 416 with the size, never an empty 206."""
    status, headers, body = ask(server, "/8x8x8/0.shard", Range=header)
    assert (status, body) == (416, b"")
    assert headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("header", ["bytes=5-2", "lines=0-3", "bytes=0-1,4-5", "bytes=-", "x"])
def test_ranges_without_meaning_are_ignored(server: FileServer, header: str) -> None:
    """As the RFC allows, nonsense gets the whole file."""
    status, _, body = ask(server, "/8x8x8/0.shard", Range=header)
    assert (status, body) == (200, DATA)


def test_whole_files_are_plain_bytes(server: FileServer) -> None:
    """No encoding is applied, whatever the browser offers: ranges count stored bytes."""
    status, headers, body = ask(server, "/info", **{"Accept-Encoding": "gzip"})
    assert (status, body) == (200, b'{"scales": []}')
    assert "content-encoding" not in headers
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/info", "/8x8x8/7.shard"])
def test_the_viewers_page_may_read(server: FileServer, path: str) -> None:
    """Found or not, an answer may be read from its origin: else the viewer shows nothing."""
    _, headers, _ = ask(server, path, Origin=VIEWER)
    assert headers["access-control-allow-origin"] == VIEWER
    assert "Content-Range" in headers["access-control-expose-headers"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", f"{VIEWER}.attacker.example", "http://127.0.0.1"]
)
def test_no_other_page_may_read(server: FileServer, method: str, origin: str) -> None:
    """Also not with the right address: the request is refused, and nothing is allowed."""
    status, headers, body = ask(server, "/info", method, Origin=origin)
    assert (status, body) == (403, b"")
    assert "access-control-allow-origin" not in headers


def test_programs_send_no_origin(server: FileServer) -> None:
    """Other readers need none, and get no leave for pages."""
    status, headers, _ = ask(server, "/info")
    assert status == 200
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1", "127.0.0.1:1", "localhost", ""])
def test_other_hosts_are_refused(server: FileServer, host: str) -> None:
    """A page's own name may be bound to this machine; its browser then sends that name."""
    assert ask(server, "/info", Host=host)[::2] == (421, b"")


def test_this_machines_names_are_served(server: FileServer) -> None:
    """By number or as localhost, as through a tunnel."""
    port = urlsplit(server.url).port
    assert ask(server, "/info", Host=f"localhost:{port}")[0] == 200
    assert ask(server, "/info", Host=f"LOCALHOST:{port}")[0] == 200


@pytest.mark.parametrize("path", ["/info", "/", "", "//info", "/x/info", "/../info", "*"])
def test_nothing_is_served_without_the_secret(server: FileServer, path: str) -> None:
    """Whatever else the path says."""
    assert ask_for(server, path)[::2] == (404, b"")


def test_each_server_has_a_secret_of_its_own(server: FileServer, tmp_path: Path) -> None:
    """Of 256 bits; requests are reported without it."""
    other = FileServer(tmp_path)
    with other:
        secret = urlsplit(other.url).path
        assert len(secret) > 40
        assert ask_for(server, f"{secret}/info")[0] == 404


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "X"]
)
def test_other_methods_are_refused(server: FileServer, method: str) -> None:
    """With those that are not, and without a body."""
    status, headers, body = ask(server, "/info", method)
    assert (status, body) == (405, b"")
    assert headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET {path}/info HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nabcde", 413),
        ("GET {path}/info HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        ("GET {path}/info HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n", 421),
        ("GET {path}/info HTTP/1.1\r\n\r\n", 421),
        ("GET {path}/info\r\n\r\n", 421),
        ("GET {path}/info HTTP/9.9\r\nHost: {host}\r\n\r\n", 505),
        ("\x16\x03\x01garbage\r\n\r\n", 400),
        ("GET {path}/info HTTP/1.0\r\nHost: {host}\r\n\r\n", 200),
        ("GET {path}/info HTTP/1.1\nHost: {host}\nConnection: close\n\n", 200),
        (f"GET {{path}}/{'a' * 300} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n\r\n", 404),
        (f"GET {{path}}/{'a' * 9000} HTTP/1.1\r\nHost: {{host}}\r\n\r\n", 414),
        (f"GET {{path}}/info HTTP/1.1\r\nHost: {{host}}\r\nX: {'y' * 17000}\r\n\r\n", 431),
        (f"GET {{path}}/info HTTP/1.1\r\nHost: {{host}}\r\nX: {'y' * 500_000}", 431),
        ("GET {path}/info HTTP/1.1\r\nHost: {host}\r\n" + "X: y\r\n" * 101 + "\r\n", 431),
    ],
)
def test_each_request_has_an_answer(server: FileServer, request_text: str, status: int) -> None:
    """Odd and oversized ones too; then the connection ends."""
    where = urlsplit(server.url)
    data = request_text.replace("{path}", where.path).replace("{host}", where.netloc)
    with socket.create_connection((where.hostname, where.port), 10) as client:
        client.sendall(data.encode("latin-1"))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:80]


def test_ranges_of_any_length_of_digits(server: FileServer) -> None:
    """A number beyond every file ends where the file does."""
    nines = "9" * 5000
    assert ask(server, "/8x8x8/0.shard", Range=f"bytes=5-{nines}")[2] == DATA[5:]
    assert ask(server, "/8x8x8/0.shard", Range=f"bytes=-{nines}")[2] == DATA
    assert ask(server, "/8x8x8/0.shard", Range=f"bytes={nines}-")[0] == 416
    assert ask(server, "/8x8x8/0.shard", Range=f"bytes={'0' * 5000}7-8")[2] == DATA[7:9]


def test_idle_connections_give_way(server: FileServer) -> None:
    """However many are open, one more is served; the one that waited longest is closed."""
    where = urlsplit(server.url)
    idle = [
        socket.create_connection((where.hostname, where.port), 10)
        for _ in range(MAX_CONNECTIONS + 6)
    ]
    assert ask(server, "/info")[0] == 200
    assert idle[0].recv(1) == b""
    for client in idle:
        client.close()


def test_a_slow_head_ends() -> None:
    """A client that never ends its request is not waited for."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\nHost:")
        with pytest.raises(TimeoutError):
            HeadReader(ours, head_s=0.05).read()


def test_heads_follow_one_another() -> None:
    """Requests that come together are read one by one; the end is empty."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"A\r\n\r\nB\n\nC\r\n")
        heads = HeadReader(ours)
        assert [heads.read(), heads.read(), heads.read()] == [b"A\r\n\r\n", b"B\n\n", b""]


def test_preflight(server: FileServer) -> None:
    """The viewer's page may ask for ranges."""
    status, headers, _ = ask(server, "/info", "OPTIONS", Origin=VIEWER)
    assert status == 204
    assert "Range" in headers["access-control-allow-headers"]


def test_head(server: FileServer) -> None:
    """HEAD sends the size and no body."""
    status, headers, body = ask(server, "/8x8x8/0.shard", "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/8x8x8/../../secret",
        "/8x8x8/%2e%2e%2f%2e%2e%2fsecret",
        "//etc/passwd",
        "/way-out",
        "/info%00",
        "/8x8x8",
        "/",
        "/7.shard",
    ],
)
def test_nothing_else_is_served(server: FileServer, path: str) -> None:
    """Neither what lies outside, nor listings, nor what is missing."""
    status, _, body = ask(server, path)
    assert (status, body) == (404, b"")


def test_linked_scales_are_followed(server: FileServer, tmp_path: Path) -> None:
    """A scale that was moved to another disk: its shards and chunks, and nothing else there."""
    root, moved = tmp_path / "volume", tmp_path / "disk" / "moved"
    moved.mkdir(parents=True)
    spec = sample_spec((256, 256, 256), 2)
    (root / "info").write_text(json.dumps(spec))
    key = spec["scales"][1]["key"]
    (moved / "0a.shard").write_bytes(b"shard")
    (moved / "0-64_0-64_0-64").write_bytes(b"chunk")
    (moved / "id_rsa").write_bytes(b"secret")
    (moved / "0b.shard").symlink_to(moved / "id_rsa")
    (moved / "0c.shard").symlink_to(moved / "0c.shard")
    (moved / "sub").mkdir()
    (moved / "sub" / "0a.shard").write_bytes(b"secret")
    (root / key).symlink_to(moved)
    (root / "other").symlink_to(moved)
    (root / "again").symlink_to(root / key)
    assert ask(server, f"/{key}/0a.shard")[::2] == (200, b"shard")
    assert ask(server, f"/{key}/0a.shard", Range="bytes=1-2")[::2] == (206, b"ha")
    assert ask(server, f"/{key}/0-64_0-64_0-64")[::2] == (200, b"chunk")
    for path in (
        *(
            f"{key}/{name}"
            for name in ("id_rsa", "0b.shard", "0c.shard", "sub/0a.shard", "0d.shard")
        ),
        *(f"{key}/../moved/0a.shard", f"{key}/%2e/0a.shard", f"{key}//0a.shard", key),
        *("other/0a.shard", "again/0a.shard", "other/id_rsa"),
    ):
        assert ask(server, f"/{path}")[::2] == (404, b""), path


def test_a_linked_info_is_sent_if_it_is_one(server: FileServer, tmp_path: Path) -> None:
    """Else it may be any file."""
    info, target = tmp_path / "volume" / "info", tmp_path / "spec.json"
    info.unlink()
    info.symlink_to(target)
    target.write_text("{}")
    assert ask(server, "/info")[0] == 404
    target.write_text(json.dumps(sample_spec((256, 256, 256))))
    assert ask(server, "/info")[0] == 200


def test_many_at_once_on_one_connection_each(server: FileServer) -> None:
    """A viewer keeps its connections and asks often; a slow one holds up no other."""
    where = urlsplit(server.url)
    idle = [http.client.HTTPConnection(where.netloc, timeout=10) for _ in range(6)]
    for connection in idle:
        connection.connect()
    for connection in idle * 3:
        connection.request("GET", f"{where.path}/8x8x8/0.shard", headers={"Range": "bytes=7-9"})
        assert connection.getresponse().read() == DATA[7:10]
    for connection in idle:
        connection.close()


def test_requests_are_reported(server: FileServer, served: list[ServedRequest]) -> None:
    """Each answer is reported once, with what was sent, soon after the client has it."""
    ask(server, "/8x8x8/0.shard", Range="bytes=0-9")
    wait_for(lambda: len(served) == 1)
    ask(server, "/8x8x8/1.shard")
    wait_for(lambda: len(served) == 2)
    assert [(one.method, one.path, one.status, one.body_bytes) for one in served] == [
        ("GET", "/8x8x8/0.shard", 206, 10),
        ("GET", "/8x8x8/1.shard", 404, 0),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_not_there(server: FileServer, tmp_path: Path) -> None:
    """A file without rights is 404, not a broken connection."""
    (tmp_path / "volume" / "info").chmod(0)
    assert ask(server, "/info")[0] == 404


def test_rewritten_files(tmp_path: Path) -> None:
    """A rewritten file is sent as it is then, whole or in part; on disk it stays as it is."""
    (tmp_path / "info").write_bytes(b"before")
    (tmp_path / "other").write_bytes(b"before")
    with FileServer(tmp_path, rewrites={"info": bytes.upper, "gone": bytes.upper}) as server:
        status, headers, body = ask(server, "/info")
        assert (status, headers["content-length"], body) == (200, "6", b"BEFORE")
        assert ask(server, "/info", Range="bytes=1-2")[2] == b"EF"
        assert ask(server, "/info", "HEAD")[2] == b""
        (tmp_path / "info").write_bytes(b"later on")
        assert ask(server, "/info")[2] == b"LATER ON"
        assert ask(server, "/other")[2] == b"before"
        assert ask(server, "/gone")[0] == 404
    assert (tmp_path / "info").read_bytes() == b"later on"


def test_ends_with_its_block(tmp_path: Path) -> None:
    """After the block the port is free again."""
    with FileServer(tmp_path) as server:
        url = server.url
        assert ask(server, "/info")[0] == 404
    with pytest.raises(ConnectionRefusedError):
        ask(server, "/info")
    with FileServer(tmp_path, port=urlsplit(url).port or 0) as again:
        assert urlsplit(again.url).netloc == urlsplit(url).netloc


@pytest.mark.parametrize(
    ("header", "size", "span"),
    [
        (None, 10, ByteRange(0, 10)),
        ("bytes=0-", 0, None),
        ("bytes=-5", 3, ByteRange(0, 3)),
        (" bytes=1-1 ", 3, ByteRange(1, 2)),
        ("bytes=3-", 3, None),
    ],
)
def test_parse_range(header: str | None, size: int, span: ByteRange | None) -> None:
    """Edges of small and empty files."""
    assert parse_range(header, size) == span
