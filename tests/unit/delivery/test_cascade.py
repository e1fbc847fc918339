"""Cascade: each dependent is published once it is ready, whichever process died before."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import DEAD, Broker
from delivery.cascade import cascade, cascade_all
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.shard_status import ShardState, read_status
from delivery.messages import ShardMessage, decode
from delivery.publishing import Dead, Publication
from runtime.errors import UnreachableError
from tests.support.gcs_server import GcsServer
from tests.support.ledgers import TIERS, at, fail, finish, low_tier, made_run, row

PAIR = [row("s0/00"), row("s0/01"), row("s1/00", "s0/00", "s0/01")]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker on empty queues."""
    with open_broker(f"sqlite:{tmp_path}/queue.db", TIERS, 60) as broker:
        yield broker


def keys_of(publications: Sequence[Publication]) -> list[str]:
    """Keys in the order of publication."""
    return [publication.key for publication in publications]


def taken(broker: Broker, tier: str = TIERS[0]) -> list[ShardMessage]:
    """Everything that waits on a tier, acked."""
    found = []
    while (delivery := broker.lease(tier)) is not None:
        found.append(decode(delivery.data))
        broker.ack(delivery)
    return found


def test_the_worker_of_the_last_input_publishes_the_dependent(
    tmp_path: Path, broker: Broker
) -> None:
    """Not before, not twice, and with all that a worker needs to know."""
    run = made_run(tmp_path / "runs", PAIR)
    finish(run, "s0/00")
    assert cascade(run, broker, "s0/00", low_tier) == []
    finish(run, "s0/01")
    assert keys_of(cascade(run, broker, "s0/01", low_tier)) == ["s1/00"]
    assert cascade(run, broker, "s0/00", low_tier) == []
    assert cascade_all(run, broker, low_tier) == []
    assert taken(broker) == [ShardMessage(run=run.uri, key="s1/00", kind="downsample")]


def test_the_tier_comes_from_the_inputs_receipts(tmp_path: Path, broker: Broker) -> None:
    """The chooser sees the dependent's row and what its inputs turned out to be."""
    run = made_run(tmp_path / "runs", PAIR)
    seen = []

    def choose(planned: PlanRow, receipts: Sequence[ReceiptSummary]) -> str | Dead:
        seen.append((planned.key, [one.bytes_out for one in receipts]))
        return TIERS[1]

    finish(run, "s0/00", bytes_out=7)
    finish(run, "s0/01", bytes_out=11)
    cascade(run, broker, "s0/01", choose)
    assert seen == [("s1/00", [7, 11])]
    assert [one.key for one in taken(broker, TIERS[1])] == ["s1/00"]


def test_what_fits_no_tier_is_a_dead_letter(tmp_path: Path, broker: Broker) -> None:
    """The message has the reason; the publish marker suppresses duplicates."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    for _ in range(2):
        cascade(run, broker, "s0/01", lambda *_: Dead("needs 9 GiB, the largest tier has 4 GiB"))
    letters = taken(broker, DEAD)
    assert [one.reason for one in letters] == ["needs 9 GiB, the largest tier has 4 GiB"]


def test_a_crash_before_the_cascade_is_made_good(tmp_path: Path, broker: Broker) -> None:
    """A receipt whose worker died is found by `cascade_all`."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    assert keys_of(cascade_all(run, broker, low_tier)) == ["s1/00"]
    assert cascade_all(run, broker, low_tier) == []
    assert cascade(run, broker, "s0/01", low_tier) == []
    assert len(taken(broker)) == 1


class _LosesPublishes:
    """A broker whose publishing fails, as when the network does."""

    tiers = TIERS

    def publish(self, *_: object) -> None:
        raise UnreachableError("no network")


def test_no_marker_without_a_publish(tmp_path: Path, broker: Broker) -> None:
    """A publish that fails leaves no publish marker, so that the next one publishes."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    with pytest.raises(UnreachableError):
        cascade(run, _LosesPublishes(), "s0/01", low_tier)  # type: ignore[arg-type] # a broken one
    assert run.publish_markers() == {}
    assert keys_of(cascade(run, broker, "s0/01", low_tier)) == ["s1/00"]


def test_a_crash_between_publish_and_mark_costs_a_duplicate(tmp_path: Path, broker: Broker) -> None:
    """Without its publish marker a dependent is published again; that is all."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    cascade(run, broker, "s0/01", low_tier)
    run.storage.delete("published/s1/00")
    cascade(run, broker, "s0/00", low_tier)
    assert [one.key for one in taken(broker)] == ["s1/00", "s1/00"]


