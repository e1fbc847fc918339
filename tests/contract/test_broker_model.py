"""The embedded broker against a model in memory, step by step."""

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from delivery.broker.base import DEAD, MAX_DELIVERIES, RETENTION_S, Backlog, Delivery
from delivery.broker.embedded import EmbeddedBroker
from delivery.messages import ShardMessage, decode

TIERS = ("2gi", "4gi", "8gi")
QUEUES = (*TIERS, DEAD)
LEASE_S = 10.0

queues = st.sampled_from(QUEUES)


@dataclass
class Copy:
    """Message in the model."""

    number: int
    tier: str
    key: str
    published: float
    attempts: int = 0
    until: float = 0.0
    holder: int | None = None
    acked: float | None = None


@dataclass
class Model:
    """Model of a broker: the rules, without a file."""

    copies: list[Copy] = field(default_factory=list)
    now: float = 1_700_000_000.0
    numbers: int = 0
    holders: int = 0

    def publish(self, tier: str, keys: list[str]) -> None:
        """New copies at the end of the queue; what was acked a week ago is gone."""
        for key in keys:
            self.numbers += 1
            self.copies.append(Copy(self.numbers, tier, key, self.now))

    def forget(self) -> None:
        """Drop what was acked a week ago."""
        limit = self.now - RETENTION_S
        self.copies = [one for one in self.copies if one.acked is None or one.acked >= limit]

    def lease(self, tier: str) -> Copy | None:
        """Lease the oldest copy that is free, after the backstop has moved copies on."""
        for one in [one for one in self.copies if self._struck(one)]:
            one.acked = self.now
            self.publish((*QUEUES, DEAD)[QUEUES.index(one.tier) + 1], [one.key])
        free = [one for one in self.copies if one.tier == tier and self._free(one)]
        if not free:
            return None
        found = min(free, key=lambda one: one.number)
        self.holders += 1
        found.attempts, found.until, found.holder = (
            found.attempts + 1,
            self.now + LEASE_S,
            self.holders,
        )
        return found

    def holds(self, number: int, holder: int) -> Copy | None:
        """The copy, if this holder has it still."""
        for one in self.copies:
            if one.number == number and one.holder == holder and one.acked is None:
                return one
        return None

    def seek(self, tier: str, to: float) -> None:
        """Drop what is older, revive what is not."""
        for one in self.copies:
            if one.tier != tier:
                continue
            if one.published < to and one.acked is None:
                one.acked = self.now
            elif one.published >= to and one.acked is not None:
                one.acked, one.attempts, one.until, one.holder = None, 0, 0.0, None

    def backlog(self, tier: str) -> Backlog:
        """Count waiting and leased copies."""
        there = [one for one in self.copies if one.tier == tier and one.acked is None]
        leased = sum(one.until > self.now for one in there)
        oldest = max((self.now - one.published for one in there), default=None)
        return Backlog(len(there) - leased, leased, oldest)

    def _free(self, one: Copy) -> bool:
        return one.acked is None and one.until <= self.now

    def _struck(self, one: Copy) -> bool:
        return self._free(one) and one.attempts >= MAX_DELIVERIES and one.tier != DEAD


Held = tuple[Delivery, int, int]  # the real one; the model's copy and holder


class BrokerMachine(RuleBasedStateMachine):
    """Every step is taken by both; both must answer the same."""

    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        """Two empty brokers."""
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - files that are lost
        self.directory = tempfile.mkdtemp(prefix="broker-model-", dir=base)
        self.model = Model()
        self.count = 0
        self.open()

    def open(self) -> None:
        """Another connection to the same file, as another process has."""
        path = Path(self.directory) / "queue.db"
        self.broker = EmbeddedBroker(path, TIERS, LEASE_S, lambda: self.model.now)

    @rule(tier=queues, count=st.integers(0, 3))
    def publish(self, tier: str, count: int) -> None:
        """Some messages, each with a name of its own."""
        keys = [f"s0/{self.count + number:04x}" for number in range(count)]
        self.count += count
        self.broker.publish(tier, [self.message(key) for key in keys])
        self.model.publish(tier, keys)
        self.model.forget()

    @rule(target=held, tier=queues)
    def lease(self, tier: str) -> Held:
        """The same message for both, at the same attempt."""
        found, expected = self.broker.lease(tier), self.model.lease(tier)
        if found is None or expected is None:
            assert found is None
            assert expected is None
            return Delivery(tier, b"", {}, 1, "0/none", 0.0), 0, 0
        assert decode(found.data).key == expected.key
        assert (found.tier, found.attempt) == (expected.tier, expected.attempts)
        assert expected.holder is not None
        return found, expected.number, expected.holder

    @rule(one=held)
    def extend(self, one: Held) -> None:
        """True exactly for the present holder."""
        expected = self.model.holds(one[1], one[2])
        assert self.broker.extend(one[0]) == (expected is not None)
        if expected is not None:
            expected.until = self.model.now + LEASE_S

    @rule(one=held)
    def ack(self, one: Held) -> None:
        """Ack; True exactly for the present holder."""
        expected = self.model.holds(one[1], one[2])
        assert self.broker.ack(one[0]) == (expected is not None)
        if expected is not None:
            expected.acked = self.model.now

    @rule(one=held)
    def nack(self, one: Held) -> None:
        """Nack; True exactly for the present holder."""
        expected = self.model.holds(one[1], one[2])
        assert self.broker.nack(one[0]) == (expected is not None)
        if expected is not None:
            expected.until, expected.holder = 0.0, None

    @rule(one=consumes(held), tier=queues)
    def hand_over(self, one: Held, tier: str) -> None:
        """Publish to the other tier; ack for the present holder."""
        key = f"s0/{self.count:04x}"
        self.count += 1
        expected = self.model.holds(one[1], one[2])
        assert self.broker.hand_over(one[0], tier, self.message(key)) == (expected is not None)
        self.model.publish(tier, [key])
        if expected is not None:
            expected.acked = self.model.now

    @rule(seconds=st.sampled_from([0.5, 4.0, LEASE_S, LEASE_S + 0.5, 3 * 86_400.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.model.now += seconds

    @rule(tier=queues, seconds=st.sampled_from([0.0, 0.5, 4.5, 20.0, 86_400.0, 1e6]))
    def seek(self, tier: str, seconds: float) -> None:
        """Back in time, or to the present."""
        to = self.model.now - seconds
        self.broker.seek(tier, datetime.fromtimestamp(to, UTC))
        self.model.seek(tier, to)

    @rule()
    def restart(self) -> None:
        """Another process takes over; leases and messages stay."""
        self.broker.close()
        self.open()

    @invariant()
    def backlogs_agree(self) -> None:
        """Counts are exact after every step."""
        for tier in QUEUES:
            assert self.broker.backlog(tier) == self.model.backlog(tier)

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "directory"):
            self.broker.close()
            shutil.rmtree(self.directory)

    @staticmethod
    def message(key: str) -> ShardMessage:
        """A message about this shard."""
        return ShardMessage(run="/runs/r1", key=key, kind="convert")


def test_the_broker_agrees_with_the_model() -> None:
    """Random histories; the long run is one of the slow tests."""
    few = settings(max_examples=20, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(BrokerMachine, settings=few)


@pytest.mark.slow
def test_the_broker_agrees_with_the_model_for_long() -> None:
    """The same, many times."""
    many = settings(max_examples=200, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(BrokerMachine, settings=many)
