"""Model of ledger, queue and workers that crash between any two steps: no shard is lost or stuck.

The ledger, the broker, the cascade, replay and drain are the real ones. Only the work itself is a
stand-in: a shard's "bytes" follow from its source's version or its inputs' bytes, so that at the
end everyone can see whether the volume is what the present sources make. A worker is a generator
that stops at every arrow of the failure table; the machine decides who goes on, who dies, which
message is lost, doubled or delayed, and when the broker forgets everything.
"""

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from delivery import replay
from delivery.broker.base import DEAD, Delivery
from delivery.broker.embedded import EmbeddedBroker
from delivery.cascade import cascade, cascade_all
from delivery.dead_letters import drain
from delivery.ledger.receipts import EMPTY, Receipt
from delivery.ledger.shard_status import (
    ShardState,
    ShardStatus,
    is_current,
    read_status,
    read_status_for_work,
)
from delivery.messages import Hop, ShardMessage, decode
from delivery.stall_detector import StallAction, StallDetector, activity_fingerprint
from runtime.storage import open_storage
from tests.support.ledgers import TIERS, at, low_tier, made_run, row

LEASE_S = 10.0
MARGIN_S = 2.0
SILENT_DELIVERIES = 3
ROWS = [row("s0/00"), row("s0/01"), row("s1/00", "s0/00", "s0/01"), row("s2/00", "s1/00")]
SOURCES = ["s0/00", "s0/01"]
TROUBLES = [
    "lose", "double", "double", "delay", "forget",  # what happens to messages
    "look", "missing", "since", "shard", "redo",  # needless commands of a user
    "spoil", "mend", "drop",  # what happens to sources
]  # fmt: skip
keys = st.sampled_from([one.key for one in ROWS])
arrows = st.sampled_from([1, 2, 2, 3, 9, 9, 9])  # how far a worker comes; nine: to the end


class Crash(Exception):  # noqa: N818 - not an error: the process is killed
    """End of the simulated process."""


class Fragile(EmbeddedBroker):
    """Broker whose process can crash just before or after its next publish."""

    dies: str | None = None

    def publish(self, tier: str, messages: Sequence[ShardMessage]) -> None:
        """Publish, or crash before or after it."""
        if self.dies == "before":
            raise Crash
        super().publish(tier, messages)
        if self.dies == "after":
            raise Crash


def made_of(contents: Sequence[str]) -> str:
    """The bytes of a dependent: nothing of nothing, else a digest of its inputs'."""
    if set(contents) == {EMPTY}:
        return EMPTY
    return hashlib.sha256("/".join(contents).encode()).hexdigest()[:8]


