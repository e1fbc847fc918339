"""A lease: extended in time, and known to be lost by the worker's own clock."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.worker.lease import Lease
from delivery.broker import open_broker
from delivery.broker.base import Broker, Delivery
from delivery.messages import ShardMessage
from runtime.errors import UnreachableError
from tests.support.waiting import wait_for

LEASE_S = 3.0  # of a real queue; a busy machine may stop a thread for a second
DEADLINE_S = 60.0


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """The present."""
        return self.now_s


class Extending:
    """The one thing a lease asks of a broker, as the network may answer it."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        self._answer = answer
        self.asked = 0

    def extend(self, _delivery: Delivery) -> bool:
        """Answer as the test says."""
        self.asked += 1
        return self._answer()


def leased(clock: Clock, answer: Callable[[], bool]) -> tuple[Lease, Extending]:
    """A lease received at the clock's present, on a broker that answers so."""
    broker = Extending(answer)
    delivery = Delivery("2gi", b"", {}, 1, "1/a", clock.now_s)
    return Lease(broker, delivery, DEADLINE_S, clock), broker  # type: ignore[arg-type]  # one method


def unreachable() -> bool:
    """A network that does not answer."""
    raise UnreachableError("no network")


def test_a_lease_is_lost_before_its_deadline() -> None:
    """The margin keeps a worker from publishing in the last moments of its lease."""
    clock = Clock()
    lease, _ = leased(clock, lambda: True)
    clock.now_s += DEADLINE_S * 0.89
    assert not lease.lost()
    clock.now_s += DEADLINE_S * 0.02
    assert lease.lost()


def test_an_extension_counts_from_when_it_was_asked() -> None:
    """An answer that travels long confirms only what was true when the question left."""
    clock = Clock()

    def slowly() -> bool:
        clock.now_s += 20
        return True

    lease, _ = leased(clock, slowly)
    clock.now_s += 10
    assert lease.extend()
    clock.now_s += 35  # 55 s after the question, 35 s after the answer
    assert lease.lost()


def test_an_extension_keeps_the_lease() -> None:
    """With each confirmation the deadline begins anew."""
    clock = Clock()
    lease, _ = leased(clock, lambda: True)
    for _ in range(10):
        clock.now_s += 40
        assert lease.extend()
    assert not lease.lost()


def test_an_unreachable_broker_loses_the_lease_only_with_time() -> None:
    """Trouble is tried again until the clock says that the lease is gone."""
    clock = Clock()
    lease, broker = leased(clock, unreachable)
    clock.now_s += 30
    assert not lease.extend()
    assert not lease.lost()
    clock.now_s += 30
    assert lease.lost()
    assert broker.asked == 1


def test_a_lost_lease_stays_lost() -> None:
    """The broker extends an expired lease and says yes: that must not bring it back."""
    clock = Clock()
    lease, broker = leased(clock, lambda: True)
    clock.now_s += DEADLINE_S
    assert not lease.extend()
    assert lease.lost()
    assert broker.asked == 0


def test_an_answer_after_the_deadline_does_not_count() -> None:
    """The lease ran out while the question was under way."""
    clock = Clock()

    def late() -> bool:
        clock.now_s += 50
        return True

    lease, _ = leased(clock, late)
    clock.now_s += 20
    assert not lease.extend()
    assert lease.lost()


def test_a_broker_that_knows_better_is_believed() -> None:
    """The embedded broker can tell that a lease is someone else's."""
    clock = Clock()
    lease, _ = leased(clock, lambda: False)
    assert not lease.extend()
    assert lease.lost()


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """A real queue with one message and short leases."""
    broker = open_broker(f"sqlite:{tmp_path}/queue.db", ["2gi"], LEASE_S)
    broker.publish("2gi", [ShardMessage(run="/run", key="s0/0", kind="convert")])
    return broker


def test_the_thread_keeps_a_real_lease(broker: Broker) -> None:
    """Work of more than a deadline is never delivered to another worker."""
    delivery = broker.lease("2gi")
    assert delivery is not None
    with Lease(broker, delivery, LEASE_S) as lease:
        assert broker.lease("2gi", wait_s=LEASE_S + 1) is None
        assert not lease.lost()
    assert broker.ack(delivery)


def test_without_the_thread_another_worker_gets_the_message(broker: Broker) -> None:
    """The real queue delivers again, and the lease knows without being told."""
    delivery = broker.lease("2gi")
    assert delivery is not None
    lease = Lease(broker, delivery, LEASE_S)
    assert broker.lease("2gi", wait_s=60.0) is not None
    assert lease.lost()


def test_the_thread_ends_with_the_block(broker: Broker) -> None:
    """A message that was acked is not extended for ever."""
    delivery = broker.lease("2gi")
    assert delivery is not None
    with Lease(broker, delivery, LEASE_S):
        pass
    wait_for(lambda: not any(t.name == "lease" for t in threading.enumerate()), "its end")
