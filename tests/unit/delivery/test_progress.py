"""Progress: counts that are exact, rates and times that are honest."""

import json
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import DEAD, Backlog
from delivery.cascade import cascade_all
from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import read_status
from delivery.progress import Progress, measure, read_progress, ready_by_tier
from delivery.scale_progress import made_keys
from tests.support.ledgers import TIERS, at, fail, finish, low_tier, made_run, row


def progress(run: Run, seconds: float, **backlogs: Backlog) -> Progress:
    """Progress of a run, so long after the beginning."""
    return measure(run, read_status(run), run.heartbeats(), backlogs, at(seconds))


def test_counts_per_scale(tmp_path: Path) -> None:
    """Every shard that the run makes is counted once; present and empty ones beside them."""
    rows = [
        *(row(f"s0/0{number}") for number in range(4)),
        row("s0/04", state="present"),
        row("s0/05", state="empty"),
        row("s1/00", "s0/00", "s0/01"),
        row("s1/01", "s0/02", "s0/04"),
    ]
    run = made_run(tmp_path, rows)
    finish(run, "s0/00", chunks=5, bytes_in=10, bytes_out=100, labels=2, peak_bytes=7, cpu_s=1.5)
    finish(run, "s0/02", chunks=7, bytes_in=1, bytes_out=2, labels=3, peak_bytes=9)
    fail(run, "s0/01")
    low, high, top = progress(run, 60).scales
    assert (low.total, low.present, low.empty) == (4, 1, 1)
    assert (low.done, low.failed, low.ready, low.left) == (2, 1, 1, 1)
    assert (low.chunks, low.bytes_in, low.bytes_out, low.labels) == (12, 11, 102, 5)
    assert (low.seconds, low.cpu_s, low.wall_s, low.peak_bytes) == (10.0, 1.5, 5.0, 9)
    assert (high.total, high.blocked, high.ready) == (2, 1, 1)
    assert (top.scale, top.total) == (2, 0)


def test_a_remade_present_shard_is_work(tmp_path: Path) -> None:
    """Once asked for again, a present shard counts as one this run makes."""
    run = made_run(tmp_path, [row("s0/00", state="present")])
    assert (progress(run, 1).total, progress(run, 1).ended) == (0, True)
    run.raise_redo(["s0/00"])
    assert (progress(run, 1).total, progress(run, 1).done) == (1, 0)
    finish(run, "s0/00", redo=1)
    assert (progress(run, 1).total, progress(run, 1).done) == (1, 1)


def test_rates_are_of_the_last_minutes(tmp_path: Path) -> None:
    """Chunks per second count what was finished in the window, over the window's length."""
    run = made_run(tmp_path)
    finish(run, "s0/00", chunks=100, started=at(0), finished=at(100))
    finish(run, "s0/01", chunks=300, started=at(100), finished=at(200))
    assert progress(run, 200).chunks_per_s == 2.0
    assert progress(run, 750).chunks_per_s == pytest.approx(300 / 600)
    assert progress(run, 5000).chunks_per_s == 0.0


