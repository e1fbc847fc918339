"""What a message cannot do: a worker believes the ledger, below the roots it was given."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery.broker.base import DEAD, Backlog
from delivery.ledger.run import Run
from delivery.messages import NewerSchema, ShardMessage
from runtime import settings
from runtime.errors import UnreachableError
from tests.support.three_shard_run import LARGE, SMALL, three_shard_run, write_receipt
from tests.support.worker_harness import WorkerHarness, done, worker_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    """A run of two shards and their dependent, nothing published."""
    with worker_harness(tmp_path) as harness:
        yield harness


def put(harness: WorkerHarness, message: object, attributes: object = None) -> bytes:
    """Insert a message as another program might; its bytes."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    with sqlite3.connect(harness.folder / "queue.db") as db:
        db.execute(
            "INSERT INTO message (tier, later, data, attributes, published) VALUES (?, ?, ?, ?, 0)",
            (SMALL, LARGE, data, json.dumps(attributes or {})),
        )
    db.close()
    return data


def fields(of: Run, **others: object) -> dict[str, Any]:
    """A message about the run's first shard."""
    return {"schema": 1, "run": of.uri, "key": "s0/0", "kind": "convert"} | others


def kept(run: Run) -> list[bytes]:
    """The bytes of all quarantined messages."""
    return [run.state.read(info.path) for info in run.state.list("unreadable/")]


def empty(harness: WorkerHarness) -> bool:
    """Whether no message is left on any tier, nor among the dead letters."""
    return all(harness.broker.backlog(t) == Backlog(0, 0) for t in (SMALL, LARGE, DEAD))


def test_fields_that_differ_from_the_plan_are_passed_over(harness: WorkerHarness) -> None:
    """Kind, files, settings: all are the ledger's; fields that nobody knows are nothing."""
    harness.script(s0_0=[done()])
    others = {
        "kind": "downsample",
        "sources": [],
        "dest": "/elsewhere",
        "source": "/elsewhere",
        "tier": LARGE,
        "attempt": 5,
        "lease": "1/x",
        "inputs": {"s0/1": "empty"},
        "gzip_level": 0,
    }
    put(harness, fields(harness.run, **others), {"run": "/elsewhere/r", "kind": "downsample"})
    harness.deliver()
    (task,) = harness.tasks()
    assert (task["kind"], task["sources"], task["dest"], task["source"], task["gzip_level"]) == (
        "convert",
        ["a"],
        harness.run.info.dest,
        harness.run.info.source,
        6,
    )
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert (receipt.kind, receipt.tier, receipt.attempt) == ("convert", SMALL, 1)


def test_a_message_of_an_old_run_makes_what_the_plan_has_now(harness: WorkerHarness) -> None:
    """A run id that is used again: another shard of the same key, or none."""
    harness.script(s0_0=[done()])
    put(harness, fields(harness.run, sources=["of/the/old/run"], redo=3))
    put(harness, fields(harness.run, key="s0/7", sources=["of/the/old/run"]))
    harness.deliver()
    harness.deliver()
    assert [task["sources"] for task in harness.tasks()] == [["a"]]
    (letter,) = harness.waiting(DEAD)
    assert (letter.key, letter.reason) == ("s0/7", "the plan of its run has no such shard")


def test_a_message_cannot_raise_a_redo(harness: WorkerHarness) -> None:
    """The receipt answers what the ledger asks for, so that a later request counts."""
    harness.script(s0_0=[done()])
    put(harness, fields(harness.run, redo=10))
    harness.deliver()
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert receipt.redo == 0
    put(harness, fields(harness.run, redo=11))
    harness.deliver()
    assert len(harness.tasks()) == 1
    harness.run.raise_redo(["s0/0"])
    put(harness, fields(harness.run, redo=0))
    put(harness, fields(harness.run, redo=1))
    harness.deliver()
    harness.deliver()
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert (receipt.redo, len(harness.tasks())) == (1, 2)


def test_a_run_below_no_root_is_not_followed(harness: WorkerHarness, tmp_path: Path) -> None:
    """Its ledger may be perfect: nothing is read there, and nothing written."""
    foreign = three_shard_run(tmp_path / "foreign", "evil", queue=harness.run.info.queue)
    before = sorted((tmp_path / "foreign").rglob("*"))
    link = tmp_path / "link"
    link.symlink_to(foreign.state_url)
    uris = [
        foreign.uri,
        f"file://{foreign.uri}",
        f"{harness.run.state_url}/../foreign/dest.runs/evil",
        f"{link}/evil",
        "gs://bucket-of-others/runs/evil",
    ]
    sent = [put(harness, fields(foreign, run=uri), {"run": uri}) for uri in uris]
    for _ in sent:
        harness.deliver()
    assert sorted(kept(harness.run)) == sorted(sent)
    assert empty(harness)
    assert harness.tasks() == []
    assert sorted((tmp_path / "foreign").rglob("*")) == before


