"""The failure table, row by row: real queue and ledger, an executor that follows a script."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumer.worker.executor_client import ExecutorError
from delivery.broker import open_broker
from delivery.broker.base import DEAD, Delivery
from delivery.ledger.lost_leases import LostLeases
from delivery.ledger.overview import RunOverview
from delivery.ledger.run import Cancellation, Run
from delivery.ledger.trouble import read_trouble
from delivery.messages import NewerSchema, ShardMessage, decode
from memmodel.tiers import GIB, MIB
from runtime.errors import MachineError, UnreachableError, UsageError
from tests.support.three_shard_run import LARGE, SMALL, write_receipt
from tests.support.waiting import wait_for
from tests.support.worker_harness import WorkerHarness, done, failed, worker_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    """A run of two shards and their dependent, nothing published."""
    with worker_harness(tmp_path) as harness:
        yield harness


def test_done(harness: WorkerHarness) -> None:
    """The receipt has what the work measured, and the message is gone."""
    harness.script(s0_0=["wait", done(reads=4, labels=9, phases={"read": 0.5})])
    harness.publish()
    harness.deliver()
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert receipt.chunks == 3
    assert (receipt.tier, receipt.tiers_tried, receipt.attempt) == (SMALL, (SMALL,), 1)
    assert (receipt.estimated_bytes, receipt.peak_bytes, receipt.worker) == (7, 5, "me")
    assert (receipt.reads, receipt.labels, receipt.phases) == (4, 9, {"read": 0.5})
    assert harness.waiting(SMALL) == []


def test_the_task_says_what_plan_and_run_say(harness: WorkerHarness) -> None:
    """The executor gets source, destination, files and the limit of its tier."""
    harness.script(s0_1=[done()])
    harness.publish("s0/1")
    harness.deliver()
    (task,) = harness.tasks()
    assert task["source"] == harness.run.info.source
    assert task["dest"] == harness.run.info.dest
    assert (task["key"], task["shard"], task["scale"], task["sources"]) == ("s0/1", 1, 0, ["a"])
    assert task["tier_limit_bytes"] == 512 * MIB


def test_the_plan_decides_what_a_shard_is_made_from(harness: WorkerHarness) -> None:
    """A message of version 0.1.0 lists files; another list in it changes nothing."""
    harness.script(s0_1=[done()])
    message = ShardMessage(run=harness.run.uri, key="s0/1", kind="convert", sources=("other",))
    harness.broker.publish(SMALL, [message])
    harness.deliver()
    assert [task["sources"] for task in harness.tasks()] == [["a"]]


def test_bad_chunks_are_left_out_where_the_ledger_says_so(harness: WorkerHarness) -> None:
    """The receipt has the digest of what was read, and the chunks that are missing."""
    bad = {"chunk": [1, 2, 3], "file": "a.arrow", "row": 7, "reason": "damaged zstd frame"}
    harness.script(
        s0_0=[done(source_digest="d1", bad_chunk_count=1, bad_chunks=[bad])], s0_1=[done()]
    )
    harness.run.request_without_bad_chunks(["s0/0"])
    harness.publish("s0/0")
    harness.publish("s0/1")
    harness.deliver()
    harness.deliver()
    assert [task["bad_chunks"] for task in harness.tasks()] == ["skip", "fail"]
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert (receipt.source_digest, receipt.bad_chunk_count) == ("d1", 1)
    assert receipt.bad_chunks[0].text == "chunk (1, 2, 3) of a.arrow, row 7: damaged zstd frame"
    summary = harness.run.receipts.list()["s0/0"]
    assert (summary.source_digest, summary.bad_chunk_count) == ("d1", 1)


def test_the_last_input_publishes_the_dependent(harness: WorkerHarness) -> None:
    """No dependent waits for a whole scale: the cascade follows the receipt."""
    harness.script(s0_0=[done()], s0_1=[done()], s1_0=[done(inputs={"s0/0": "A", "s0/1": "B"})])
    for key in ("s0/0", "s0/1"):
        assert harness.run.receipts.get("s1/0") is None
        harness.publish(key)
        harness.deliver()
    (message,) = harness.waiting(LARGE) + harness.waiting(SMALL)
    assert (message.key, message.kind) == ("s1/0", "downsample")


def test_a_downsampled_shard_gets_its_inputs_checksums(harness: WorkerHarness) -> None:
    """The task has the receipts' checksums, and "empty" for an empty input."""
    write_receipt(harness.run, "s0/0", crc32c="AQAAAA==")
    write_receipt(harness.run, "s0/1", crc32c=None, empty=True)
    harness.script(s1_0=[done(inputs={"s0/0": "AQAAAA==", "s0/1": "empty"})])
    harness.publish("s1/0")
    harness.deliver()
    (task,) = harness.tasks()
    assert task["inputs"] == {"s0/0": "AQAAAA==", "s0/1": "empty"}
    receipt = harness.run.receipts.get("s1/0")
    assert receipt is not None
    assert receipt.inputs == {"s0/0": "AQAAAA==", "s0/1": "empty"}
    assert receipt.estimated_bytes is not None


