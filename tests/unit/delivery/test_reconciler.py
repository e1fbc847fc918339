"""The reconciler: missed dependents, stalled runs, and why a run is given up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import DEAD, Broker
from delivery.ledger.run import Heartbeat
from delivery.ledger.shard_status import read_status
from delivery.messages import ShardMessage
from delivery.reconciler import Reconciler
from delivery.stall_detector import StallAction
from tests.support.ledgers import TIERS, at, finish, low_tier, made_run, pyramid

LEASE_S = 10.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker on empty queues."""
    with open_broker(f"sqlite:{tmp_path}/queue.db", TIERS, LEASE_S) as broker:
        yield broker


def waiting(broker: Broker) -> int | None:
    """Messages of the smallest tier."""
    return broker.backlog(TIERS[0]).waiting


def test_a_missed_dependent_is_published_by_any_tick(tmp_path: Path, broker: Broker) -> None:
    """Once, whatever the stall detector says."""
    run = made_run(tmp_path / "runs")
    finish(run, "s0/00")
    finish(run, "s0/01")
    reconciler = Reconciler(broker, lambda _: low_tier)
    for _ in range(2):
        result = reconciler.tick(run, read_status(run))
        assert (result.action, list(result.republished)) == (StallAction.WAIT, [])
        assert waiting(broker) == 1


def test_a_stalled_run_is_republished_twice_and_given_up(tmp_path: Path, broker: Broker) -> None:
    """The result has the republished keys, the number of workers, and in the end the reason."""
    run = made_run(tmp_path / "runs", pyramid(16))
    run.write_heartbeat(Heartbeat(worker="w", tier=TIERS[0], at=at(1)))
    now_s = 0.0
    reconciler = Reconciler(broker, lambda _: low_tier, lambda: now_s)
    results = []
    for _ in range(4):
        results.append(reconciler.tick(run, read_status(run)))
        now_s += 2 * LEASE_S
    again = StallAction.REPUBLISH
    assert [one.action for one in results] == [StallAction.WAIT, again, again, StallAction.GIVE_UP]
    assert [len(one.republished) for one in results] == [0, 16, 16, 0]
    assert {one.workers for one in results} == {1}
    assert {one.reason for one in results[:3]} == {""}
    assert results[3].reason == (
        f"run {run.run_id}: nothing was heard for 60 s, and publishing again 2 times did not "
        "help; open: s0/00, s0/01, s0/02, s0/03, s0/04 and 20 more"
    )


def test_each_run_stalls_by_itself(tmp_path: Path, broker: Broker) -> None:
    """Activity of one run is none of another."""
    runs = [made_run(tmp_path / "runs") for _ in range(2)]
    now_s = 0.0
    reconciler = Reconciler(broker, lambda _: low_tier, lambda: now_s)
    for run in runs:
        reconciler.tick(run, read_status(run))
    now_s += 2 * LEASE_S
    finish(runs[0], "s0/00")
    actions = [reconciler.tick(run, read_status(run)).action for run in runs]
    assert actions == [StallAction.WAIT, StallAction.REPUBLISH]


def test_dead_letters_are_drained_for_all_runs_at_once(tmp_path: Path, broker: Broker) -> None:
    """Into the ledger of each letter's own run."""
    runs = [made_run(tmp_path / "runs") for _ in range(2)]
    letters = [ShardMessage(run=r.uri, key="s0/00", kind="convert", reason="no") for r in runs]
    broker.publish(DEAD, letters)
    drained = Reconciler(broker, lambda _: low_tier).drain(runs[0].state)
    assert drained.keys == [(run.uri, "s0/00") for run in runs]
    assert all(run.failures.list().keys() == {"s0/00"} for run in runs)
