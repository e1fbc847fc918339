"""The failure table, row by row: a real queue and ledger, a work process that plays its part."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.worker.executor_client import ExecutorError
from delivery.broker import open_broker
from delivery.broker.base import DEAD, Delivery
from delivery.ledger import receipts
from delivery.ledger.run import Cancellation, Run
from delivery.messages import NewerSchema, ShardMessage, decode
from memmodel.tiers import GIB, MIB
from runtime.errors import UnreachableError, UsageError
from tests.support.three_shard_run import LARGE, SMALL, write_receipt
from tests.support.worker_bench import Bench, done, failed, made_bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A run of two shards and their dependent, nothing published."""
    with made_bench(tmp_path) as bench:
        yield bench


def test_done(bench: Bench) -> None:
    """The receipt has what the work measured, and the message is gone."""
    bench.script(s0_0=["wait", done(reads=4, labels=9, seconds={"read": 0.5})])
    bench.publish()
    bench.deliver()
    receipt = receipts.read(bench.run, "s0/0")
    assert receipt is not None
    assert receipt.chunks == 3
    assert (receipt.tier, receipt.tiers_tried, receipt.attempt) == (SMALL, (SMALL,), 1)
    assert (receipt.estimated_bytes, receipt.peak_bytes, receipt.worker) == (7, 5, "me")
    assert (receipt.reads, receipt.labels, receipt.phases) == (4, 9, {"read": 0.5})
    assert bench.waiting(SMALL) == []


def test_the_task_says_what_plan_and_run_say(bench: Bench) -> None:
    """The work process gets source, destination, files and the limit of its tier."""
    bench.script(s0_1=[done()])
    bench.publish("s0/1")
    bench.deliver()
    (task,) = bench.tasks()
    assert task["source"] == bench.run.info.source
    assert task["dest"] == bench.run.info.dest
    assert (task["key"], task["shard"], task["scale"], task["sources"]) == ("s0/1", 1, 0, ["a"])
    assert task["tier_limit_bytes"] == 512 * MIB


def test_the_last_input_publishes_the_dependent(bench: Bench) -> None:
    """Nobody waits for a whole scale: the cascade follows the receipt."""
    bench.script(s0_0=[done()], s0_1=[done()], s1_0=[done(inputs={"s0/0": "A", "s0/1": "B"})])
    for key in ("s0/0", "s0/1"):
        assert bench.run.receipts.read("s1/0") is None
        bench.publish(key)
        bench.deliver()
    (message,) = bench.waiting(LARGE) + bench.waiting(SMALL)
    assert (message.key, message.kind) == ("s1/0", "downsample")


def test_a_downsampled_shard_gets_its_inputs_checksums(bench: Bench) -> None:
    """The receipts' checksums travel in the task; an empty input is said to be empty."""
    write_receipt(bench.run, "s0/0", crc32c="AQAAAA==")
    write_receipt(bench.run, "s0/1", crc32c=None, empty=True)
    bench.script(s1_0=[done(inputs={"s0/0": "AQAAAA==", "s0/1": "empty"})])
    bench.publish("s1/0")
    bench.deliver()
    (task,) = bench.tasks()
    assert task["inputs"] == {"s0/0": "AQAAAA==", "s0/1": "empty"}
    receipt = receipts.read(bench.run, "s1/0")
    assert receipt is not None
    assert receipt.inputs == {"s0/0": "AQAAAA==", "s0/1": "empty"}
    assert receipt.estimated_bytes is not None


