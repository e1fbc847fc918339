"""State roots: which runs a message can lead to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.state_roots import StateRoots, can_be_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A state root with a run; beside it one that nobody named."""
    (tmp_path / "state" / "r1").mkdir(parents=True)
    (tmp_path / "foreign" / "r1").mkdir(parents=True)
    return tmp_path / "state"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker on empty queues."""
    with open_broker(f"sqlite:{tmp_path}/queue.db", ("2gi",), 60) as broker:
        yield broker


def test_a_run_is_directly_below_a_root(root: Path, broker: Broker) -> None:
    """The folder need not exist: a run that is gone is another matter."""
    roots = StateRoots(broker, [str(root)])
    assert roots.hold(f"{root}/r1")
    assert roots.hold(f"{root}/gone")
    for foreign in (f"{root}", f"{root}/r1/deeper", f"{root.parent}/foreign/r1", "/r1", "/"):
        assert not roots.hold(foreign)


@pytest.mark.parametrize(
    "spelling",
    ["{0}/r1/", "{0}/./r1", "{0}//r1", "/{0}/r1", "{0}/x/../r1", "file://{0}/r1", "{0}/../link/r1"],
)
def test_other_spellings_of_a_place_are_that_place(
    root: Path, broker: Broker, spelling: str
) -> None:
    """One place has one name, as everywhere."""
    (root.parent / "link").symlink_to(root)
    uri = spelling.format(root)
    assert StateRoots(broker, [str(root)]).hold(uri)
    assert StateRoots(broker, [f"{root.parent}/link/"]).hold(uri)


@pytest.mark.parametrize(
    "spelling",
    [
        "{0}/../foreign/r1",
        "{0}/r1/../../foreign/r1",
        "file://{0}/../foreign/r1",
        "{0}/%2e%2e/foreign/r1",
        "{0}/..%2fforeign/r1",
        "{0}/unreadable",
        "{0}/r1\n",
        "{0}/r1 ",
        "{0}/.r1",
        "{0}/-r1",
        "{0}/r*",
        "{0}/" + "r" * 101,
        "{0}/" + "r" * 300,
        "{0}\\r1",
    ],
)
def test_no_spelling_gets_around_a_root(root: Path, broker: Broker, spelling: str) -> None:
    """Dots, percents and odd names lead elsewhere, or nowhere."""
    assert not StateRoots(broker, [str(root)]).hold(spelling.format(root))


def test_links_lead_where_they_point(root: Path, broker: Broker) -> None:
    """One beside the root leads elsewhere; one in it is its owner's wish."""
    foreign = root.parent / "foreign"
    (root.parent / "r2").symlink_to(foreign / "r1")
    roots = StateRoots(broker, [str(root)])
    assert not roots.hold(f"{root}/../r2")
    assert not roots.hold(f"{foreign}/r1")
    (foreign / "r1").rename(foreign / "moved")
    (root / "moved").symlink_to(foreign / "moved")
    assert roots.hold(f"{root}/moved")
    assert roots.hold(f"{foreign}/moved")


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/runs/r1/x",
        "gs://bucket/runs//r1",
        "gs://bucket//runs/r1",
        "gs://bucket/runs/../runs/r1",
        "gs://bucket/runs/./r1",
        "gs://bucket/runs%2Fr1",
        "gs://BUCKET/runs/r1",
        "gs://bucket./runs/r1",
        "gs://bucket:80/runs/r1",
        "gs://user@bucket/runs/r1",
        "GS://bucket/runs/r1",
        "gs:///runs/r1",
        "gs://other/runs/r1",
        "https://storage.googleapis.com/bucket/runs/r1",
        "/bucket/runs/r1",
    ],
)
def test_a_place_in_a_bucket_is_spelled_in_one_way(broker: Broker, uri: str) -> None:
    """Object names are compared character by character, as the storage does it."""
    roots = StateRoots(broker, ["gs://bucket/runs/"])
    assert roots.hold("gs://bucket/runs/r1")
    assert roots.hold("gs://bucket/runs/r1/")
    assert not roots.hold(uri)


def test_the_queue_names_roots_too(root: Path, broker: Broker) -> None:
    """As soon as `enqueue` adds one; a text that is not a place does no harm."""
    roots = StateRoots(broker)
    assert roots.first is None
    assert not roots.hold(f"{root}/r1")
    broker.add_state_root("kafka://nowhere")
    broker.add_state_root(str(root))
    broker.add_state_root(str(root))
    assert roots.hold(f"{root}/r1")
    assert roots.urls == (str(root),)
    assert StateRoots(broker, [f"{root.parent}/foreign"]).urls[0] == f"{root.parent}/foreign"


@pytest.mark.parametrize(
    "uri", ["kafka://x/r1", "file://relative/r1", "gs://B/r1", "gs://b/r1", "/x/ y", "/x/\0", ""]
)
def test_what_no_run_can_have(uri: str) -> None:
    """An unknown scheme, a bad bucket, no name, a NUL."""
    assert not can_be_run(uri)
    assert can_be_run("gs://bucket/r1")
