"""The autoscaler on the strict server: counts by the ledger, races, lost answers, ends."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.ledger import autoscaler_note
from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import read_shard_status
from delivery.messages import now
from infra.autoscaler import Autoscaler
from infra.queue_pools import AUTOSCALER
from infra.scaling_policy import Caps
from runtime.errors import UnreachableError, UsageError
from tests.support.google_server import GoogleServer
from tests.support.scaled_pools import REGION, make_autoscaler, make_pools, pool_name
from tests.support.three_shard_run import LARGE, SMALL, three_shard_run, write_receipt

QUEUE = "pubsub://some-project/brain"
TIERS = (SMALL, LARGE)
WATCHED_S = 180.0


class Scaled:
    """Pools of two tiers with an autoscaler, and runs in their queue."""

    def __init__(self, google: GoogleServer, folder: Path) -> None:
        self.google, self.folder = google, folder
        make_pools(QUEUE, TIERS)
        google.seen.clear()
        self.autoscaler = self.another()
        self._runs = 0

    def another(self, caps: Caps | None = None) -> Autoscaler:
        """Another autoscaler of the same pools, as after a restart."""
        return make_autoscaler(QUEUE, self.folder, TIERS, caps)

    def begin_run(self) -> Run:
        """A planned run of two shards of the smaller tier and one from both."""
        self._runs += 1
        return three_shard_run(self.folder, f"r{self._runs}", queue=QUEUE)

    def finish(self, run: Run) -> None:
        """Receipts of all shards of a run."""
        for key in ("s0/0", "s0/1"):
            write_receipt(run, key)
        inputs = read_shard_status(run, "s1/0").inputs
        write_receipt(run, "s1/0", inputs=dict(inputs))

    def count(self, which: str) -> int:
        """Instances of a pool."""
        return self.google.worker_pools.count(pool_name(QUEUE, which))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Instances of both tiers and of the autoscaler."""
        return self.count(SMALL), self.count(LARGE), self.count(AUTOSCALER)


def until_over(autoscaler: Autoscaler) -> bool:
    """Whether it ends within a few looks."""
    return any(autoscaler.tick(WATCHED_S).over for _ in range(6))


@pytest.fixture
def scaled(google_server: GoogleServer, tmp_path: Path) -> Iterator[Scaled]:
    """On a server of its own."""
    found = Scaled(google_server, tmp_path)
    yield found
    found.autoscaler.close()


def test_counts_follow_the_ledger_up_and_to_0(scaled: Scaled) -> None:
    """A worker for each of the last shards; at the end all pools are at 0, the own one last."""
    run = scaled.begin_run()
    assert scaled.another().tick(WATCHED_S, start=True).counts == {SMALL: 2, LARGE: 0}
    assert scaled.counts == (2, 0, 1)
    write_receipt(run, "s0/0")
    assert not scaled.autoscaler.tick(WATCHED_S).over
    assert scaled.counts == (2, 0, 1)  # never down in between
    scaled.finish(run)
    assert not scaled.autoscaler.tick(WATCHED_S).over
    assert scaled.counts == (0, 0, 1)
    assert scaled.autoscaler.tick(WATCHED_S).over
    assert scaled.counts == (0, 0, 0)
    writes = len(scaled.google.writes())
    assert scaled.another().tick(WATCHED_S).over
    assert len(scaled.google.writes()) == writes  # what is so is not written again


def test_an_escalated_shard_starts_the_larger_tier(scaled: Scaled) -> None:
    """By its placement alone: no metric is needed, and no worker of that tier."""
    run = scaled.begin_run()
    write_receipt(run, "s0/0")
    run.placements.note("s0/1", LARGE, read_shard_status(run, "s0/1").inputs_digest)
    look = scaled.autoscaler.tick(WATCHED_S)
    assert look.left is not None
    assert look.left[LARGE].ready == 1
    assert scaled.count(LARGE) == 1
    beat = Heartbeat(worker="w", tier=SMALL, key="s0/1", at=now())
    run.write_heartbeat(beat)  # such as one of a message that came twice
    look = scaled.autoscaler.tick(WATCHED_S)
    assert look.left is not None
    assert look.left[SMALL].ready == 1


