"""Stall detection: when a quiet run is republished, and when it is given up."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from delivery.ledger.run import Heartbeat
from delivery.ledger.shard_status import read_status
from delivery.stall_detector import StallAction, StallDetector, activity_fingerprint
from tests.support.ledgers import at, fail, finish, made_run

WAIT, AGAIN, GIVE_UP = StallAction.WAIT, StallAction.REPUBLISH, StallAction.GIVE_UP


def test_republish_twice_then_give_up() -> None:
    """Republish after two quiet leases; give up after two republishes."""
    detector = StallDetector(lease_s=60, now_s=1000)
    looks = [(1000, WAIT), (1119, WAIT), (1120, AGAIN), (1121, WAIT), (1239, WAIT), (1240, AGAIN)]
    for now_s, advice in [*looks, (1359, WAIT), (1360, GIVE_UP), (1361, GIVE_UP)]:
        assert detector.observe("silence", now_s) is advice


def test_activity_resets_the_detector() -> None:
    """Republishes count from the last activity."""
    detector = StallDetector(lease_s=1, now_s=0)
    assert detector.observe("a", 0) is WAIT
    assert detector.observe("a", 2) is AGAIN
    assert detector.republishes == 1
    assert detector.observe("b", 4) is WAIT
    assert detector.republishes == 0
    assert [detector.observe("b", now_s) for now_s in (6, 8, 10)] == [AGAIN, AGAIN, GIVE_UP]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 5)), max_size=60))
def test_an_active_run_is_never_given_up(steps: list[tuple[int, float]]) -> None:
    """Given up is only after three quiet times of two leases each since the last activity."""
    detector = StallDetector(lease_s=1, now_s=0)
    now_s, heard_s, sign = 0.0, 0.0, None
    for one, step in steps:
        now_s += step
        if one != sign:
            sign, heard_s = one, now_s
        advice = detector.observe(one, now_s)
        if advice is not WAIT:
            assert now_s - heard_s >= 2
        if advice is GIVE_UP:
            assert now_s - heard_s >= 6


def test_receipts_failures_and_heartbeats_are_activity(tmp_path: Path) -> None:
    """Each of them changes the fingerprint; reading again does not."""
    run = made_run(tmp_path)
    fingerprints = [activity_fingerprint(read_status(run), run.heartbeats())]
    assert activity_fingerprint(read_status(run), run.heartbeats()) == fingerprints[0]
    finish(run, "s0/00")
    fingerprints.append(activity_fingerprint(read_status(run), run.heartbeats()))
    finish(run, "s0/00", redo=1, finished=at(99))
    fingerprints.append(activity_fingerprint(read_status(run), run.heartbeats()))
    fail(run, "s0/01")
    fingerprints.append(activity_fingerprint(read_status(run), run.heartbeats()))
    for seconds in (1, 2):
        run.write_heartbeat(Heartbeat(worker="w", tier="2gi", at=at(seconds)))
        fingerprints.append(activity_fingerprint(read_status(run), run.heartbeats()))
    assert len(set(fingerprints)) == len(fingerprints)
