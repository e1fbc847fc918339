"""Compatibility: what version 0.1.0 wrote to storage and queues is read by today's code.

`tests/data/ledger-0.1.0` was written by that version; `plan.arrow` is kept there as base64.
"""

import base64
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger import quarantine
from delivery.ledger.failures import FailureSummary
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import ShardState, read_shard_status, read_status
from delivery.messages import Hop, decode
from runtime.storage import open_storage

STORED = Path(__file__).parents[3] / "data/ledger-0.1.0"
URI = "gs://bucket/volume.runs/20240506-070809-abcd"
LATER = ("worker", "skipped_outside", "tiers_tried")  # version 0.1.0 kept these out of summaries


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state root as the old version left it."""
    state = tmp_path / "volume.runs"
    shutil.copytree(STORED, state, ignore=shutil.ignore_patterns("messages", "metadata.json"))
    for encoded in state.glob("*/plan.arrow.base64"):
        encoded.with_suffix("").write_bytes(base64.b64decode(encoded.read_bytes()))
        encoded.unlink()
    return state


@pytest.fixture
def run(state: Path) -> Run:
    """The run in it."""
    (run,) = list_runs(str(state))
    return run


def test_the_run_and_its_plan(run: Run) -> None:
    """Settings, volume and rows."""
    info = run.info
    assert (info.source, info.dest) == ("gs://bucket/export", "gs://bucket/volume")
    assert (info.scales, info.downres) == ((0,), (1, 2))
    assert (info.rule, info.label_type) == ("mode", "labels")
    assert (info.queue, info.tiers) == ("pubsub://project/shardlift", ("512mi", "1gi", "2gi"))
    assert (info.version, info.fingerprint) == ("0.1.0", "bfc83bcfb9c1fb14")
    assert len(VolumeSpec.parse(info.volume, info.dest).scales) == 3
    assert run.plan.scales == (0, 1, 2)
    rows = {row.key: row for row in run.plan.rows()}
    assert rows["s1/0"].inputs == ("s0/0", "s0/1", "s0/2")
    first = rows["s0/0"]
    assert (first.tier, first.bytes_in, first.sources) == ("512mi", 453960, ("s0/0_0_0.arrow",))


def test_receipts(run: Run) -> None:
    """Renamed fields are read by their old names."""
    receipt = run.receipts.get("s0/0")
    assert receipt is not None
    assert (receipt.code_path, receipt.crc32c, receipt.chunks) == ("palette", "ZQlHMg==", 64)
    assert receipt.phases.keys() == {"index", "read", "decompress", "transcode", "gzip", "wall"}
    dependent = run.receipts.get("s1/0")
    assert dependent is not None
    assert dependent.inputs == {"s0/0": "ZQlHMg==", "s0/1": "y/p7fw==", "s0/2": "O3sIcA=="}
    assert (dependent.tier, dependent.tiers_tried) == ("4gi", ("2gi", "4gi"))
    assert (dependent.history[0].worker, dependent.history[0].attempt) == ("worker-0", 2)
    empty = run.receipts.summary("s0/1")
    assert empty is not None
    assert (empty.empty, empty.content) == (True, "empty")


def test_a_failure_record(run: Run) -> None:
    """Reason and history."""
    failure = run.failures.get("s0/2")
    assert failure is not None
    assert failure.reason == "s0/0_0_0.arrow: row 7, chunk 3,4,5: bad zstd frame"
    assert (failure.tier, failure.redo, failure.worker) == ("4gi", 1, "worker-2")


def test_summaries_in_metadata(run: Run) -> None:
    """What a bucket keeps beside objects is what they hold, but for what reports show."""
    metadata: dict[str, dict[str, str]] = json.loads((STORED / "metadata.json").read_text())
    receipts, failures = run.receipts.list(), run.failures.list()
    for path, fields in metadata.items():
        key = path.partition("/")[2].removesuffix(".json")
        if path.startswith("receipts/"):
            listed = ReceiptSummary.model_validate_json(fields["summary"])
            assert listed.worker is None
            later = {name: getattr(receipts[key], name) for name in LATER}
            assert listed.model_copy(update=later) == receipts[key]
        else:
            assert FailureSummary.model_validate_json(fields["summary"]) == failures[key]


def test_publish_markers(run: Run) -> None:
    """The inputs digest was called `occasion`."""
    found = {key: (m.tier, m.inputs_digest) for key, m in run.publish_markers().items()}
    assert found == {"s1/0": ("2gi", "0123456789abcdef"), "s2/0": ("4gi", "fedcba9876543210")}


def test_heartbeat_redo_and_cancellation(run: Run) -> None:
    """The other objects of the run."""
    (heartbeat,) = run.heartbeats()
    assert (heartbeat.worker, heartbeat.key, heartbeat.chunks) == ("worker-1", "s0/2", 12)
    assert heartbeat.since == datetime(2024, 5, 6, 7, 9, tzinfo=UTC)
    assert run.redo() == {"s0/2": 2, "s2/0": 1}
    cancellation = run.cancelled()
    assert cancellation is not None
    assert cancellation.why == "run 20240506-080000-beef overwrites it"


def test_states_and_digests(run: Run) -> None:
    """The old version derived these from the same objects."""
    status = read_status(run)
    assert status.states == {
        "s0/0": ShardState.DONE, "s0/1": ShardState.DONE, "s0/2": ShardState.READY,
        "s1/0": ShardState.WAITING, "s2/0": ShardState.WAITING,
    }  # fmt: skip
    assert status.inputs_digest(run.plan.row("s1/0")) == "203f0959fd756e70"
    assert read_shard_status(run, "s1/0").state is ShardState.WAITING


def test_quarantined_bytes(state: Path) -> None:
    """The same bytes lie at the same path today."""
    (stored,) = (state / "unreadable").iterdir()
    path = quarantine.store(open_storage(str(state)), stored.read_bytes(), "again")
    assert (state / path) == stored


@pytest.mark.parametrize("name", ["convert", "downsample", "dead-letter"])
def test_messages(name: str) -> None:
    """A message is decoded, and encoded today to the same bytes."""
    data = (STORED / f"messages/{name}.json").read_bytes()
    message = decode(data)
    assert message.run == URI
    assert message.encode() == data
    if name == "dead-letter":
        at = datetime(2024, 5, 6, 7, 9, tzinfo=UTC)
        hop = Hop(tier="4gi", reason="chunk 3,4,5: bad zstd", at=at, worker="worker-2")
        assert message.history == (hop,)
        assert message.reason == "s0/0_0_0.arrow: row 7, chunk 3,4,5: bad zstd frame"
