"""Heartbeats: progress shows soon after the start, and costs little later."""

import itertools
from pathlib import Path

import pytest

from consumer.worker import heartbeat
from consumer.worker.heartbeat import HeartbeatThread
from delivery.ledger.run import Heartbeat
from delivery.messages import now
from tests.support.three_shard_run import three_shard_run
from tests.support.waiting import wait_for


def test_progress_shows_long_before_the_period(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first heartbeat knows no chunk yet; the next ones come at once, not after a minute."""
    monkeypatch.setattr(heartbeat, "FIRST_S", 0.01)
    run = three_shard_run(tmp_path)
    numbers = itertools.count()

    def current() -> Heartbeat:
        return Heartbeat(worker="w", tier="512mi", key="s0/0", chunks=next(numbers), at=now())

    with HeartbeatThread(run, current, 60.0):
        wait_for(lambda: any(beat.chunks >= 3 for beat in run.heartbeats()), "a fourth heartbeat")


def test_no_pause_exceeds_the_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short leases need heartbeats that are as short."""
    monkeypatch.setattr(heartbeat, "FIRST_S", 100.0)
    run = three_shard_run(tmp_path)
    numbers = itertools.count()

    def current() -> Heartbeat:
        return Heartbeat(worker="w", tier="512mi", key="s0/0", chunks=next(numbers), at=now())

    with HeartbeatThread(run, current, 0.01):
        wait_for(lambda: any(beat.chunks >= 1 for beat in run.heartbeats()), "a second heartbeat")
