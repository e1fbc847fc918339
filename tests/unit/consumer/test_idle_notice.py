"""A worker without work logs why: where there is some by the ledger, or that no run is found."""

from pathlib import Path

import structlog.testing

from consumer.idle_notice import FIRST_S, MOST_S, IdleNotice
from consumer.run_discovery import discover_runs
from tests.support.three_shard_run import three_shard_run, write_receipt


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The present."""
        return self.now_s


def notice(folder: Path, tier: str, clock: Clock) -> IdleNotice:
    """Of a worker of this tier."""
    return IdleNotice(tier, discover_runs(None, None, [str(folder / "dest.runs")]), clock)


def said(one: IdleNotice) -> list[str]:
    """What one tick logs."""
    with structlog.testing.capture_logs() as logs:
        one.tick()
    return [log["reason"] for log in logs if log["event"] == "worker_idle"]


def test_it_says_where_shards_wait(tmp_path: Path) -> None:
    """Not at once, then ever more rarely."""
    three_shard_run(tmp_path)
    clock = Clock()
    one = notice(tmp_path, "4gi", clock)
    assert said(one) == []
    clock.now_s = FIRST_S
    assert said(one) == ["nothing for 4gi; ready: 2 shards at 512mi"]
    assert said(one) == []
    clock.now_s += 2 * FIRST_S
    assert len(said(one)) == 1
    clock.now_s += 2 * FIRST_S
    assert said(one) == []
    clock.now_s += MOST_S
    assert len(said(one)) == 1


def test_it_is_silent_where_its_own_tier_has_work(tmp_path: Path) -> None:
    """Another worker may have leased it; and where nothing is ready at all."""
    run = three_shard_run(tmp_path)
    clock = Clock()
    own, other = notice(tmp_path, "512mi", clock), notice(tmp_path, "4gi", clock)
    clock.now_s = FIRST_S
    assert said(own) == []
    for key in ("s0/0", "s0/1"):
        write_receipt(run, key)
    write_receipt(run, "s1/0", inputs=dict.fromkeys(("s0/0", "s0/1"), "AAAAAA=="))
    assert said(other) == []


def test_it_says_that_no_run_is_found(tmp_path: Path) -> None:
    """Until one is enqueued, which may wait for other tiers."""
    clock = Clock()
    queue = f"sqlite:{tmp_path}/queue.db"
    roots = [str(tmp_path / "dest.runs")]
    one = IdleNotice("4gi", discover_runs(queue, None, roots), clock)
    clock.now_s = FIRST_S
    assert said(one) == [f"no run of the queue {queue} below {roots[0]}"]
    three_shard_run(tmp_path)
    clock.now_s += 2 * FIRST_S
    assert said(one) == ["nothing for 4gi; ready: 2 shards at 512mi"]


def test_work_begins_it_anew(tmp_path: Path) -> None:
    """The time without work counts from the last shard."""
    three_shard_run(tmp_path)
    clock = Clock()
    one = notice(tmp_path, "4gi", clock)
    clock.now_s = FIRST_S - 1
    one.reset()
    clock.now_s = FIRST_S
    assert said(one) == []
    clock.now_s = 2 * FIRST_S
    assert len(said(one)) == 1
