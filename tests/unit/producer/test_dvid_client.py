"""Client of a DVID server, against one that answers as DVID's interface is documented."""

from collections.abc import Iterator

import numpy as np
import pytest

from producer import dvid_client
from producer.dvid_client import DvidInstance
from runtime.errors import ShardliftError, UnreachableError, UsageError
from tests.support.dvid_server import DvidServer, Fault

POINTS = [(1, 2, 3), (4, 3, 2), (0, 0, 0)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between attempts; go to no proxy."""
    monkeypatch.setattr(dvid_client, "_FIRST_WAIT_S", 0.0)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[DvidServer]:
    """A server of 5x4x4 voxels, each with a value of its own, and of a coarser scale."""
    labels = np.arange(80, dtype=np.uint64).reshape(4, 4, 5) + np.uint64(1 << 63)
    with DvidServer({0: labels, 1: labels[:2, :2, :3]}, {0: labels + np.uint64(100)}) as running:
        yield running


@pytest.fixture
def instance(server: DvidServer) -> DvidInstance:
    """The server's instance."""
    return DvidInstance(server.url, server.uuid, server.instance)


def refusal(instance: DvidInstance) -> ShardliftError:
    """The error of a request for labels."""
    with pytest.raises(ShardliftError) as raised:
        instance.labels(POINTS, 0, supervoxels=False)
    return raised.value


def test_labels(server: DvidServer, instance: DvidInstance) -> None:
    """Each point's label, in order, whole up to 64 bits; supervoxels and scales are asked for."""
    labels, base = instance.labels(POINTS, 0, supervoxels=False), 1 << 63
    assert labels == [base + 3 * 20 + 2 * 5 + 1, base + 2 * 20 + 3 * 5 + 4, base]
    assert instance.labels(POINTS, 0, supervoxels=True) == [label + 100 for label in labels]
    assert instance.labels([(1, 1, 1), (9, 9, 9)], 1, supervoxels=False) == [base + 26, 0]
    assert server.points[:3] == POINTS
    assert instance.labels([], 0, supervoxels=False) == []


def test_no_request_is_large(server: DvidServer, instance: DvidInstance) -> None:
    """At most a thousand points travel at once."""
    points = [(i % 5, i % 4, i // 3 % 4) for i in range(2500)]
    found = instance.labels(points, 0, supervoxels=False)
    assert found == [int(server.labels[0][z, y, x]) for x, y, z in points]
    assert len(server.requests) == 3


@pytest.mark.parametrize("form", ["{url}", "{url}/", "{url}/api", "{url}/api/", "{host}"])
def test_forms_of_an_address(server: DvidServer, form: str) -> None:
    """A server's address may end in /api, and may lack its scheme."""
    url = form.format(url=server.url, host=server.url.removeprefix("http://"))
    DvidInstance(url, server.uuid[:4], server.instance).check([0, 1])


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "http://", "http://host:no", "file:///etc", "a b"]
)
def test_what_is_not_an_address(url: str) -> None:
    """Refused before anything is sent."""
    with pytest.raises(UsageError, match="not the address"):
        DvidInstance(url, "3f", "segmentation")


@pytest.mark.parametrize(
    ("uuid", "name", "words"),
    [("9999", "segmentation", "no version with UUID"), ("3fa22", "greyscale", "no data instance")],
)
def test_unknown_version_or_instance(server: DvidServer, uuid: str, name: str, words: str) -> None:
    """Wrong use, in the server's own words, of which nothing reaches the terminal unescaped."""
    with pytest.raises(UsageError, match=words) as raised:
        DvidInstance(server.url, uuid, name).check([0])
    assert str(raised.value).isprintable()
    assert "--uuid" in str(raised.value.hint)


def test_an_instance_without_labels(server: DvidServer, instance: DvidInstance) -> None:
    """An instance of another type is named as what it is."""
    server.typename = "uint8blk"
    with pytest.raises(UsageError, match="is a uint8blk, not a labelmap"):
        instance.check([0])


def test_a_scale_that_it_lacks(instance: DvidInstance) -> None:
    """Told before any point is asked for."""
    with pytest.raises(UsageError, match="no scale 2"):
        instance.check([0, 2])


@pytest.mark.parametrize("fault", [503, 500, 429, "reset", "short", "cut", "page", "text"])
def test_trouble_is_retried(server: DvidServer, instance: DvidInstance, fault: Fault) -> None:
    """Twice the server fails, or answers with less than it should; the third answer is right."""
    server.fail(fault, 2)
    assert len(instance.labels(POINTS, 0, supervoxels=False)) == len(POINTS)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (503, "failed (503): a fault, as ordered"),
        ("reset", "cannot be reached"),
        ("short", "answered with 2 labels for 3 points"),
        ("cut", "answered without labels"),
        ("page", "answered without labels: <html>\\x1b[31m sign in </html>"),
        ("text", "answered without labels"),
    ],
)
def test_lasting_trouble(
    server: DvidServer, instance: DvidInstance, fault: Fault, said: str
) -> None:
    """Unreachable, with what was seen; no wrong label is taken for an answer."""
    server.fail(fault, 3)
    error = refusal(instance)
    assert isinstance(error, UnreachableError)
    assert said in str(error)
    assert server.url in str(error)


def test_a_slow_server(
    server: DvidServer, instance: DvidInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has an end; the next one may be answered."""
    monkeypatch.setattr(dvid_client, "_LABELS_TIMEOUT_S", 0.3)
    server.fail("slow", 3)
    assert "timed out" in str(refusal(instance))
    assert len(instance.labels(POINTS, 0, supervoxels=False)) == len(POINTS)


@pytest.mark.parametrize(("fault", "hint"), [(401, "the right to read"), ("moved", "moved to")])
def test_refusals(server: DvidServer, instance: DvidInstance, fault: Fault, hint: str) -> None:
    """A server that wants to know who asks, or is elsewhere, is not asked again."""
    server.fail(fault)
    error = refusal(instance)
    assert isinstance(error, UsageError)
    assert hint in str(error.hint)
    assert len(server.requests) == 1


def test_nobody_there(server: DvidServer) -> None:
    """No server at the address: unreachable."""
    with pytest.raises(UnreachableError, match="cannot be reached"):
        DvidInstance("http://127.0.0.1:1", server.uuid, server.instance).check([0])