def test_a_done_dependent_is_left_alone(tmp_path: Path, broker: Broker) -> None:
    """An input that is delivered again does not bring its finished dependents back."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01", "s1/00"):
        finish(run, key)
    assert cascade(run, broker, "s0/01", low_tier) == []
    assert cascade_all(run, broker, low_tier) == []


@pytest.mark.parametrize(("crc32c", "published"), [("crc-a=", []), ("crc-b=", ["s1/00"])])
def test_a_remade_input_matters_by_its_bytes(
    tmp_path: Path, broker: Broker, crc32c: str, published: list[str]
) -> None:
    """Other bytes have the dependent made again, in spite of its marker; equal bytes do not."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    cascade(run, broker, "s0/01", low_tier)
    finish(run, "s1/00")
    taken(broker)
    run.raise_redo(["s0/00"])
    assert cascade_all(run, broker, low_tier) == []
    finish(run, "s0/00", crc32c, redo=1)
    assert keys_of(cascade(run, broker, "s0/00", low_tier)) == published
    assert cascade_all(run, broker, low_tier) == []


def test_a_dependent_asked_for_again_carries_its_redo(tmp_path: Path, broker: Broker) -> None:
    """The message names the redo request that it answers."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01", "s1/00"):
        finish(run, key)
    run.raise_redo(["s1/00"])
    assert keys_of(cascade_all(run, broker, low_tier)) == ["s1/00"]
    assert [one.redo for one in taken(broker)] == [1]


def test_a_remake_that_gives_the_same_bytes_in_between_is_not_lost(
    tmp_path: Path, broker: Broker
) -> None:
    """A message acked because an input was being remade comes back when that is done.

    The input's new receipt has the old checksum; only its time differs.
    """
    rows = [row("s0/00"), row("s1/00", "s0/00"), row("s2/00", "s1/00")]
    run = made_run(tmp_path / "runs", rows)
    finish(run, "s0/00")
    finish(run, "s1/00")
    cascade(run, broker, "s1/00", low_tier)
    assert [one.key for one in taken(broker)] == ["s2/00"]  # acked: by now s1/00 is stale
    run.raise_redo(["s0/00"])
    finish(run, "s0/00", "crc-b=", redo=1)
    cascade(run, broker, "s0/00", low_tier)
    finish(run, "s1/00", finished=at(50))
    assert keys_of(cascade(run, broker, "s1/00", low_tier)) == ["s2/00"]


def test_dead_shards_are_not_published(tmp_path: Path, broker: Broker) -> None:
    """Failed and blocked shards wait for a decision."""
    rows = [*PAIR, row("s0/02"), row("s1/01", "s0/02"), row("s2/00", "s1/00", "s1/01")]
    run = made_run(tmp_path / "runs", rows)
    finish(run, "s0/00")
    finish(run, "s0/02")
    fail(run, "s0/01")
    fail(run, "s1/01")
    assert cascade(run, broker, "s0/00", low_tier) == []
    assert cascade(run, broker, "s0/02", low_tier) == []
    assert cascade_all(run, broker, low_tier) == []


def test_converted_shards_are_not_dependents(tmp_path: Path, broker: Broker) -> None:
    """The cascade never publishes what enqueue and replay publish."""
    run = made_run(tmp_path / "runs", PAIR)
    assert cascade_all(run, broker, low_tier) == []


def test_a_cancelled_run_cascades_no_more(tmp_path: Path, broker: Broker) -> None:
    """Nothing of a cancelled run is published."""
    run = made_run(tmp_path / "runs", PAIR)
    for key in ("s0/00", "s0/01"):
        finish(run, key)
    run.cancel("enough")
    assert cascade_all(run, broker, low_tier) == []


def test_a_redo_requested_while_an_input_is_made_is_seen(tmp_path: Path, broker: Broker) -> None:
    """Who requested it left the waiting dependent to the cascade of its last input."""
    run = made_run(tmp_path / "runs", PAIR)
    for one in PAIR:
        finish(run, one.key)
    run.raise_redo(["s0/00"])
    run.raise_redo(["s1/00"])
    assert read_status(run).states["s1/00"] is ShardState.WAITING
    finish(run, "s0/00", redo=1)
    (published,) = cascade(run, broker, "s0/00", low_tier)
    assert (published.key, published.tier, published.message.redo) == ("s1/00", TIERS[0], 1)


def test_redo_requests_are_read_once_for_all_dependents(
    gcs: GcsServer, bucket: str, broker: Broker
) -> None:
    """They are listed once per cascade, and not at all for dependents that were never made."""
    low = row("s0/00")
    run = made_run(f"gs://{bucket}/runs", [low, *(row(f"s1/0{n}", low.key) for n in range(5))])
    finish(run, low.key)
    _ = run.plan

    def listings() -> int:
        return sum("redo" in request for request in gcs.seen if "prefix=" in request)

    before = listings()
    assert len(cascade(run, broker, low.key, low_tier)) == 5
    assert listings() == before
    for number in range(5):
        finish(run, f"s1/0{number}")
    run.raise_redo([low.key])
    finish(run, low.key, "crc-b=", redo=1)
    before = listings()
    assert len(cascade(run, broker, low.key, low_tier)) == 5
    assert listings() - before == 1
    assert cascade(run, broker, "s1/00", low_tier) == []
    assert listings() - before == 1
