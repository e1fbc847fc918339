"""HTTP file server for local volumes."""

import http.client
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from producer.file_server import ByteRange, FileServer, ServedRequest, parse_range
from tests.support.waiting import wait_for

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
        yield running


def ask(
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
def test_any_page_may_read(server: FileServer, path: str) -> None:
    """Found or not, an answer may be read from another origin: else the viewer shows nothing."""
    _, headers, _ = ask(server, path, Origin="http://127.0.0.1:1")
    assert headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in headers["access-control-expose-headers"]


def test_preflight(server: FileServer) -> None:
    """A browser may ask for ranges."""
    status, headers, _ = ask(server, "/info", "OPTIONS", Origin="http://127.0.0.1:1")
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


def test_many_at_once_on_one_connection_each(server: FileServer) -> None:
    """A viewer keeps its connections and asks often; a slow one holds up no other."""
    netloc = urlsplit(server.url).netloc
    idle = [http.client.HTTPConnection(netloc, timeout=10) for _ in range(6)]
    for connection in idle:
        connection.connect()
    for connection in idle * 3:
        connection.request("GET", "/8x8x8/0.shard", headers={"Range": "bytes=7-9"})
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
        assert again.url == url


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