def test_a_changed_input_gets_a_second_chance_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in the making; if it is the same the next time, somebody has to look."""
    monkeypatch.setattr("consumer.worker.worker.INPUT_PAUSE_S", 0.0)
    for key in ("s0/0", "s0/1"):
        write_receipt(bench.run, key)
    bench.script(s1_0=[failed("changed", "s0/0: expected crc32c A, found B")])
    bench.publish("s1/0")
    bench.deliver()
    assert bench.waiting(DEAD) == []
    bench.deliver()
    (letter,) = bench.waiting(DEAD)
    assert letter.reason == "s0/0: expected crc32c A, found B"
    assert [hop.tier for hop in letter.history] == [SMALL, SMALL]


def test_a_shard_of_zeros_has_a_receipt_and_no_file(bench: Bench) -> None:
    """Empty is a result."""
    bench.script(s0_0=[done(chunks=0, empty=True, crc32c=None)])
    bench.publish()
    bench.deliver()
    receipt = receipts.read(bench.run, "s0/0")
    assert receipt is not None
    assert receipt.empty


def test_delivered_again_after_it_is_done(bench: Bench) -> None:
    """No work; the cascade runs again, since its first one may never have run."""
    write_receipt(bench.run, "s0/0")
    write_receipt(bench.run, "s0/1")
    bench.publish()
    bench.deliver()
    assert bench.tasks() == []
    assert [m.key for m in bench.waiting(LARGE) + bench.waiting(SMALL)] == ["s1/0"]


def test_a_higher_redo_is_worked_on_again(bench: Bench) -> None:
    """A receipt of an older asking does not answer a newer one."""
    write_receipt(bench.run, "s0/0")
    bench.run.raise_redo(["s0/0"])
    bench.script(s0_0=[done(crc32c="BBBBBA==")])
    bench.publish(redo=1)
    bench.deliver()
    receipt = receipts.read(bench.run, "s0/0")
    assert receipt is not None
    assert (receipt.redo, receipt.crc32c) == (1, "BBBBBA==")


@pytest.mark.parametrize("end", [failed("memory", "MemoryError"), "die"])
def test_too_big_goes_to_the_next_tier(bench: Bench, end: object) -> None:
    """MemoryError, or a work process that was killed: the next tier, with the history."""
    bench.script(s0_0=[end])
    bench.publish()
    bench.deliver()
    assert bench.waiting(SMALL) == []
    (message,) = bench.waiting(LARGE)
    (hop,) = message.history
    assert (hop.tier, hop.worker, hop.attempt) == (SMALL, "me", 1)
    assert "of 512 MiB" in hop.reason
    assert message.reason is None


def test_a_receipt_tells_the_tiers_it_went_through(bench: Bench) -> None:
    """Every hop is recorded."""
    bench.script(s0_0=[failed("memory")])
    bench.publish()
    bench.deliver()
    bench.worker.close()
    bench._worker, bench.tier, bench.limit_bytes = None, LARGE, GIB
    bench.script(s0_0=[done()])
    bench.deliver()
    receipt = receipts.read(bench.run, "s0/0")
    assert receipt is not None
    assert receipt.tiers_tried == (SMALL, LARGE)
    assert receipt.history[0].tier == SMALL


def test_past_the_last_tier_it_is_dead_with_both_numbers(bench: Bench) -> None:
    """What was used, and the most there is."""
    bench.tier, bench.limit_bytes = LARGE, GIB
    bench.script(s0_0=[failed("memory")])
    bench.publish()
    bench.deliver()
    (letter,) = bench.waiting(DEAD)
    assert letter.reason is not None
    assert "used 300 MiB of 1024 MiB" in letter.reason
    assert "largest tier" in letter.reason


def test_beyond_this_machine_it_is_dead_with_both_numbers(bench: Bench) -> None:
    """Where one machine is all there is, a larger tier would wait for ever."""
    bench.machine_bytes = bench.limit_bytes = 400 * MIB
    bench.script(s0_0=[failed("memory")])
    bench.publish()
    bench.deliver()
    (letter,) = bench.waiting(DEAD)
    assert letter.reason is not None
    assert "of 400 MiB" in letter.reason
    assert "this machine has 0.39 GiB" in letter.reason


def test_a_tier_beyond_this_machine_is_dead_without_work(bench: Bench) -> None:
    """The estimate and what the machine has are both named."""
    bench.tier, bench.limit_bytes, bench.machine_bytes = LARGE, None, 400 * MIB
    bench.publish()
    bench.deliver()
    (letter,) = bench.waiting(DEAD)
    assert letter.reason is not None
    assert "estimate of 0.00 GiB" in letter.reason
    assert "has 0.39 GiB" in letter.reason
    assert bench.tasks() == []


def test_the_third_delivery_goes_to_the_next_tier_without_work(bench: Bench) -> None:
    """Two workers died over it without a word."""
    bench.publish()
    for _ in range(2):
        delivery = bench.broker.lease(SMALL)
        assert delivery is not None
        bench.broker.nack(delivery)
    assert bench.deliver().attempt == 3
    assert bench.tasks() == []
    (message,) = bench.waiting(LARGE)
    assert "without a word" in message.history[0].reason


def test_corrupt_input_is_dead_at_once(bench: Bench) -> None:
    """The reason travels in the letter; the next shard is not held up."""
    reason = "a.arrow: row 7, chunk (1, 2, 3): bad zstd"
    bench.script(s0_0=[failed("permanent", reason)], s0_1=[done()])
    bench.publish("s0/0")
    bench.publish("s0/1")
    bench.deliver()
    bench.deliver()
    (letter,) = bench.waiting(DEAD)
    assert letter.reason == reason
    assert letter.history[0].tier == SMALL
    assert receipts.read(bench.run, "s0/1") is not None


@pytest.mark.parametrize(
    ("kind", "error"), [("retryable", UnreachableError), ("usage", UsageError)]
)
def test_trouble_is_handed_back(bench: Bench, kind: str, error: type[Exception]) -> None:
    """It counts as no attempt, and whoever runs the worker hears of it."""
    bench.script(s0_0=[failed(kind)])
    bench.publish()
    with pytest.raises(error, match="s0/0: so it went"):
        bench.deliver()
    again = bench.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1
    assert decode(again.data).history == ()


def test_a_work_process_that_does_not_start_is_trouble(bench: Bench) -> None:
    """It is no shard's fault, so no shard is dead."""
    (bench.folder / "child.py").write_text("raise SystemExit(1)")
    bench.publish()
    with pytest.raises(ExecutorError):
        bench.deliver()
    assert len(bench.waiting(SMALL)) == 1