class Worker:
    """One worker with one message; `steps` stops between any two steps."""

    def __init__(self, system: "System", tier: str, name: str) -> None:
        self.system = system
        self.tier = tier
        self.name = name
        self.broker = system.open_broker()
        self.delivery: Delivery | None = None
        self.renewed = system.now
        self.known_redo = system.run.redo()  # and not again before its output appears
        self.steps = self._steps()

    def alive(self) -> bool:
        """Take one step; False when there is no more."""
        try:
            return next(self.steps, "end") != "end"
        except Crash:
            return False

    def lost(self) -> bool:
        """By our own clock the lease may be over."""
        return self.system.now - self.renewed > LEASE_S - MARGIN_S

    def extend(self) -> None:
        """Keep the message, as long as the lease is not lost by our own clock."""
        if self.delivery is not None and not self.lost():
            self.broker.extend(self.delivery)
            self.renewed = self.system.now

    def _steps(self) -> Iterator[str]:
        run, broker = self.system.run, self.broker
        delivery = self.delivery = broker.lease(self.tier)
        self.renewed = self.system.now
        if delivery is None:
            return
        yield "leased"
        message = decode(delivery.data)
        standing = read_status_for_work(
            run, message.key, self.known_redo, message.redo, is_new=False
        )
        yield "status read"
        if standing.answers(message.redo):
            yield from self._finish(delivery, message.key)
        elif standing.state is ShardState.WAITING:
            broker.ack(delivery)
        elif delivery.attempt >= SILENT_DELIVERIES:
            self._escalate(delivery, message)
        elif message.key in self.system.poison:
            self._hand_over(delivery, message, DEAD, "broken input")
        else:
            yield from self._work(delivery, message, standing)

    def _work(
        self, delivery: Delivery, message: ShardMessage, standing: ShardStatus
    ) -> Iterator[str]:
        made = self._made(standing)
        yield "made"
        if self.lost():
            return
        if made is None or not is_current(self.system.run, standing):
            self.broker.hand_over(delivery, self.tier, message)
            return
        self.system.volume[message.key] = made  # checked and published in one step
        yield "output"
        redo = max(message.redo, standing.redo)
        self.system.run.receipts.put(self._receipt(standing, made, redo))
        yield "receipt"
        yield from self._finish(delivery, message.key)

    def _finish(self, delivery: Delivery, key: str) -> Iterator[str]:
        cascade(self.system.run, self.broker, key, low_tier)
        yield "cascaded"
        self.broker.ack(delivery)

    def _made(self, standing: ShardStatus) -> str | None:
        """The shard's bytes; None when an input is not what the ledger says."""
        if not standing.row.inputs:
            return self.system.converted(standing.row.key)
        found = [self.system.volume.get(key, "none") for key in standing.row.inputs]
        if found != [standing.inputs[key] for key in standing.row.inputs]:
            return None
        return made_of(found)

    def _receipt(self, standing: ShardStatus, made: str, redo: int) -> Receipt:
        moment = datetime.fromtimestamp(self.system.tick(), UTC)
        return Receipt(
            key=standing.row.key,
            kind=standing.row.kind,
            tier=self.tier,
            redo=redo,
            empty=made == EMPTY,
            crc32c=None if made == EMPTY else made,
            inputs={key: content or "" for key, content in standing.inputs.items()},
            started=moment,
            finished=moment,
            worker=self.name,
            version="model",
        )

    def _escalate(self, delivery: Delivery, message: ShardMessage) -> None:
        larger = (*TIERS, DEAD)[TIERS.index(self.tier) + 1]
        self._hand_over(delivery, message, larger, "died silently")

    def _hand_over(self, delivery: Delivery, message: ShardMessage, tier: str, reason: str) -> None:
        moment = datetime.fromtimestamp(self.system.tick(), UTC)
        hop = Hop(tier=self.tier, reason=reason, at=moment, attempt=delivery.attempt)
        moved = message.after(hop, reason if tier == DEAD else None)
        self.broker.hand_over(delivery, tier, moved)


class System:
    """State that all workers share: export, volume, ledger, queue, time."""

    def __init__(self) -> None:
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - files that are lost
        self.directory = Path(tempfile.mkdtemp(prefix="delivery-model-", dir=base))
        self.now = at(3600).timestamp()
        self.ticks = 0
        self.lost = False  # whether messages may be missing that only a republish replaces
        self.versions = dict.fromkeys(SOURCES, 0)
        self.poison: set[str] = set()
        self.volume: dict[str, str] = {}
        self.run = made_run(self.directory / "runs", ROWS)
        self.state = open_storage(self.run.state_url)
        self.broker = self.open_broker()
        replay.missing(self.run, self.broker, low_tier)

    def open_broker(self) -> Fragile:
        """Another connection to the queue."""
        return Fragile(self.directory / "queue.db", TIERS, LEASE_S, lambda: self.now)

    def tick(self) -> float:
        """A moment that no other event has."""
        self.ticks += 1
        return self.now + self.ticks * 1e-4

    def converted(self, key: str) -> str:
        """A converted shard's bytes now; two versions may give the same, and one gives zeros."""
        version = self.versions[key]
        return EMPTY if version % 5 == 4 else f"{key}-{version // 2}"

    def expected(self) -> dict[str, str]:
        """The volume that the present sources make."""
        found: dict[str, str] = {}
        for one in self.run.plan.rows():
            inputs = [found[key] for key in one.inputs]
            found[one.key] = made_of(inputs) if inputs else self.converted(one.key)
        return found

    def raw(self, query: str, *values: object) -> list[Any]:
        """Do something to the queue behind the broker's back."""
        with sqlite3.connect(self.directory / "queue.db") as db:
            return db.execute(query, values).fetchall()

    def waiting(self) -> list[int]:
        """Ids of all messages that are not acked."""
        return [row[0] for row in self.raw("SELECT id FROM message WHERE acked IS NULL")]

    def disturb(self, what: str, number: int) -> None:
        """Do this to a message, or to all of them."""
        self.lost = self.lost or what != "double"
        if what == "lose":
            self.raw("DELETE FROM message WHERE id = ?", number)
        elif what == "forget":
            self.raw("DELETE FROM message")
        elif what == "double":
            columns = "tier, later, data, attributes, published"
            query = f"INSERT INTO message ({columns}) SELECT {columns} FROM message WHERE id = ?"  # noqa: S608 - constants
            self.raw(query, number)
        else:
            query = "UPDATE message SET lease = 'nobody', lease_until = ? WHERE id = ?"
            self.raw(query, self.now + 3 * LEASE_S, number)

    def drain(self) -> None:
        """Dead letters into the ledger."""
        drain(self.broker, self.state)

    def states(self) -> dict[str, ShardState]:
        """Where every shard stands."""
        return dict(read_status(self.run).states)


