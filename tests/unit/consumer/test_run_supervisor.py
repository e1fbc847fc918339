"""Supervising runs: dead letters drained, missed dependents published, stalled runs given up."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from consumer.exit_condition import ExitCondition, RunsFailed, ShardsOutOfSight
from consumer.run_discovery import RunDiscovery
from consumer.run_supervisor import RunSupervisor
from delivery.broker import open_broker
from delivery.broker.base import DEAD, Broker
from delivery.ledger.run import Run
from delivery.messages import ShardMessage, decode
from tests.support.three_shard_run import LARGE, SMALL, three_shard_run, write_receipt

LEASE_S = 10.0


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """The present."""
        return self.now_s


@dataclass
class Watch:
    """A run supervisor with everything around it."""

    folder: Path
    broker: Broker
    clock: Clock = field(default_factory=Clock)
    only: Run | None = None
    _supervisor: RunSupervisor | None = None

    @property
    def supervisor(self) -> RunSupervisor:
        """Of the runs below the state root, or of the only one."""
        if self._supervisor is None:
            known = RunDiscovery(self.only, [str(self.folder / "dest.runs")], self.broker.url)
            self._supervisor = RunSupervisor(self.broker, known, self.clock)
        return self._supervisor

    @property
    def ending(self) -> ExitCondition:
        """When a worker may end that is never busy."""
        return ExitCondition(self.broker, self.supervisor, lambda: False, self.clock)

    def tick(self, after_s: float = 100.0) -> None:
        """One tick, some time later."""
        self.clock.now_s += after_s
        self.supervisor.tick()

    def waiting(self, tier: str) -> list[str]:
        """Keys of what waits in a queue, which is empty afterwards."""
        found = []
        while (delivery := self.broker.lease(tier)) is not None:
            found.append(decode(delivery.data).key)
            self.broker.ack(delivery)
        return found


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """An empty queue."""
    with open_broker(f"sqlite:{tmp_path}/queue.db", [SMALL, LARGE], LEASE_S) as broker:
        yield Watch(tmp_path, broker)


def finish(run: Run) -> None:
    """As if every shard had been made."""
    for key in ("s0/0", "s0/1"):
        write_receipt(run, key)
    write_receipt(run, "s1/0", inputs=dict.fromkeys(("s0/0", "s0/1"), "AAAAAA=="))


def test_without_runs_it_is_not_over(watch: Watch) -> None:
    """Knowing no run is no proof that all is done."""
    watch.tick()
    assert watch.supervisor.none_known
    assert not watch.supervisor.all_over


def test_a_run_ends_when_its_ledger_says_so(watch: Watch) -> None:
    """Every shard done: over, and nothing to complain about."""
    run = three_shard_run(watch.folder)
    watch.tick()
    assert not watch.supervisor.all_over
    finish(run)
    watch.tick()
    assert watch.supervisor.all_over
    watch.ending.raise_for_failures()


def test_an_empty_queue_is_no_end(watch: Watch) -> None:
    """The queue lost everything: the run goes on."""
    three_shard_run(watch.folder)
    assert not watch.ending.should_exit()
    watch.clock.now_s += 5
    assert not watch.ending.should_exit()


def test_a_run_with_dead_shards_ends_and_says_so(watch: Watch) -> None:
    """Letters are drained into the ledger; a dead input blocks its dependent; that is the end."""
    run = three_shard_run(watch.folder)
    write_receipt(run, "s0/0")
    letter = ShardMessage(run=run.uri, key="s0/1", kind="convert", reason="bad zstd")
    watch.broker.publish(DEAD, [letter])
    watch.tick()
    assert watch.supervisor.all_over
    record = run.failures.get("s0/1")
    assert record is not None
    assert record.reason == "bad zstd"
    with pytest.raises(RunsFailed, match="without 2 of its shards: s0/1, s1/0") as raised:
        watch.ending.raise_for_failures()
    assert raised.value.exit_code == 1


def test_a_missed_cascade_is_repaired(watch: Watch) -> None:
    """Its worker died between the receipt and the cascade."""
    run = three_shard_run(watch.folder)
    write_receipt(run, "s0/0")
    write_receipt(run, "s0/1")
    watch.tick()
    assert watch.waiting(SMALL) + watch.waiting(LARGE) == ["s1/0"]
    watch.tick(5)
    assert watch.waiting(SMALL) + watch.waiting(LARGE) == []


def test_what_is_lost_is_published_again_twice_then_given_up(watch: Watch) -> None:
    """Quiet for two leases: again; after two rounds in vain the open shards are named."""
    run = three_shard_run(watch.folder)
    watch.tick(0)
    for _ in range(2):
        watch.tick(2 * LEASE_S - 2)
        assert watch.waiting(SMALL) == []
        watch.tick(3)
        assert watch.waiting(SMALL) == ["s0/0", "s0/1"]
        assert not watch.supervisor.all_over
    watch.tick(2 * LEASE_S + 1)
    assert watch.waiting(SMALL) == []
    assert watch.supervisor.all_over
    with pytest.raises(RunsFailed, match=f"run {run.run_id}: nothing was heard.*s0/0, s0/1"):
        watch.ending.raise_for_failures()


def test_a_receipt_resets_the_stall_detector(watch: Watch) -> None:
    """Slow is not lost."""
    run = three_shard_run(watch.folder)
    watch.tick(0)
    watch.tick(2 * LEASE_S - 2)
    write_receipt(run, "s0/0")
    watch.tick(3)
    watch.tick(2 * LEASE_S - 2)
    assert watch.waiting(SMALL) == []


def test_a_cancelled_run_is_over(watch: Watch) -> None:
    """No worker works for it, so none waits for it."""
    run = three_shard_run(watch.folder)
    watch.tick()
    run.cancel("enough")
    watch.tick()
    assert watch.supervisor.all_over
    assert watch.waiting(SMALL) == []


def test_a_run_of_another_queue_is_none_of_ours(watch: Watch) -> None:
    """One state root may hold the runs of many queues."""
    three_shard_run(watch.folder, queue="sqlite:/elsewhere/queue.db")
    watch.tick()
    assert watch.supervisor.none_known


def test_old_failures_are_no_news(watch: Watch) -> None:
    """A run that ended badly before the newest one began does not fail this fleet."""
    old = three_shard_run(watch.folder, "r1")
    for key in ("s0/0", "s0/1"):
        letter = ShardMessage(run=old.uri, key=key, kind="convert", reason="bad zstd")
        watch.broker.publish(DEAD, [letter])
    watch.tick()
    assert watch.supervisor.failed
    finish(three_shard_run(watch.folder, "r2"))
    watch._supervisor = None
    watch.tick()
    assert watch.supervisor.all_over
    watch.ending.raise_for_failures()


def test_the_one_run_asked_for_counts(watch: Watch) -> None:
    """With --run, other runs of the state root do not keep a worker."""
    finish(three_shard_run(watch.folder, "r1"))
    watch.only = Run(str(watch.folder / "dest.runs" / "r1"))
    three_shard_run(watch.folder, "r2")
    watch.tick()
    assert watch.supervisor.all_over


def test_knowing_no_run_it_ends_after_a_lease_of_silence(watch: Watch) -> None:
    """Every tier stayed empty for longer than a lease."""
    ending = watch.ending
    assert not ending.should_exit()
    watch.clock.now_s += LEASE_S - 1
    watch.broker.publish(LARGE, [ShardMessage(run="/r", key="s0/0", kind="convert")])
    assert not ending.should_exit()
    assert watch.waiting(LARGE) == ["s0/0"]
    assert not ending.should_exit()
    watch.clock.now_s += LEASE_S + 1
    assert ending.should_exit()


def test_shards_of_another_queue_are_told(watch: Watch) -> None:
    """A run that these workers cannot see ends them with exit 3 and a line, not with success."""
    other = f"sqlite:{watch.folder}/other.db"
    run = three_shard_run(watch.folder, queue=other)
    watch.tick()
    assert watch.supervisor.none_known
    with pytest.raises(ShardsOutOfSight) as raised:
        watch.ending.raise_for_failures()
    assert str(raised.value) == (
        f"left in queues that were not served: 3 shards of run {run.run_id} on {other}"
    )
    assert raised.value.exit_code == 3
    run.cancel("enough")
    watch.ending.raise_for_failures()


def test_a_run_that_is_moved_is_let_go(watch: Watch) -> None:
    """It is supervised no longer, and not published to the old queue."""
    run = three_shard_run(watch.folder)
    watch.tick(0)
    assert not watch.supervisor.all_over
    run.move(f"sqlite:{watch.folder}/other.db")
    watch.tick(2 * LEASE_S + 1)
    assert watch.supervisor.all_over
    assert watch.waiting(SMALL) == []
    with pytest.raises(ShardsOutOfSight, match=r"3 shards of run r1 on .*other\.db"):
        watch.ending.raise_for_failures()


def test_a_tick_that_waited_long_does_not_put_off_the_next(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service out of reach, or a frozen process: the end of a run is noticed within a lease."""
    run = three_shard_run(watch.folder)
    drain = watch.supervisor._reconciler.drain

    def slow_drain(*args: Any) -> Any:  # noqa: ANN401 - passed on
        watch.clock.now_s += 3600
        return drain(*args)

    monkeypatch.setattr(watch.supervisor._reconciler, "drain", slow_drain)
    watch.tick()
    finish(run)
    monkeypatch.undo()
    watch.tick(after_s=LEASE_S)
    assert watch.supervisor.all_over


def test_a_frozen_supervisor_takes_no_silence_for_a_stall(watch: Watch) -> None:
    """Its workers were frozen with it: it waits anew, however often that happens."""
    three_shard_run(watch.folder)
    watch.tick()
    for _ in range(5):
        watch.clock.now_s += 2 * LEASE_S
        watch.supervisor.resume()
        watch.tick(after_s=LEASE_S)
    assert watch.supervisor.given_up == {}
    assert watch.waiting(SMALL) == []  # nothing was published again