def test_the_time_left_is_work_over_hands(tmp_path: Path) -> None:
    """Two workers busy all the time, ten seconds a shard, eight shards to go: forty seconds."""
    run = made_run(tmp_path, [row(f"s0/{number:02x}") for number in range(12)])
    for number in range(4):
        begin = 10 * (number // 2)
        finish(run, f"s0/{number:02x}", started=at(begin), finished=at(begin + 10), seconds=10.0)
    assert progress(run, 20).eta_s == pytest.approx(40)


def test_scales_not_begun_take_the_last_mean(tmp_path: Path) -> None:
    """A scale without receipts is judged by the one below."""
    run = made_run(tmp_path, [row("s0/00"), row("s1/00", "s0/00")])
    finish(run, "s0/00", started=at(0), finished=at(10), seconds=10.0)
    assert progress(run, 10).scales[1].work_left_s == 10.0
    assert progress(run, 10).eta_s == pytest.approx(10)


def test_without_any_receipt_the_time_left_is_unknown(tmp_path: Path) -> None:
    """No estimate before the first shard, none without workers; zero at the end."""
    run = made_run(tmp_path, [row("s0/00"), row("s0/01")])
    assert progress(run, 10).eta_s is None
    finish(run, "s0/00")
    assert progress(run, 5000).eta_s is None
    finish(run, "s0/01")
    assert progress(run, 5000).eta_s == 0.0
    assert progress(run, 5000).ended


def test_in_flight_is_what_heartbeats_say(tmp_path: Path) -> None:
    """With its age; not what has a receipt since, nor idle workers."""
    run = made_run(tmp_path)
    for worker, key, seconds in (("a", "s0/00", 10), ("b", "s0/01", 700), ("c", None, 800)):
        beat = Heartbeat(worker=worker, tier="2gi", key=key, chunks=3, rss_bytes=4, at=at(seconds))
        run.write_heartbeat(beat)
    found = {one.worker: one for one in progress(run, 800).in_flight}
    assert {name: (one.key, one.age_s, one.stale) for name, one in found.items()} == {
        "a": ("s0/00", 790, True),
        "b": ("s0/01", 100, False),
    }
    assert progress(run, 800).workers == 2
    finish(run, "s0/00", finished=at(20))
    assert [one.worker for one in progress(run, 800).in_flight] == ["b"]


def test_backlogs_come_from_the_broker(tmp_path: Path) -> None:
    """Every tier and the dead letters are shown, and the whole is one JSON document."""
    run = made_run(tmp_path / "runs")
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    with open_broker(f"sqlite:{tmp_path}/queue.db", TIERS, 60) as broker:
        cascade_all(run, broker, low_tier)
        found = read_progress(run, broker, read_status(run), at(60))
    assert list(found.backlogs) == [*TIERS, DEAD]
    assert found.backlogs["2gi"].waiting == 1
    document = json.loads(found.model_dump_json())
    assert document["backlogs"]["4gi"] == {"waiting": 0, "leased": 0, "oldest_s": None}
    assert document["scales"][0]["done"] == 2


def test_unknown_stays_unknown(tmp_path: Path) -> None:
    """An unknown backlog is null, never zero."""
    found = json.loads(progress(made_run(tmp_path), 1, low=Backlog()).model_dump_json())
    assert found["backlogs"]["low"] == {"waiting": None, "leased": None, "oldest_s": None}


def test_the_rate_of_what_is_over_stays(tmp_path: Path) -> None:
    """A scale that is over has the rate of its whole time, and a run that has ended, too."""
    run = made_run(tmp_path, [row("s0/00"), row("s0/01"), row("s1/00", "s0/00", "s0/01")])
    finish(run, "s0/00", chunks=100, started=at(0), finished=at(10))
    finish(run, "s0/01", chunks=300, started=at(10), finished=at(20))
    for seconds in (25, 100, 5000):
        low, high = progress(run, seconds).scales[:2]
        assert low.chunks_per_s == low.chunks / low.wall_s == 20.0
        assert high.chunks_per_s == 0.0
    finish(run, "s1/00", chunks=50, started=at(20), finished=at(40))
    for seconds in (40, 5000):
        found = progress(run, seconds)
        assert found.chunks_per_s == 450 / 40
        assert [scale.chunks_per_s for scale in found.scales[:2]] == [20.0, 2.5]


def test_the_rate_of_a_scale_begins_with_it(tmp_path: Path) -> None:
    """A scale that began late is not judged by the time before."""
    run = made_run(tmp_path, [row("s0/00"), row("s1/00", "s0/00"), row("s1/01", "s0/00")])
    finish(run, "s0/00", chunks=100, started=at(0), finished=at(100))
    finish(run, "s1/00", chunks=40, started=at(100), finished=at(104))
    assert progress(run, 110).scales[1].chunks_per_s == 4.0


def test_an_ended_run_tells_its_times(tmp_path: Path) -> None:
    """First start, last finish or failure, and the time between; an open run has not ended."""
    run = made_run(tmp_path, [row("s0/00"), row("s0/01")])
    assert (progress(run, 1).started, progress(run, 1).took_s) == (None, None)
    finish(run, "s0/00", started=at(3), finished=at(10))
    assert (progress(run, 20).started, progress(run, 20).finished) == (at(3), None)
    fail(run, "s0/01", at=at(33))
    found = progress(run, 5000)
    assert (found.started, found.finished, found.took_s) == (at(3), at(33), 30.0)


def test_ready_shards_by_tier(tmp_path: Path) -> None:
    """By the plan's tier, else by the inputs; what waits, is done or dead is not counted."""
    rows = [row("s0/00"), row("s0/01", tier="4gi"), row("s0/02"), row("s0/03", tier="4gi")]
    run = made_run(tmp_path, [*rows, row("s1/00", "s0/00"), row("s1/01", "s0/01")])
    assert ready_by_tier(run, read_status(run), low_tier) == {"2gi": 2, "4gi": 2}
    finish(run, "s0/00")
    fail(run, "s0/03")
    assert ready_by_tier(run, read_status(run), low_tier) == {"2gi": 2, "4gi": 1}


def test_without_a_queue_backlogs_are_unknown(tmp_path: Path) -> None:
    """The ledger's part is there."""
    run = made_run(tmp_path)
    found = read_progress(run, None, read_status(run), at(1), low_tier)
    assert set(found.backlogs) == {*TIERS, DEAD}
    assert not any(backlog.known for backlog in found.backlogs.values())
    assert found.ready_by_tier == {"2gi": 4}


def test_made_keys_are_those_that_count(tmp_path: Path) -> None:
    """As many as the totals, after a present shard was requested again, too."""
    run = made_run(tmp_path, [row("s0/00"), row("s0/01", state="present")])
    assert made_keys(read_status(run)) == ["s0/00"]
    run.raise_redo(["s0/01"])
    assert made_keys(read_status(run)) == ["s0/00", "s0/01"]
    assert progress(run, 1).total == 2
