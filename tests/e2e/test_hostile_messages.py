"""Hostile messages against real workers, on both brokers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from delivery.broker.base import DEAD
from delivery.messages import ShardMessage
from tests.support.emulator import make_topology, new_queue_url
from tests.support.run_harness import RunHarness, make_export, make_run_harness
from tests.support.waiting import wait_for
from tests.support.workspace import clean_environment

SIZE = (70, 60, 50)


@dataclass
class RawMessage:
    """Bytes and attributes that pass for a message, as a foreign publisher would send them."""

    data: bytes
    marks: dict[str, str] = field(default_factory=lambda: {"run": "/elsewhere/runs/r1"})

    def encode(self) -> bytes:
        """The bytes."""
        return self.data

    def attributes(self) -> dict[str, str]:
        """The attributes."""
        return self.marks


# `make test` has five minutes for everything; the emulator's turn comes with `make slow`.
@pytest.fixture(params=["sqlite", pytest.param("pubsub", marks=pytest.mark.slow)])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunHarness]:
    """A run of scale 0 on one of the brokers, nothing published."""
    if request.param == "pubsub":
        request.getfixturevalue("pubsub_emulator")
    files = make_export(tmp_path / "export", SIZE)
    harness = make_run_harness(tmp_path, request.param, files, SIZE)
    yield harness
    harness.close()


def foreign_run(harness: RunHarness) -> RunHarness:
    """A perfect run of the same queue, below a state root that nobody named."""
    folder = harness.folder / "foreign"
    folder.mkdir()
    files = sorted((harness.folder / "export" / "s0").glob("*.arrow"))
    return make_run_harness(folder, "sqlite", files, SIZE, info={"queue": harness.queue})


def publish_raw(harness: RunHarness, *messages: RawMessage) -> None:
    """Publish bytes to the first tier."""
    harness.broker.publish(harness.tiers[0], messages)  # type: ignore[arg-type]  # a foreign publisher


def hostile(run: str, foreign: str, key: str) -> list[bytes]:
    """Bodies that lead to no run that may be served."""
    good = {"schema": 1, "run": run, "key": key, "kind": "convert"}
    runs = [
        foreign,
        f"file://{foreign}",
        f"{run}/../../foreign/state/run",
        f"{run}\0",
        f"{run}\ud800",
        "kafka://x/y",
        "gs://UPPER/r/run",
        "gs://bucket-of-others/runs/run",
        "/" + "x" * 300 + "/run",
        "/x" * 500,
        "/" + "x" * 5_000,
        "/dev/null/run",
        7,
        None,
    ]
    bodies = [json.dumps(good | {"run": place}).encode() for place in runs]
    bodies += [json.dumps(good | {"key": odd}).encode() for odd in ("", "../x", "s0/XY", 0)]
    bodies += [json.dumps(good | {"kind": odd}).encode() for odd in ("paint", None)]
    bodies += [
        json.dumps(good | {"schema": 2, "run": foreign}).encode(),
        json.dumps(good)[:-1].encode() + b', "redo": 1' + b"0" * 5_000 + b"}",
        json.dumps(good)[:-1].encode() + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"x" * 9_000_000,
        b"",
    ]
    return bodies


def test_good_shards_are_made_among_hostile_messages(harness: RunHarness) -> None:
    """Each is put aside once; one worker makes every shard, and writes nowhere else."""
    foreign = foreign_run(harness)
    key = harness.converted[0]
    bodies = hostile(harness.run.uri, foreign.run.uri, key)
    publish_raw(harness, *map(RawMessage, bodies))
    harness.publish()
    before = sorted(foreign.folder.rglob("*"))
    worker = harness.start("work", "--tier", harness.tiers[0], "--run", harness.run.uri)
    for shard in harness.converted:
        harness.receipt(shard)
    # Each at once and only once: as many events as messages, and none of them is left.
    wait_for(
        lambda: len(harness.events(worker, "message_quarantined")) >= len(bodies),
        "all hostile messages",
    )
    assert worker.poll() is None
    worker.terminate()
    worker.wait(60)
    assert len(harness.events(worker, "message_quarantined")) == len(bodies)
    state = harness.run.state
    assert {state.read(info.path) for info in state.list("unreadable/")} == set(bodies)
    assert sum(harness.leftovers().values()) == 0
    assert sorted(foreign.folder.rglob("*")) == before
    foreign.close()


def test_a_message_for_a_shard_that_the_plan_lacks(harness: RunHarness) -> None:
    """It becomes a dead letter of its run, and the run ends as if there were none."""
    message = ShardMessage(run=harness.run.uri, key="s0/beef", kind="convert", redo=9)
    harness.broker.publish(harness.tiers[0], [message])
    harness.publish()
    worker = harness.work()
    assert worker.wait(120) == 0
    record = harness.run.failures.get("s0/beef")
    if record is None:  # the worker ended before its next look at the dead letters
        assert harness.leftovers()[DEAD] == 1
    else:
        assert (record.redo, record.reason) == (0, "the plan of its run has no such shard")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["work", "--tier", "512mi"], ["fleet"]])
def test_on_pubsub_a_worker_is_told_whose_runs_it_serves(
    tmp_path: Path, pubsub_emulator: str, command: list[str]
) -> None:
    """Queues there name no state root, so none given is a wrong use, and says what to do."""
    queue = new_queue_url()
    make_topology(queue, ["512mi"])
    done = subprocess.run(
        [sys.executable, "-m", "consumer", *command, "--queue", queue, "--tiers", "0.5"],
        cwd=tmp_path,
        env=clean_environment() | {"PUBSUB_EMULATOR_HOST": pubsub_emulator},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "error: which runs may be served?" in done.stderr
    assert "set STATE_PATH" in done.stderr
