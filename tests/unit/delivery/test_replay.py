"""Replay and requeue: what is published again, and what is left alone."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from delivery import replay
from delivery.broker import open_broker
from delivery.broker.base import DEAD, Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from delivery.messages import Hop, ShardMessage, decode, now
from runtime.errors import UsageError
from tests.support.ledgers import TIERS, at, fail, finish, low_tier, made_run, pyramid, row

LOW, HIGH = TIERS


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker on empty queues."""
    with open_broker(f"sqlite:{tmp_path}/queue.db", TIERS, 60) as broker:
        yield broker


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of seven shards on three scales."""
    return made_run(tmp_path / "runs", created=now())


def taken(broker: Broker, tier: str = LOW) -> list[ShardMessage]:
    """Everything that waits on a tier, acked."""
    found = []
    while (delivery := broker.lease(tier)) is not None:
        found.append(decode(delivery.data))
        broker.ack(delivery)
    return found


def test_missing_publishes_every_ready_shard(run: Run, broker: Broker) -> None:
    """Ready without a receipt, in spite of publish markers; nothing that waits or is done."""
    for key in ("s0/00", "s0/01", "s0/02"):
        finish(run, key)
    run.mark_published("s1/00", LOW, read_status(run).inputs_digest(run.plan.row("s1/00")))
    assert sorted(replay.missing(run, broker, low_tier)) == ["s0/03", "s1/00"]
    assert sorted(one.key for one in taken(broker)) == ["s0/03", "s1/00"]


def test_the_largest_shards_come_first(tmp_path: Path, broker: Broker) -> None:
    """Publishing order is by memory, then by bytes, so that the longest do not come last."""
    rows = [
        row("s0/00", estimated_bytes=5),
        row("s0/01", estimated_bytes=9, bytes_in=1),
        row("s0/02", estimated_bytes=9, bytes_in=2),
    ]
    run = made_run(tmp_path / "runs", rows)
    replay.missing(run, broker, low_tier)
    assert [one.key for one in taken(broker)] == ["s0/02", "s0/01", "s0/00"]


def test_a_tier_may_be_named(run: Run, broker: Broker) -> None:
    """`--tier` wins over the plan's."""
    replay.missing(run, broker, low_tier, tier=HIGH)
    assert len(taken(broker, HIGH)) == 4
    assert taken(broker) == []


def test_missing_marks_dependents(run: Run, broker: Broker) -> None:
    """What replay published is not published again by the next cascade."""
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    replay.missing(run, broker, low_tier)
    marker = run.publish_marker("s1/00")
    assert marker is not None
    assert marker.inputs_digest == read_status(run).inputs_digest(run.plan.row("s1/00"))
    assert run.publish_marker("s0/02") is None


def test_a_cancelled_run_is_not_replayed(run: Run, broker: Broker) -> None:
    """Its workers would only ack."""
    run.cancel("enough")
    with pytest.raises(UsageError, match="was cancelled"):
        replay.missing(run, broker, low_tier)


def test_requeue_publishes_then_removes_the_record(run: Run, broker: Broker) -> None:
    """A dead shard goes back to the tier it died on, with its history, and is ready again."""
    hop = Hop(tier=HIGH, reason="broken", at=at(1), worker="w", attempt=2)
    fail(run, "s0/00", tier=HIGH, history=(hop,))
    assert replay.failed(run, broker, low_tier) == ["s0/00"]
    assert [one.history for one in taken(broker, HIGH)] == [(hop,)]
    assert run.failures.list() == {}
    assert read_status(run).states["s0/00"] is ShardState.READY


def test_requeue_of_what_fitted_no_tier_asks_the_chooser(run: Run, broker: Broker) -> None:
    """A shard that died on no tier has none to go back to."""
    fail(run, "s0/00", tier="")
    replay.failed(run, broker, low_tier)
    assert [one.key for one in taken(broker)] == ["s0/00"]


def test_requeue_leaves_what_was_given_up_unless_named(run: Run, broker: Broker) -> None:
    """`--failed` and `--all` respect a decision; a key takes it back."""
    fail(run, "s0/00")
    run.failures.drop("s0/00")
    assert replay.failed(run, broker, low_tier) == []
    assert replay.failed(run, broker, low_tier, keys=["s0/00"], tier=LOW) == ["s0/00"]
    assert read_status(run).states["s0/00"] is ShardState.READY


def test_requeue_of_a_live_shard_is_wrong_use(run: Run, broker: Broker) -> None:
    """Nothing is published when one of the keys is not dead."""
    fail(run, "s0/00")
    with pytest.raises(UsageError, match="s0/01 is not a dead letter"):
        replay.failed(run, broker, low_tier, keys=["s0/00", "s0/01"])
    assert taken(broker, HIGH) == []


