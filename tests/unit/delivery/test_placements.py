"""Placements: where a shard's message is, when that is not its plan's tier."""

from pathlib import Path

from delivery import replay
from delivery.broker import open_broker
from delivery.ledger.shard_status import read_shard_status
from memmodel.run_context import tier_chooser
from tests.support.three_shard_run import LARGE, SMALL, three_shard_run
from tests.support.worker_harness import failed, worker_harness


def test_an_escalated_shard_is_noted_and_published_again_where_it_was(tmp_path: Path) -> None:
    """The worker's note comes with the message; a replay goes to the larger tier, too."""
    with worker_harness(tmp_path) as harness:
        harness.script(s0_0=[failed("memory")])
        harness.publish("s0/0")
        harness.deliver()
        placed = harness.run.placements.list()["s0/0"]
        assert (placed.key, placed.tier) == ("s0/0", LARGE)
        assert [one.key for one in harness.waiting(LARGE)] == ["s0/0"]
        replay.missing(harness.run, harness.broker, tier_chooser(harness.run))
        assert [one.key for one in harness.waiting(LARGE)] == ["s0/0"]
        assert [one.key for one in harness.waiting(SMALL)] == ["s0/1"]


def test_a_redo_begins_on_the_plans_tier(tmp_path: Path) -> None:
    """A note holds for the redo and the inputs that it was written for."""
    run = three_shard_run(tmp_path)
    run.placements.note("s0/0", LARGE, read_shard_status(run, "s0/0").inputs_digest)
    with open_broker(run.info.queue, run.info.tiers, 5) as broker:
        replay.shards(run, broker, tier_chooser(run), ["s0/0"])
        assert broker.backlog(LARGE).waiting == 1
        replay.shards(run, broker, tier_chooser(run), ["s0/0"], redo=True)
        assert (broker.backlog(LARGE).waiting, broker.backlog(SMALL).waiting) == (1, 1)


def test_a_tier_of_ones_own_choice_is_noted(tmp_path: Path) -> None:
    """Also back to the plan's; a choice that is the plan's anyway needs no note."""
    run = three_shard_run(tmp_path)
    with open_broker(run.info.queue, run.info.tiers, 5) as broker:
        replay.shards(run, broker, tier_chooser(run), ["s0/0"], tier=SMALL)
        assert not run.placements.list()
        for tier in (LARGE, SMALL):
            replay.shards(run, broker, tier_chooser(run), ["s0/0"], tier=tier)
            assert run.placements.list()["s0/0"].tier == tier


def test_a_damaged_note_counts_as_absent(tmp_path: Path) -> None:
    """The plan's tier is a fine second choice."""
    run = three_shard_run(tmp_path)
    run.storage.write("placed/s0/0.json", b"{")
    assert not run.placements.list()