def test_told_to_stop_it_hands_back_at_once(bench: Bench) -> None:
    """SIGTERM does not wait for the shard."""
    bench.script(s0_0=["hang"])
    bench.publish()
    bench.flags.immediate.set()
    bench.deliver()
    again = bench.broker.lease(SMALL)
    assert again is not None
    assert again.attempt == 1


def test_a_lost_lease_publishes_nothing(bench: Bench) -> None:
    """The work is stopped, the message left alone: it is another worker's now."""
    bench.script(s0_0=["hang"])
    bench.publish()
    with open_broker(bench.broker.url, bench.broker.tiers, 1.0) as broker:
        delivery = broker.lease(SMALL)
        assert delivery is not None
        lost = Delivery(
            **{
                **{name: getattr(delivery, name) for name in Delivery.__slots__},
                "received_s": delivery.received_s - 3600,
            }
        )
        bench.worker.handle(lost)
        assert receipts.read(bench.run, "s0/0") is None
        assert broker.lease(SMALL, wait_s=3.0) is not None
    assert bench.waiting(LARGE) == bench.waiting(DEAD) == []


def test_a_cancelled_runs_message_is_acked(bench: Bench) -> None:
    """Nobody works for a cancelled run."""
    bench.run.cancel("enough")
    bench.publish()
    bench.deliver()
    assert bench.tasks() == []
    assert bench.waiting(SMALL) == []


def test_a_run_cancelled_meanwhile_publishes_nothing(bench: Bench) -> None:
    """The worker looks again just before the output would appear."""
    bench.script(s0_0=["wait", done()])
    bench.publish()

    class Late(Run):
        """A run that is cancelled once the work has begun."""

        looks = 0

        def cancelled(self) -> Cancellation | None:
            """The second look finds it cancelled."""
            self.looks += 1
            if self.looks == 2:
                self.cancel("enough")
            return super().cancelled()

    bench.worker._runs[bench.run.uri] = Late(bench.run.uri)
    bench.deliver()
    assert len(bench.tasks()) == 1
    assert receipts.read(bench.run, "s0/0") is None
    assert bench.waiting(SMALL) == []


def test_a_dependent_whose_inputs_are_not_done_is_acked(bench: Bench) -> None:
    """Whoever finishes the last input publishes it."""
    write_receipt(bench.run, "s0/0")
    bench.publish("s1/0")
    bench.deliver()
    assert bench.tasks() == []
    assert bench.waiting(SMALL) == []


def test_an_unreadable_message_is_kept(bench: Bench) -> None:
    """The bytes stay under `unreadable/`, and the queue goes on."""
    broken = ShardMessage(run=bench.run.uri, key="s0/0", kind="convert")

    class Raw(ShardMessage):
        """A message that encodes to garbage."""

        def encode(self) -> bytes:
            """No JSON."""
            return b"{broken"

    bench.broker.publish(SMALL, [Raw.model_validate(broken.model_dump())])
    bench.deliver()
    (kept,) = (bench.folder / "dest.runs" / "unreadable").iterdir()
    assert kept.read_bytes() == b"{broken"
    assert bench.waiting(SMALL) == []


def test_a_newer_schema_is_no_poison(bench: Bench) -> None:
    """The message goes back for a newer worker, and this one stops."""
    bench.publish_newer("s0/0")
    with pytest.raises(NewerSchema):
        bench.deliver()
    assert bench.broker.lease(SMALL) is not None


def test_a_message_of_a_run_that_is_gone_is_kept(bench: Bench) -> None:
    """There is no ledger to write to, but nothing is lost."""
    bench.publish(run=str(bench.folder / "dest.runs" / "gone"))
    bench.deliver()
    assert len(list((bench.folder / "dest.runs" / "unreadable").iterdir())) == 1


def test_a_shard_that_is_not_in_the_plan_is_dead(bench: Bench) -> None:
    """The plan is the truth."""
    bench.publish("s0/7")
    bench.deliver()
    (letter,) = bench.waiting(DEAD)
    assert letter.reason is not None
    assert "no such shard" in letter.reason


def test_a_heartbeat_tells_what_is_in_work(bench: Bench) -> None:
    """Written when a shard begins; one that names none follows when nothing is left."""
    bench.script(s0_0=["wait", done()])
    bench.publish()

    seen: list[Any] = []
    looked: Callable[[], Any] = bench.run.heartbeats

    class Watching(Run):
        """Waits for the heartbeat before it lets the output appear."""

        def cancelled(self) -> Cancellation | None:
            """Asked before and after the work."""
            until = time.monotonic() + 60
            while bench.tasks() and not seen and time.monotonic() < until:
                seen.extend(looked())
            return super().cancelled()

    bench.worker._runs[bench.run.uri] = Watching(bench.run.uri)
    bench.deliver()
    (beat,) = seen
    assert (beat.worker, beat.tier, beat.key) == ("me", SMALL, "s0/0")
    bench.worker.rest()
    assert [beat.key for beat in looked()] == [None]
    bench.worker.close()
    assert looked() == []