def test_a_changed_input_gets_a_second_chance_only(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time it may be remade just now; the second time the shard is dead."""
    monkeypatch.setattr("consumer.worker.worker.INPUT_PAUSE_S", 0.0)
    for key in ("s0/0", "s0/1"):
        write_receipt(harness.run, key)
    harness.script(s1_0=[failed("changed", "s0/0: expected crc32c A, found B")])
    harness.publish("s1/0")
    harness.deliver()
    assert harness.waiting(DEAD) == []
    harness.deliver()
    (letter,) = harness.waiting(DEAD)
    assert letter.reason == "s0/0: expected crc32c A, found B"
    assert [hop.tier for hop in letter.history] == [SMALL, SMALL]


def test_a_shard_of_zeros_has_a_receipt_and_no_file(harness: WorkerHarness) -> None:
    """Empty is a result."""
    harness.script(s0_0=[done(chunks=0, empty=True, crc32c=None)])
    harness.publish()
    harness.deliver()
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert receipt.empty


def test_delivered_again_after_it_is_done(harness: WorkerHarness) -> None:
    """No work; the cascade runs again, since its first one may never have run."""
    write_receipt(harness.run, "s0/0")
    write_receipt(harness.run, "s0/1")
    harness.publish()
    harness.deliver()
    assert harness.tasks() == []
    assert [m.key for m in harness.waiting(LARGE) + harness.waiting(SMALL)] == ["s1/0"]


def test_a_higher_redo_is_worked_on_again(harness: WorkerHarness) -> None:
    """A receipt of a lower redo does not answer a higher one."""
    write_receipt(harness.run, "s0/0")
    harness.run.raise_redo(["s0/0"])
    harness.script(s0_0=[done(crc32c="BBBBBA==")])
    harness.publish(redo=1)
    harness.deliver()
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert (receipt.redo, receipt.crc32c) == (1, "BBBBBA==")


@pytest.mark.parametrize("end", [failed("memory", "MemoryError"), "die"])
def test_too_big_goes_to_the_next_tier(harness: WorkerHarness, end: object) -> None:
    """MemoryError, or an executor that was killed: the next tier, with the history."""
    harness.script(s0_0=[end])
    harness.publish()
    harness.deliver()
    assert harness.waiting(SMALL) == []
    (message,) = harness.waiting(LARGE)
    (hop,) = message.history
    assert (hop.tier, hop.worker, hop.attempt) == (SMALL, "me", 1)
    assert "of 512 MiB" in hop.reason
    assert message.reason is None


def test_a_receipt_lists_the_tiers_tried(harness: WorkerHarness) -> None:
    """The history has every hop."""
    harness.script(s0_0=[failed("memory")])
    harness.publish()
    harness.deliver()
    harness.worker.close()
    harness._worker, harness.tier, harness.limit_bytes = None, LARGE, GIB
    harness.script(s0_0=[done()])
    harness.deliver()
    receipt = harness.run.receipts.get("s0/0")
    assert receipt is not None
    assert receipt.tiers_tried == (SMALL, LARGE)
    assert receipt.history[0].tier == SMALL


def test_past_the_last_tier_it_is_dead_with_both_numbers(harness: WorkerHarness) -> None:
    """What was used, and the most there is."""
    harness.tier, harness.limit_bytes = LARGE, GIB
    harness.script(s0_0=[failed("memory")])
    harness.publish()
    harness.deliver()
    (letter,) = harness.waiting(DEAD)
    assert letter.reason is not None
    assert "used 300 MiB of 1024 MiB" in letter.reason
    assert "largest tier" in letter.reason


def test_beyond_this_machine_it_is_dead_with_both_numbers(harness: WorkerHarness) -> None:
    """Where one machine serves all tiers, a message of a larger tier would never be leased."""
    harness.machine_bytes = harness.limit_bytes = 400 * MIB
    harness.script(s0_0=[failed("memory")])
    harness.publish()
    harness.deliver()
    (letter,) = harness.waiting(DEAD)
    assert letter.reason is not None
    assert "of 400 MiB" in letter.reason
    assert "this machine has 0.39 GiB" in letter.reason


def test_a_tier_beyond_this_machine_is_dead_without_work(harness: WorkerHarness) -> None:
    """The estimate and what the machine has are both named."""
    harness.tier, harness.limit_bytes, harness.machine_bytes = LARGE, None, 400 * MIB
    harness.publish()
    harness.deliver()
    (letter,) = harness.waiting(DEAD)
    assert letter.reason is not None
    assert "estimate of 0.00 GiB" in letter.reason
    assert "has 0.39 GiB" in letter.reason
    assert harness.tasks() == []


def test_the_third_delivery_goes_to_the_next_tier_without_work(harness: WorkerHarness) -> None:
    """Two workers crashed silently."""
    harness.publish()
    for _ in range(2):
        delivery = harness.broker.lease(SMALL)
        assert delivery is not None
        harness.broker.nack(delivery)
    assert harness.deliver().attempt == 3
    assert harness.tasks() == []
    (message,) = harness.waiting(LARGE)
    assert "without a report" in message.history[0].reason


def test_corrupt_input_is_dead_at_once(harness: WorkerHarness) -> None:
    """The reason travels in the letter; the next shard is not held up."""
    reason = "a.arrow: row 7, chunk (1, 2, 3): bad zstd"
    harness.script(s0_0=[failed("permanent", reason)], s0_1=[done()])
    harness.publish("s0/0")
    harness.publish("s0/1")
    harness.deliver()
    harness.deliver()
    (letter,) = harness.waiting(DEAD)
    assert letter.reason == reason
    assert letter.history[0].tier == SMALL
    assert harness.run.receipts.get("s0/1") is not None


@pytest.mark.parametrize(
    ("kind", "error"), [("retryable", UnreachableError), ("usage", UsageError)]
)
def test_after_an_external_error_the_message_is_released(
    harness: WorkerHarness, kind: str, error: type[Exception]
) -> None:
    """It does not count as an attempt, and the error is raised."""
    harness.script(s0_0=[failed(kind)])
    harness.publish()
    with pytest.raises(error, match="s0/0: so it went"):
        harness.deliver()
    again = harness.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1
    assert decode(again.data).history == ()


def test_an_executor_that_does_not_start_is_an_external_error(harness: WorkerHarness) -> None:
    """Not caused by the shard, which is not dead-lettered."""
    (harness.folder / "executor.py").write_text("raise SystemExit(1)")
    harness.publish()
    with pytest.raises(ExecutorError):
        harness.deliver()
    assert len(harness.waiting(SMALL)) == 1


def test_an_immediate_shutdown_releases_the_message(harness: WorkerHarness) -> None:
    """SIGTERM does not wait for the shard."""
    harness.script(s0_0=["hang"])
    harness.publish()
    harness.flags.immediate.set()
    harness.deliver()
    again = harness.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1


def test_a_lost_lease_publishes_nothing(harness: WorkerHarness) -> None:
    """The work is stopped, the message neither acked nor published again."""
    harness.script(s0_0=["hang"])
    harness.publish()
    with open_broker(harness.broker.url, harness.broker.tiers, 1.0) as broker:
        delivery = broker.lease(SMALL)
        assert delivery is not None
        lost = Delivery(
            **{
                **{name: getattr(delivery, name) for name in Delivery.__slots__},
                "received_s": delivery.received_s - 3600,
            }
        )
        harness.worker.handle(lost)
        assert harness.run.receipts.get("s0/0") is None
        assert broker.lease(SMALL, wait_s=60.0) is not None
    assert harness.waiting(LARGE) == harness.waiting(DEAD) == []


def lose_lease(harness: WorkerHarness) -> None:
    """Have the worker handle the next message with a lease that ran out while it was frozen."""
    before = LostLeases(harness.run.storage).count("s0/0")
    with open_broker(harness.broker.url, harness.broker.tiers, 0.1) as broker:
        delivery = broker.lease(SMALL, wait_s=60.0)
        assert delivery is not None
        harness.worker.handle(replace(delivery, received_s=delivery.received_s - 3600))
    notes = LostLeases(harness.run.storage)
    wait_for(lambda: notes.count("s0/0") > before, "the note of a worker that lives")


def test_a_worker_that_lost_its_lease_and_lives_did_not_die(harness: WorkerHarness) -> None:
    """A frozen machine outlasts leases again and again; its shards are not escalated for it."""
    harness.script(s0_0=["hang"])
    harness.publish()
    lose_lease(harness)
    lose_lease(harness)
    delivery = harness.broker.lease(SMALL, wait_s=60.0)
    assert delivery is not None
    assert delivery.attempt == 3
    harness.worker.handle(delivery)
    assert harness.waiting(LARGE) == harness.waiting(DEAD) == []
    again = harness.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1  # the broker counts anew, and so do the notes
    assert LostLeases(harness.run.storage).count("s0/0") == 0


def test_a_lost_lease_of_a_run_in_another_spelling(harness: WorkerHarness) -> None:
    """A run is known by its place, not by how a message writes it."""
    harness.script(s0_0=["hang"])
    harness.publish()
    with open_broker(harness.broker.url, harness.broker.tiers, 0.1) as broker:
        delivery = broker.lease(SMALL, wait_s=60.0)
        assert delivery is not None
        message = decode(delivery.data)
        root, _, run_id = message.run.rpartition("/")
        spelled = message.model_copy(update={"run": f"{root}/x/../{run_id}"})
        lost = replace(delivery, data=spelled.encode(), received_s=delivery.received_s - 3600)
        harness.worker.handle(lost)
    notes = LostLeases(harness.run.storage)
    wait_for(lambda: notes.count("s0/0") == 1, "the note of a worker that lives")


def test_silent_deaths_count_beside_lost_leases(harness: WorkerHarness) -> None:
    """Two workers died, one was frozen: the fourth delivery is escalated."""
    harness.script(s0_0=["hang"])
    harness.publish()
    with open_broker(harness.broker.url, harness.broker.tiers, 0.1) as broker:
        for _ in range(2):
            assert broker.lease(SMALL, wait_s=60.0) is not None
    LostLeases(harness.run.storage).add("s0/0", "another")
    fourth = None
    with open_broker(harness.broker.url, harness.broker.tiers, 0.1) as broker:
        assert broker.lease(SMALL, wait_s=60.0) is not None
        fourth = broker.lease(SMALL, wait_s=60.0)
    assert fourth is not None
    harness.worker.handle(fourth)
    (message,) = harness.waiting(LARGE)
    assert "2 workers of tier" in message.history[0].reason


def test_without_a_thread_to_spare_the_message_is_released(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's limit ends the worker after some tries, never the shard."""
    start = threading.Thread.start

    def no_lease(thread: threading.Thread) -> None:
        if thread.name == "lease":
            raise RuntimeError("can't start new thread")
        start(thread)

    harness.publish()
    delivery = harness.broker.lease(SMALL)
    assert delivery is not None
    monkeypatch.setattr("threading.Thread.start", no_lease)
    with pytest.raises(MachineError, match="no thread to spare"):
        harness.worker.handle(delivery)
    again = harness.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1


def test_trouble_that_no_shard_caused_is_noted_in_the_ledger(harness: WorkerHarness) -> None:
    """There is no failure record, so `status` and `errors` would know nothing."""
    harness.script(s0_0=[failed("retryable", "No space left on device: /out/a.shard")])
    harness.publish()
    with pytest.raises(UnreachableError):
        harness.deliver()
    trouble = read_trouble(harness.run.storage)
    assert trouble is not None
    assert (trouble.key, trouble.worker) == ("s0/0", "me")
    assert "No space left on device: /out/a.shard" in trouble.reason


def test_the_message_in_work_can_be_given_back_by_another_thread(harness: WorkerHarness) -> None:
    """For a worker whose own thread never comes back from the kernel."""
    harness.script(s0_0=["hang"])
    harness.publish()
    working = threading.Thread(target=harness.deliver)
    working.start()
    wait_for(harness.tasks, "the shard in work")
    harness.worker.give_back()
    again = harness.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1
    harness.flags.immediate.set()
    working.join(60)


def test_a_cancelled_runs_message_is_acked(harness: WorkerHarness) -> None:
    """Without work."""
    harness.run.cancel("enough")
    harness.publish()
    harness.deliver()
    assert harness.tasks() == []
    assert harness.waiting(SMALL) == []


def test_a_run_cancelled_meanwhile_publishes_nothing(harness: WorkerHarness) -> None:
    """The worker checks again just before the output would appear."""
    harness.script(s0_0=["wait", done()])
    harness.publish()

    class Late(Run):
        """A run that is cancelled once the work has begun."""

        calls = 0

        def cancelled(self, overview: RunOverview | None = None) -> Cancellation | None:
            """The second call finds it cancelled."""
            del overview  # taken before
            self.calls += 1
            if self.calls == 2:
                self.cancel("enough")
            return super().cancelled()

    harness.replace_run(Late(harness.run.uri))
    harness.deliver()
    assert len(harness.tasks()) == 1
    assert harness.run.receipts.get("s0/0") is None
    assert harness.waiting(SMALL) == []


def test_a_dependent_whose_inputs_are_not_done_is_acked(harness: WorkerHarness) -> None:
    """The worker of the last input publishes it."""
    write_receipt(harness.run, "s0/0")
    harness.publish("s1/0")
    harness.deliver()
    assert harness.tasks() == []
    assert harness.waiting(SMALL) == []


def test_an_unreadable_message_is_quarantined(harness: WorkerHarness) -> None:
    """The bytes stay under `unreadable/`, and the queue goes on."""
    broken = ShardMessage(run=harness.run.uri, key="s0/0", kind="convert")

    class Raw(ShardMessage):
        """A message that encodes to garbage."""

        def encode(self) -> bytes:
            """No JSON."""
            return b"{broken"

    harness.broker.publish(SMALL, [Raw.model_validate(broken.model_dump())])
    harness.deliver()
    (kept,) = (harness.folder / "dest.runs" / "unreadable").iterdir()
    assert kept.read_bytes() == b"{broken"
    assert harness.waiting(SMALL) == []


def test_a_newer_schema_is_not_quarantined(harness: WorkerHarness) -> None:
    """The message is given back for a newer worker, and this one stops."""
    harness.publish_newer("s0/0")
    with pytest.raises(NewerSchema):
        harness.deliver()
    assert harness.broker.lease(SMALL) is not None


def test_a_message_of_a_run_that_is_gone_is_quarantined(harness: WorkerHarness) -> None:
    """There is no ledger to write to, but the bytes are kept."""
    harness.publish(run=str(harness.folder / "dest.runs" / "gone"))
    harness.deliver()
    assert len(list((harness.folder / "dest.runs" / "unreadable").iterdir())) == 1


def test_a_shard_that_is_not_in_the_plan_is_dead(harness: WorkerHarness) -> None:
    """The plan is the truth."""
    harness.publish("s0/7")
    harness.deliver()
    (letter,) = harness.waiting(DEAD)
    assert letter.reason is not None
    assert "no such shard" in letter.reason


def test_a_heartbeat_names_the_shard_in_work(harness: WorkerHarness) -> None:
    """Written when a shard begins; one that names none follows when nothing is left."""
    harness.script(s0_0=["wait", done()])
    harness.publish()

    seen: list[Any] = []
    list_heartbeats: Callable[[], Any] = harness.run.heartbeats

    class Watching(Run):
        """Waits for the heartbeat before it lets the output appear."""

        def cancelled(self, overview: RunOverview | None = None) -> Cancellation | None:
            """Called before and after the work."""
            until = time.monotonic() + 60
            while harness.tasks() and not seen and time.monotonic() < until:
                seen.extend(list_heartbeats())
            return super().cancelled(overview)

    harness.replace_run(Watching(harness.run.uri))
    harness.deliver()
    (beat,) = seen
    assert (beat.worker, beat.tier, beat.key) == ("me", SMALL, "s0/0")
    harness.worker.report_idle()
    assert [beat.key for beat in list_heartbeats()] == [None]
    harness.worker.close()
    assert list_heartbeats() == []
