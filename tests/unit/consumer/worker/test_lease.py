"""Lease: renewal in the background, expiry by the worker's own clock."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.worker.lease import Lease
from delivery.broker import open_broker
from delivery.broker.base import Broker, Delivery
from delivery.messages import ShardMessage
from runtime.errors import MachineError, UnreachableError
from tests.support.waiting import wait_for

LEASE_S = 1.0  # of a real queue
DEADLINE_S = 60.0


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """The time now."""
        return self.now_s


class ExtendingBroker:
    """The broker method that a lease calls, with the result that the test sets."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        self._answer = answer
        self.calls = 0

    def extend(self, _delivery: Delivery) -> bool:
        """Return what the test set."""
        self.calls += 1
        return self._answer()


def leased(
    clock: Clock, answer: Callable[[], bool], deadline_s: float = DEADLINE_S
) -> tuple[Lease, ExtendingBroker]:
    """A lease received now, of a broker that answers so."""
    broker = ExtendingBroker(answer)
    delivery = Delivery("2gi", b"", {}, 1, "1/a", clock.now_s)
    return Lease(broker, delivery, deadline_s, clock), broker  # type: ignore[arg-type]  # one method


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


def test_an_extension_counts_from_its_request() -> None:
    """A slow response confirms only what was true when the request was sent."""
    clock = Clock()

    def slowly() -> bool:
        clock.now_s += 20
        return True

    lease, _ = leased(clock, slowly)
    clock.now_s += 10
    assert lease.extend()
    clock.now_s += 35  # 55 s after the request, 35 s after the response
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
    """Errors are retried until the lease has expired by the clock."""
    clock = Clock()
    lease, broker = leased(clock, unreachable)
    clock.now_s += 30
    assert not lease.extend()
    assert not lease.lost()
    clock.now_s += 30
    assert lease.lost()
    assert broker.calls == 1


def test_a_lost_lease_stays_lost() -> None:
    """A broker that would confirm the extension of an expired lease is not called."""
    clock = Clock()
    lease, broker = leased(clock, lambda: True)
    clock.now_s += DEADLINE_S
    assert not lease.extend()
    assert lease.lost()
    assert broker.calls == 0


def test_a_response_after_the_deadline_does_not_count() -> None:
    """The lease expired during the request."""
    clock = Clock()

    def late() -> bool:
        clock.now_s += 50
        return True

    lease, _ = leased(clock, late)
    clock.now_s += 20
    assert not lease.extend()
    assert lease.lost()


def test_a_refused_extension_loses_the_lease() -> None:
    """The embedded broker reports that another worker holds the message."""
    clock = Clock()
    lease, _ = leased(clock, lambda: False)
    assert not lease.extend()
    assert lease.lost()


def test_the_thread_renews_the_lease() -> None:
    """Again and again, while the block lasts."""
    lease, broker = leased(Clock(), lambda: True, deadline_s=0.03)
    with lease:
        wait_for(lambda: broker.calls >= 3, "three renewals")
    assert not lease.lost()


def test_the_thread_retries_a_failed_renewal() -> None:
    """While the lease holds."""
    lease, broker = leased(Clock(), unreachable, deadline_s=0.03)
    with lease:
        wait_for(lambda: broker.calls >= 3, "three attempts")
    assert not lease.lost()


def test_the_thread_ends_with_the_lease() -> None:
    """A lost lease is not extended any more."""
    lease, broker = leased(Clock(), lambda: False, deadline_s=0.03)
    with lease:
        lease._thread.join(60)
        assert not lease._thread.is_alive()
    assert broker.calls == 1


def test_the_thread_ends_with_the_block() -> None:
    """A message that was acked is not extended any more."""
    lease, _ = leased(Clock(), lambda: True, deadline_s=0.03)
    with lease:
        pass
    lease._thread.join(60)
    assert not lease._thread.is_alive()


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """A real queue with one message and short leases."""
    broker = open_broker(f"sqlite:{tmp_path}/queue.db", ["2gi"], LEASE_S)
    broker.publish("2gi", [ShardMessage(run="/run", key="s0/0", kind="convert")])
    return broker


def test_without_the_thread_another_worker_gets_the_message(broker: Broker) -> None:
    """The real queue delivers again, and the lease has expired by its own clock."""
    delivery = broker.lease("2gi")
    assert delivery is not None
    lease = Lease(broker, delivery, LEASE_S)
    assert broker.lease("2gi", wait_s=60.0) is not None
    assert lease.lost()


@pytest.mark.parametrize("lost", [True, False])
def test_a_worker_that_lives_learns_that_its_lease_was_lost(lost: bool) -> None:
    """Called once, whether the thread or the worker noticed first; never for a lease that held."""
    clock, calls = Clock(), []
    broker = ExtendingBroker(lambda: True)
    delivery = Delivery("2gi", b"", {}, 1, "1/a", clock.now_s)
    lease = Lease(broker, delivery, DEADLINE_S, clock, on_lost=lambda: calls.append(1))  # type: ignore[arg-type]  # one method
    with lease:
        clock.now_s += 3600 if lost else 1
        assert lease.lost() == lost
    lease._thread.join(60)
    assert len(calls) == lost


def test_without_a_thread_to_spare_there_is_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the machine, not a bug."""
    monkeypatch.setattr("threading.Thread.start", without_threads)
    lease, _ = leased(Clock(), lambda: True)
    with pytest.raises(MachineError, match="no thread to spare"), lease:
        pass


def without_threads(_thread: threading.Thread) -> None:
    """As CPython says it."""
    raise RuntimeError("can't start new thread")
