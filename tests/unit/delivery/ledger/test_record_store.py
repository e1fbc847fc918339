"""Receipts and failure records: what stays, what replaces what, and what a listing costs."""

import json
from pathlib import Path
from typing import Any

import pytest

from delivery.ledger import failures, quarantine
from delivery.ledger.failures import Failure
from delivery.ledger.run import Run
from delivery.messages import Hop, ShardMessage
from runtime.errors import ShardliftError
from runtime.storage import open_storage
from tests.support.gcs_server import GcsServer
from tests.support.ledgers import at, fail, made_run, receipt

# fmt: off
PROMISED = {
    "key", "kind", "tier", "tiers_tried", "attempt", "redo", "inputs", "chunks", "bytes_in",
    "bytes_out", "seconds", "peak_bytes", "estimated_bytes", "labels", "reads", "worker",
    "version", "started", "finished", "crc32c",
}
# fmt: on


@pytest.fixture(params=["local", "gcs"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """A run in a directory, which keeps no metadata, and in a bucket, which does."""
    if request.param == "local":
        return made_run(tmp_path)
    return made_run(f"gs://{request.getfixturevalue('bucket')}/volume.runs")


def test_a_receipt_is_read_as_written(run: Run) -> None:
    """Every field comes back, and the listing yields the summary's."""
    hop = Hop(tier="2gi", reason="too big", at=at(1), worker="w0", attempt=3)
    written = receipt(
        "s1/0a", inputs={"s0/00": "crc=", "s0/01": "empty"}, history=(hop,), phases={"read": 1.5},
        tiers_tried=("2gi", "4gi"), peak_bytes=7, labels=3, redo=2, cpu_s=0.5,
    )  # fmt: skip
    assert run.receipts.put(written)
    assert run.receipts.get("s1/0a") == written
    listed = run.receipts.list()["s1/0a"]
    assert listed.model_dump() == {
        name: getattr(written, name) for name in type(listed).model_fields
    }
    assert run.storage.exists("receipts/s1/0a.json")


def test_what_a_receipt_holds_at_least(run: Run) -> None:
    """Outside checks read these names from the file."""
    run.receipts.put(receipt("s0/0a", peak_bytes=1, estimated_bytes=1))
    fields = json.loads(run.storage.read("receipts/s0/0a.json"))
    assert fields.keys() >= PROMISED


def test_an_empty_shard_has_a_receipt(run: Run) -> None:
    """Zeros have no file and no checksum, but a receipt that says so."""
    run.receipts.put(receipt("s0/0a", None))
    assert json.loads(run.storage.read("receipts/s0/0a.json"))["empty"] is True
    assert run.receipts.list()["s0/0a"].content == "empty"


@pytest.mark.parametrize("wrong", [{"empty": True}, {"crc32c": None, "empty": False}])
def test_a_receipt_without_a_checksum_is_none(wrong: dict[str, Any]) -> None:
    """A receipt claims a file with a checksum, or no file; nothing between."""
    with pytest.raises(ValueError, match="crc32c must be given"):
        receipt("s0/0a", **wrong)


def test_a_duplicate_changes_nothing(run: Run) -> None:
    """A second worker that made the same bytes leaves the first one's receipt."""
    first = receipt("s0/0a", worker="first")
    assert run.receipts.put(first)
    assert not run.receipts.put(receipt("s0/0a", worker="second", finished=at(99)))
    assert run.receipts.get("s0/0a") == first


def test_a_redo_replaces_and_is_never_replaced(run: Run) -> None:
    """A higher redo wins, whichever is written last."""
    run.receipts.put(receipt("s0/0a"))
    again = receipt("s0/0a", "crc-b=", redo=2)
    assert run.receipts.put(again)
    assert not run.receipts.put(receipt("s0/0a", "crc-c=", redo=1, finished=at(99)))
    assert run.receipts.get("s0/0a") == again
    assert run.receipts.list()["s0/0a"].redo == 2


def test_a_remake_from_other_inputs_replaces(run: Run) -> None:
    """The same redo from changed inputs, or with other bytes, is news."""
    run.receipts.put(receipt("s1/0a", inputs={"s0/00": "crc-a="}))
    remade = receipt("s1/0a", inputs={"s0/00": "crc-b="})
    assert run.receipts.put(remade)
    assert run.receipts.get("s1/0a") == remade
    assert run.receipts.put(remade.model_copy(update={"crc32c": "crc-z="}))


def test_a_listing_sees_what_changed(run: Run) -> None:
    """A second listing by the same process shows what came, changed and went."""
    for key in ("s0/00", "s0/01", "s1/00"):
        run.receipts.put(receipt(key))
    assert set(run.receipts.list()) == {"s0/00", "s0/01", "s1/00"}
    run.storage.delete("receipts/s0/00.json")
    run.receipts.put(receipt("s0/01", "crc-longer=", redo=1))
    run.receipts.put(receipt("s0/02"))
    found = run.receipts.list()
    assert set(found) == {"s0/01", "s0/02", "s1/00"}
    assert found["s0/01"].crc32c == "crc-longer="


def test_a_listing_of_a_bucket_reads_no_receipt(gcs: GcsServer, bucket: str) -> None:
    """Where metadata are kept, status costs one listing, not a read per shard."""
    run = made_run(f"gs://{bucket}/volume.runs")
    for number in range(5):
        run.receipts.put(receipt(f"s0/{number:02x}"))
    before = len(gcs.seen)
    assert len(Run(run.uri).receipts.list()) == 5
    assert len(gcs.seen) - before == 1


def test_a_summary_too_long_for_metadata_is_read(run: Run) -> None:
    """A shard with hundreds of inputs is listed all the same."""
    many = receipt("s1/0a", inputs={f"s0/{number:06x}": "AAAAAA==" for number in range(900)})
    run.receipts.put(many)
    assert Run(run.uri).receipts.list()["s1/0a"].inputs == many.inputs


def test_a_damaged_receipt_says_which(run: Run) -> None:
    """Damage is one line with the file and what to do."""
    run.storage.write("receipts/s0/0a.json", b"{")
    with pytest.raises(ShardliftError, match=r"receipts/s0/0a\.json is damaged") as caught:
        run.receipts.list()
    assert caught.value.hint is not None
    assert "delete it" in caught.value.hint


LETTER = ShardMessage(run="/r", key="s0/0a", kind="convert", redo=1)


def test_a_letter_becomes_a_record(run: Run) -> None:
    """Reason, tiers tried and attempts come from the letter's history."""
    letter = LETTER
    for tier, attempt, seconds in (("2gi", 3, 1), ("4gi", 1, 2), ("2gi", 1, 3)):
        hop = Hop(tier=tier, reason="too big", at=at(seconds), worker="w9", attempt=attempt)
        letter = letter.after(hop)
    record = failures.from_letter(letter, "é" * 1000)
    assert (record.tier, record.tiers_tried, record.attempts) == ("2gi", ("2gi", "4gi"), 5)
    assert (record.redo, record.at, record.worker) == (1, at(3), "w9")
    assert run.failures.put(record)
    assert run.failures.get("s0/0a") == record
    listed = run.failures.list()["s0/0a"]
    assert len(listed.reason) == failures.SUMMARY_CHARS
    assert run.storage.exists("failed/s0/0a.json")


def test_a_newer_failure_replaces_an_older_one(run: Run) -> None:
    """By redo, then by time; a late duplicate of an old letter changes nothing."""
    fail(run, "s0/0a", at=at(10))
    assert not run.failures.put(_failure(at=at(5)))
    assert run.failures.put(_failure(at=at(20)))
    assert run.failures.put(_failure(at=at(1), redo=1))
    assert not run.failures.put(_failure(at=at(99), redo=0))
    found = run.failures.get("s0/0a")
    assert found is not None
    assert (found.redo, found.at) == (1, at(1))


def test_a_dropped_shard_stays_dropped(run: Run) -> None:
    """A stray letter does not revive what was given up; asking for it again does."""
    assert run.failures.drop("s0/0a") is None
    fail(run, "s0/0a")
    dropped = run.failures.drop("s0/0a")
    assert dropped is not None
    assert dropped.dropped
    assert not run.failures.put(_failure(at=at(99)))
    assert run.failures.list()["s0/0a"].dropped
    assert run.failures.put(_failure(at=at(99), redo=1))
    assert not run.failures.list()["s0/0a"].dropped


def test_exactly_the_record_that_was_read_is_removed(run: Run) -> None:
    """A failure that came meanwhile survives the removal of the one before it."""
    read = fail(run, "s0/0a", at=at(10))
    fail(run, "s0/0a", at=at(20))
    assert not run.failures.remove(read)
    present = run.failures.get("s0/0a")
    assert present is not None
    assert run.failures.remove(present)
    assert run.failures.list() == {}
    assert not run.failures.remove(present)


@pytest.mark.parametrize("data", [b"", b"\xff\x00 no json", "ünï".encode()])
def test_unreadable_bytes_are_kept(tmp_path: Path, data: bytes) -> None:
    """Broken bytes lie beside the runs under their own hash, once."""
    state = open_storage(str(tmp_path))
    path = quarantine.store(state, data, "no JSON (…)")
    assert quarantine.store(state, data, "again") == path
    assert path.startswith("unreadable/")
    assert path.endswith(".json")
    assert state.read(path) == data
    assert len(list(state.list())) == 1


def _failure(**fields: object) -> Failure:
    given = {"key": "s0/0a", "kind": "convert", "reason": "newer", "at": at(0)}
    return Failure.model_validate(given | fields)