class DeliveryMachine(RuleBasedStateMachine):
    """Random faults; afterwards undisturbed workers must finish the run."""

    @initialize()
    def begin(self) -> None:
        """A run of four shards on three scales, published."""
        self.system = System()
        self.workers: list[Worker] = []
        self.names = 0

    @rule(which=st.integers(0, 1), steps=arrows)
    def start(self, which: int, steps: int) -> None:
        """A worker takes a message and comes some arrows far."""
        waiting = [tier for tier in TIERS if self.system.broker.backlog(tier).waiting]
        if not waiting:  # nothing to do: time passes until the stall detector acts
            self.system.now += LEASE_S + 1
            replay.missing(self.system.run, self.system.broker, low_tier)
            waiting = list(TIERS)
        tier = waiting[which % len(waiting)]
        self.names += 1
        worker = Worker(self.system, tier, f"w{self.names}")
        self.workers.append(worker)
        self._go(worker, steps)

    @rule(steps=arrows)
    def start_another(self, steps: int) -> None:
        """The same again: there should be more workers than troubles."""
        self.start(0, steps)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 5), steps=arrows)
    def go_on(self, which: int, steps: int) -> None:
        """A worker goes on."""
        self._go(self.workers[which % len(self.workers)], steps)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 5), when=st.sampled_from(["now", "before", "after"]))
    def kill(self, which: int, when: str) -> None:
        """Crash a worker where it is, or at its next publish: before it or before its marker."""
        worker = self.workers[which % len(self.workers)]
        if when == "now":
            self._gone(worker)
        else:
            worker.broker.dies = when

    @rule(seconds=st.sampled_from([5.0, LEASE_S + 1]), frozen=st.booleans())
    def wait(self, seconds: float, frozen: bool) -> None:
        """Time passes; workers extend their leases, or are frozen and miss it."""
        for _ in range(1 if frozen else int(seconds)):
            self.system.now += seconds if frozen else 1.0
            for worker in [] if frozen else self.workers:
                worker.extend()

    @rule(key=st.sampled_from(SOURCES), number=st.sampled_from([1, 2, 2]), publish=st.booleans())
    def change(self, key: str, number: int, publish: bool) -> None:
        """Give a source another version and redo its shard; perhaps crash before publishing it."""
        self.system.versions[key] += number
        if publish:
            replay.shards(self.system.run, self.system.broker, low_tier, [key], redo=True)
        else:  # the command crashed before publishing
            self.system.run.raise_redo([key])
            self.system.lost = True

    @rule(what=st.sampled_from(TROUBLES), which=st.integers(0, 9), key=keys)
    def trouble(self, what: str, which: int, key: str) -> None:
        """Apply one of TROUBLES to the queue, the sources or the run."""
        system = self.system
        waiting = system.waiting()
        if what in {"lose", "double", "delay", "forget"}:
            if waiting:
                system.disturb(what, waiting[which % len(waiting)])
        elif what == "look":
            system.drain()
            cascade_all(system.run, system.broker, low_tier)
        elif what == "spoil":
            system.poison.add(key)
        elif what == "drop":
            system.run.failures.drop(key)
        elif what == "mend":
            system.poison.clear()
            replay.failed(system.run, system.broker, low_tier)
        elif what == "missing":
            replay.missing(system.run, system.broker, low_tier)
        elif what == "since":
            moment = datetime.fromtimestamp(system.now - 10 * which, UTC)
            replay.since(system.run, system.broker, low_tier, moment)
        else:
            replay.shards(system.run, system.broker, low_tier, [key], redo=what == "redo")

    def teardown(self) -> None:
        """Let every worker finish; the volume must be what the sources make."""
        if not hasattr(self, "system"):
            return
        try:
            self._calm()
        finally:
            shutil.rmtree(self.system.directory)

    def _go(self, worker: Worker, steps: int) -> None:
        for _ in range(steps):
            if not worker.alive():
                self._gone(worker)
                return

    def _gone(self, worker: Worker) -> None:
        worker.broker.close()
        self.workers.remove(worker)

    def _calm(self) -> None:
        self._until_ended()
        self._ended_means_ended()
        self.system.poison.clear()
        dead = [key for key, state in self.system.states().items()
                if state in {ShardState.FAILED, ShardState.GIVEN_UP}]  # fmt: skip
        replay.failed(self.system.run, self.system.broker, low_tier, keys=dead)
        self._until_ended()
        assert set(self.system.states().values()) == {ShardState.DONE}
        self._all_is_well()

    def _until_ended(self) -> None:
        """Run undisturbed workers and a reconciler until the run has ended."""
        detector = StallDetector(LEASE_S, self.system.now)
        for worker in list(self.workers):
            worker.broker.dies = None
            self._go(worker, 99)
        for _ in range(200):
            self._work_off()
            status = read_status(self.system.run)
            if status.ended:
                return
            cascade_all(self.system.run, self.system.broker, low_tier, status)
            self.system.now += LEASE_S
            advice = detector.observe(activity_fingerprint(status, []), self.system.now)
            assert advice is not StallAction.GIVE_UP, f"stuck: {self.system.states()}"
            if advice is StallAction.REPUBLISH:
                assert self.system.lost, f"never published: {self.system.states()}"
                replay.missing(self.system.run, self.system.broker, low_tier)
        pytest.fail(f"no end: {self.system.states()}")

    def _work_off(self) -> None:
        for tier in TIERS:
            while (worker := Worker(self.system, tier, "calm")).alive():
                self._finish(worker)
            worker.broker.close()
        self.system.drain()

    @staticmethod
    def _finish(worker: Worker) -> None:
        while worker.alive():
            pass
        worker.broker.close()

    def _ended_means_ended(self) -> None:
        """What still waits in the queues changes no finished shard, and no success."""
        before, volume = self.system.states(), dict(self.system.volume)
        for _ in range(6):
            self.system.now += 4 * LEASE_S
            self._work_off()
        after = self.system.states()
        for key, state in before.items():
            if state is ShardState.DONE:
                assert after[key] is ShardState.DONE
                assert self.system.volume[key] == volume[key]
        if set(before.values()) == {ShardState.DONE}:
            assert after == before
        assert self.system.waiting() == []

    def _all_is_well(self) -> None:
        """Every done shard is what the sources make; its receipt says so."""
        expected = self.system.expected()
        found = self.system.run.receipts.list()
        for key, state in self.system.states().items():
            if state is ShardState.DONE:
                assert self.system.volume[key] == expected[key]
                assert found[key].content == expected[key]


def test_calm_delivery_makes_everything() -> None:
    """Without any trouble each shard is made once, and the run ends in success."""
    machine = DeliveryMachine()
    machine.begin()
    machine._until_ended()
    assert set(machine.system.states().values()) == {ShardState.DONE}
    machine._all_is_well()
    assert machine.system.waiting() == []
    machine.teardown()


def test_no_shard_is_lost_and_none_is_stuck() -> None:
    """After any crashes, undisturbed workers finish the run with the right bytes."""
    few = settings(max_examples=20, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(DeliveryMachine, settings=few)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_shard_is_lost_in_long_histories() -> None:
    """The same, many times."""
    many = settings(max_examples=500, stateful_step_count=60, deadline=None)
    run_state_machine_as_test(DeliveryMachine, settings=many)