@pytest.mark.parametrize(
    "run",
    [
        "kafka://x/y",
        "gs://UPPER/runs/r1",
        "gs://",
        "gs://b",
        "/",
        "//",
        "/dev/null/r1",
        "/proc/self/fd/0",
        "/" + "x" * 300 + "/r1",
        "/x" * 500,
        "/a\0b",
        "relative",
        "",
        7,
        None,
        ["/x"],
    ],
)
def test_a_message_that_leads_to_no_run_is_put_aside(harness: WorkerHarness, run: object) -> None:
    """The next one is worked on, and the folder that attributes name gets nothing."""
    harness.script(s0_0=[done()])
    elsewhere = harness.folder / "elsewhere"
    data = put(harness, fields(harness.run, run=run), {"run": f"{elsewhere}/r1"})
    harness.publish()
    harness.deliver()
    harness.deliver()
    assert kept(harness.run) == [data]
    assert harness.run.receipts.get("s0/0") is not None
    assert empty(harness)
    assert not elsewhere.exists()


def test_roots_that_the_queue_names_are_served(harness: WorkerHarness, tmp_path: Path) -> None:
    """A worker without any of its own serves the runs that were enqueued there."""
    other = three_shard_run(tmp_path / "other", "r2", queue=harness.run.info.queue)
    harness.roots = ()
    harness.script(s0_0=[done()])
    harness.broker.add_state_root(other.state_url)
    put(harness, fields(other))
    harness.deliver()
    assert other.receipts.get("s0/0") is not None


def test_without_any_root_a_message_waits_among_the_dead_letters(harness: WorkerHarness) -> None:
    """At once, not after many rounds; the letter says why, bytes go as they are."""
    harness.roots = ()
    put(harness, fields(harness.run))
    put(harness, b"\xffrubbish")
    assert harness.deliver().attempt == 1
    assert harness.deliver().attempt == 1
    letter = harness.broker.lease(DEAD)
    assert letter is not None
    assert "not below a state root" in letter.data.decode()
    raw = harness.broker.lease(DEAD)
    assert raw is not None
    assert raw.data == b"\xffrubbish"
    assert harness.broker.backlog(SMALL) == Backlog(0, 0)


def test_a_newer_schema_counts_only_for_a_run_served_here(harness: WorkerHarness) -> None:
    """Else anyone could end all workers with it; without a run it may be ours."""
    data = put(harness, {"schema": 2, "run": "/elsewhere/r1"})
    harness.deliver()
    assert kept(harness.run) == [data]
    for newer in ({"schema": 2, "run": harness.run.uri}, {"schema": 2, "job": "?"}):
        put(harness, newer)
        with pytest.raises(NewerSchema):
            harness.deliver()
        delivery = harness.broker.lease(SMALL)
        assert delivery is not None
        harness.broker.ack(delivery)


def test_a_run_that_cannot_be_reached_now_is_handed_back(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no fault of the message."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv(
            settings.STORAGE_EMULATOR_HOST, f"http://127.0.0.1:{closed.getsockname()[1]}"
        )
        monkeypatch.setenv(settings.STORAGE_RETRY_S, "0")
        harness.roots = ("gs://bucket-away/runs",)
        put(harness, fields(harness.run, run="gs://bucket-away/runs/r1"))
        with pytest.raises(UnreachableError):
            harness.deliver()
    again = harness.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1


def test_a_forged_history_changes_no_attempt_and_no_tier(harness: WorkerHarness) -> None:
    """It is told, and nothing follows from it."""
    harness.script(s0_0=[done()])
    hop = {"tier": "999gi", "reason": "forged", "at": "2999-01-01T00:00:00Z", "attempt": 5}
    put(harness, fields(harness.run, history=[hop] * 9, reason="forged"))
    assert harness.deliver().attempt == 1
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert (receipt.tier, receipt.attempt) == (SMALL, 1)
    write_receipt(harness.run, "s0/1")
    assert ShardMessage.model_validate(fields(harness.run, history=[hop])).history[0].attempt == 5