def test_an_idle_instance_gives_way_to_an_escalated_shard(scaled: Scaled) -> None:
    """Which its shard waits for, where a cap on all is used up; who publishes stops nothing."""
    caps = Caps(total=2)
    run = scaled.begin_run()
    scaled.another(caps).tick(WATCHED_S, start=True)
    write_receipt(run, "s0/0")
    run.placements.note("s0/1", LARGE, read_shard_status(run, "s0/1").inputs_digest)
    scaled.another(caps).tick(WATCHED_S, start=True)
    assert scaled.counts == (2, 0, 1)
    scaled.another(caps).tick(WATCHED_S)
    assert scaled.counts == (1, 1, 1)


def test_a_ledger_that_cannot_be_read_changes_nothing(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither up nor down nor an end."""
    scaled.google.worker_pools.set_count(pool_name(QUEUE, SMALL), 3)

    def refuse(*_: object, **__: object) -> None:
        raise UnreachableError("the bucket is away")

    monkeypatch.setattr("infra.queue_runs.QueueRuns.read", refuse)
    look = scaled.autoscaler.tick(WATCHED_S)
    assert (look.left, look.over, scaled.counts) == (None, False, (3, 0, 0))


def test_caps_bound_what_is_added(scaled: Scaled) -> None:
    """Dollars per hour, here for a single small instance."""
    scaled.begin_run()
    price = 0.05
    look = scaled.another(Caps(dollars_per_hour=price)).tick(WATCHED_S)
    assert look.counts == {SMALL: 1, LARGE: 0}
    assert scaled.another(Caps(per_tier=0)).tick(WATCHED_S).counts == {SMALL: 1, LARGE: 0}


@pytest.mark.parametrize("seed", range(100))
def test_an_enqueue_in_the_middle_of_to_0(scaled: Scaled, seed: int) -> None:
    """Whichever request of the autoscaler it comes before, the new run's workers stay."""
    chance = random.Random(seed)
    scaled.finish(scaled.begin_run())
    for which, count in ((SMALL, 2), (LARGE, chance.randrange(2)), (AUTOSCALER, 1)):
        scaled.google.worker_pools.set_count(pool_name(QUEUE, which), count)
    begun: list[Run] = []

    def enqueue(_call: object) -> None:
        begun.append(scaled.begin_run())
        scaled.another().tick(WATCHED_S, start=True)

    method = chance.choice(["workerPools.list", "workerPools.patch"])
    skipped = chance.randrange(3)
    for _ in range(skipped):
        scaled.google.before(method, lambda _call: None)
    scaled.google.before(method, enqueue)
    until_over(scaled.autoscaler)
    scaled.google.heal()
    if not begun:  # it came after the end
        enqueue(None)
    for _ in range(2):
        assert not scaled.autoscaler.tick(WATCHED_S).over
    assert scaled.counts[0] >= 2
    assert scaled.count(AUTOSCALER) == 1
    scaled.finish(begun[0])
    assert until_over(scaled.autoscaler)
    assert scaled.counts == (0, 0, 0)


@pytest.mark.parametrize("how", ["reset", "lost"])
@pytest.mark.parametrize("step", range(8))
def test_killed_at_every_step_the_next_one_goes_on(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch, how: str, step: int
) -> None:
    """Before or after any request; the pools end at 0 however often that happens."""
    monkeypatch.setenv("STORAGE_RETRY_S", "0")
    run = scaled.begin_run()
    steps = 0

    def tick(*, start: bool = False) -> bool:
        nonlocal steps
        steps += 1
        if steps == step + 1:
            scaled.google.fail("workerPools", 1, how)
        another = scaled.another()
        try:
            return another.tick(WATCHED_S, start=start).over
        except UnreachableError:
            return False
        finally:
            another.close()

    tick(start=True)
    for _ in range(3):
        tick()
    assert scaled.count(SMALL) == 2
    scaled.finish(run)
    for _ in range(6):
        if tick():
            break
    assert scaled.counts[:2] == (0, 0)
    tick()
    assert scaled.counts == (0, 0, 0)


def test_a_run_that_nothing_is_heard_of_does_not_cost_for_ever(
    google_server: GoogleServer, tmp_path: Path
) -> None:
    """Published again twice, then given up: to 0, and why is noted for `status`."""
    make_pools(QUEUE, TIERS)
    run = three_shard_run(tmp_path, queue=QUEUE)
    time_s = [0.0]
    autoscaler = make_autoscaler(QUEUE, tmp_path, TIERS, clock=lambda: time_s[0])
    for _ in range(4):
        assert not autoscaler.tick(WATCHED_S).over
        time_s[0] += 400
    assert until_over(autoscaler)
    assert google_server.worker_pools.count(pool_name(QUEUE, SMALL)) == 0
    assert "nothing was heard" in (autoscaler.given_up or "")
    note = autoscaler_note.read(run.state, QUEUE)
    assert note is not None
    assert note.given_up == autoscaler.given_up
    name = pool_name(QUEUE, SMALL)
    google_server.worker_pools.set_count(name, 1)  # as the same `enqueue` does
    assert autoscaler.tick(WATCHED_S).counts[SMALL] >= 2
    for _ in range(4):
        time_s[0] += 400
        autoscaler.tick(WATCHED_S)
    assert until_over(autoscaler)
    three_shard_run(tmp_path, "r2", queue=QUEUE)  # another run brings new hope
    assert autoscaler.tick(WATCHED_S).counts[SMALL] >= 4
    autoscaler.close()


def test_the_pool_of_the_autoscaler_is_made_and_kept_at_the_workers_version(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever publishes work; then it has one instance."""
    name, pools = pool_name(QUEUE, AUTOSCALER), scaled.google.worker_pools
    pools.found.remove(name)
    scaled.begin_run()
    scaled.another().tick(WATCHED_S, start=True)
    assert scaled.counts == (2, 0, 1)
    container = pools.found.get(name)["template"]["containers"][0]
    assert container["args"] == ["infra", "autoscale", "--until-stopped"]
    assert {"name": "REGION", "value": REGION} in container["env"]
    creations = scaled.google.count("workerPools.create")
    for tier in TIERS:
        changed = pools.found.get(pool_name(QUEUE, tier))
        changed["template"]["containers"][0]["image"] = "other@sha256:" + "1" * 64
        pools.found.put(pool_name(QUEUE, tier), changed)
    monkeypatch.setenv("MAX_INSTANCES", "7")
    for _ in range(2):
        scaled.another().tick(WATCHED_S, start=True)
    container = pools.found.get(name)["template"]["containers"][0]
    assert container["image"].startswith("other@")
    assert {"name": "MAX_INSTANCES", "value": "7"} in container["env"]
    assert scaled.count(AUTOSCALER) == 1
    assert pools.found.get(name)["latestCreatedRevision"].endswith("/3")  # once, not twice
    assert scaled.google.count("workerPools.create") == creations


def test_in_its_own_pool_it_starts_nothing_while_it_is_stopped(
    scaled: Scaled, tmp_path: Path
) -> None:
    """Cloud Run starts again what ends, also a moment before it stops it."""
    scaled.begin_run()
    autoscaler = make_autoscaler(QUEUE, tmp_path, TIERS, in_own_pool=True)
    assert not autoscaler.tick(WATCHED_S).over
    assert scaled.counts == (0, 0, 0)
    scaled.another().tick(WATCHED_S, start=True)
    autoscaler.tick(WATCHED_S)
    assert scaled.counts == (2, 0, 1)
    autoscaler.close()


def test_without_the_right_to_make_it_the_workers_start_all_the_same(scaled: Scaled) -> None:
    """`status` then tells that they are not watched."""
    scaled.google.worker_pools.found.remove(pool_name(QUEUE, AUTOSCALER))
    scaled.begin_run()
    scaled.google.fail("workerPools.create", 5, 403)
    assert scaled.another().tick(WATCHED_S, start=True).counts[SMALL] == 2
    assert scaled.count(SMALL) == 2


def test_without_pools_the_way_is_said(google_server: GoogleServer, tmp_path: Path) -> None:
    """Another queue's pools are none."""
    del google_server
    make_pools("pubsub://some-project/brain-2", TIERS)
    with pytest.raises(UsageError, match="has no worker pools"):
        make_autoscaler(QUEUE, tmp_path, TIERS).tick(WATCHED_S)