def test_since_brings_back_what_was_acked(run: Run, broker: Broker) -> None:
    """Messages since the time come again; missing shards are published beside them."""
    replay.missing(run, broker, low_tier)
    for key in [one.key for one in taken(broker)][:2]:
        finish(run, key)
    replay.since(run, broker, low_tier, now() - timedelta(minutes=1))
    found = [one.key for one in taken(broker)]
    assert set(found) == {"s0/00", "s0/01", "s0/02", "s0/03", "s1/00"}


def test_since_loses_nothing_that_waits(
    run: Run, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seek to now would drop what another unfinished run published before: it goes further."""
    other = made_run(run.state_url, [row("s0/99")], run_id="older", created=now())
    replay.missing(other, broker, low_tier)
    later = now() + timedelta(hours=1)
    monkeypatch.setattr(broker, "_clock", later.timestamp)
    replay.since(run, broker, low_tier, later)
    assert {one.key for one in taken(broker)} == {"s0/99", *(f"s0/0{n}" for n in range(4))}


def test_since_drops_what_only_ended_runs_left(
    run: Run, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages of a run that has ended hold no seek back."""
    old = made_run(run.state_url, [row("s0/99")], run_id="old", created=at(0))
    monkeypatch.setattr(broker, "_clock", lambda: at(1).timestamp())
    replay.missing(old, broker, low_tier)
    finish(old, "s0/99")
    monkeypatch.setattr(broker, "_clock", lambda: now().timestamp())
    replay.since(run, broker, low_tier, now())
    assert "s0/99" not in {one.key for one in taken(broker)}


def test_since_with_redo_makes_a_stretch_again(run: Run, broker: Broker) -> None:
    """What was finished since the time is asked for again, and nothing older."""
    finish(run, "s0/00", finished=at(10))
    finish(run, "s0/01", finished=at(20))
    replay.since(run, broker, low_tier, at(15), redo=True)
    assert run.redo() == {"s0/01": 1}
    found = {one.key: one.redo for one in taken(broker)}
    assert found == {"s0/01": 1, "s0/02": 0, "s0/03": 0}


def test_since_with_redo_publishes_each_shard_once(run: Run, broker: Broker) -> None:
    """What waits in the queue is what is ready, although acked messages could be brought back."""
    replay.missing(run, broker, low_tier)
    keys = [one.key for one in taken(broker)]
    for key in keys:
        finish(run, key)
    assert replay.since(run, broker, low_tier, at(0), redo=True) == keys
    assert sorted(one.key for one in taken(broker)) == sorted(keys)


def test_shards_by_name(run: Run, broker: Broker) -> None:
    """Ready and done ones are published, dead ones requeued; what waits is said."""
    for key in ("s0/00", "s0/01", "s0/02"):
        finish(run, key)
    fail(run, "s0/03", tier=LOW)
    keys = ["s0/00", "s0/03", "s1/00", "s1/01", "s2/00", "s0/00"]
    result = replay.shards(run, broker, low_tier, keys)
    assert sorted(result.published) == ["s0/00", "s0/03", "s1/00"]
    assert sorted(one.key for one in taken(broker)) == ["s0/00", "s0/03", "s1/00"]
    assert result.left == {"s1/01": "blocked by s0/03", "s2/00": "blocked by s0/03"}
    assert run.failures.list() == {}


def test_shards_with_redo_are_made_again(run: Run, broker: Broker) -> None:
    """Redo is raised before the message that carries it is published."""
    for one in pyramid():
        finish(run, one.key)
    result = replay.shards(run, broker, low_tier, ["s0/00", "s1/01"], redo=True)
    assert result.published == ["s0/00", "s1/01"]
    assert run.redo() == {"s0/00": 1, "s1/01": 1}
    assert [(one.key, one.redo) for one in taken(broker)] == [("s0/00", 1), ("s1/01", 1)]
    assert read_status(run).keys(ShardState.READY) == ["s0/00", "s1/01"]


def test_an_empty_shard_cannot_be_made(tmp_path: Path, broker: Broker) -> None:
    """Nor asked for again."""
    run = made_run(tmp_path / "runs", [row("s0/00", state="empty")])
    result = replay.shards(run, broker, low_tier, ["s0/00"], redo=True)
    assert list(result.left) == ["s0/00"]
    assert run.redo() == {}


def test_unknown_shards_are_wrong_use(run: Run, broker: Broker) -> None:
    """A key that the plan does not know publishes nothing at all."""
    with pytest.raises(UsageError, match="no shard s0/77"):
        replay.shards(run, broker, low_tier, ["s0/00", "s0/77"])
    assert taken(broker) == []
    assert taken(broker, DEAD) == []
