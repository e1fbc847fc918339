"""The longest work is published first: initially, by the cascade, and by replay."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from delivery import replay
from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.cascade import cascade, cascade_all
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from delivery.messages import decode
from memmodel.run_context import tier_chooser
from tests.support.ledgers import TIERS, fail, finish, made_run, row
from tests.support.run_harness import small_spec

SECONDS = {"s0/00": 3.0, "s0/01": 9.0, "s0/02": 5.0, "s1/00": 2.0, "s1/01": 8.0, "s1/02": 4.0}
LONGEST = ["s0/01", "s0/02", "s0/00"]
DEPENDENTS = ["s1/01", "s1/02", "s1/00"]


class Timed:
    """Chooser of tiers with estimates that have nothing to do with sizes."""

    def __call__(self, _row: PlanRow, _receipts: Sequence[ReceiptSummary]) -> str:
        """The smallest tier."""
        return TIERS[0]

    def estimated_seconds(self, row: PlanRow, _receipts: Sequence[ReceiptSummary]) -> float:
        """By key."""
        return SECONDS[row.key]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker on empty queues."""
    with open_broker(f"sqlite:{tmp_path}/queue.db", TIERS, 60) as broker:
        yield broker


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Three shards, and three that depend on all of them; memory and input say the reverse."""
    low = [
        row("s0/00", estimated_bytes=9, bytes_in=9),
        row("s0/01", estimated_bytes=1, bytes_in=1),
        row("s0/02", estimated_bytes=5, bytes_in=5),
    ]
    high = [row(f"s1/0{n}", *(one.key for one in low)) for n in range(3)]
    return made_run(tmp_path / "runs", [*low, *high])


def taken(broker: Broker) -> list[str]:
    """Keys in the order in which workers get them."""
    keys = []
    while (delivery := broker.lease(TIERS[0])) is not None:
        keys.append(decode(delivery.data).key)
        broker.ack(delivery)
    return keys


def test_what_is_ready(run: Run, broker: Broker) -> None:
    """As `enqueue` and `replay --missing` publish it."""
    replay.missing(run, broker, Timed())
    assert taken(broker) == LONGEST


def test_shards_by_name_and_dead_ones(run: Run, broker: Broker) -> None:
    """Whatever the order in which they are named."""
    replay.shards(run, broker, Timed(), ["s0/00", "s0/01", "s0/02"])
    assert taken(broker) == LONGEST
    for key in LONGEST:
        fail(run, key, tier=TIERS[0])
    replay.failed(run, broker, Timed())
    assert taken(broker) == LONGEST


def test_dependents(run: Run, broker: Broker) -> None:
    """By the worker of the last input, and by whoever makes up for it."""
    for key in LONGEST:
        finish(run, key)
    cascade(run, broker, LONGEST[-1], Timed())
    assert taken(broker) == DEPENDENTS
    for key in DEPENDENTS:
        run.mark_published(key, TIERS[0], "of other inputs")
    cascade_all(run, broker, Timed())
    assert taken(broker) == DEPENDENTS


def test_the_estimate_of_a_run(tmp_path: Path, broker: Broker) -> None:
    """More input takes longer, up to what the box holds; a dependent's is its inputs' output."""
    spec = small_spec((512, 256, 128), 2)
    rows = [
        row("s0/0", bytes_in=1_000, estimated_bytes=9),
        row("s0/1", bytes_in=2_000, estimated_bytes=1),
        row("s1/0", "s0/0", "s0/1"),
    ]
    run = made_run(tmp_path / "runs", rows, volume=spec.to_info(), downres=(1,))
    chooser = tier_chooser(run)
    small, large = (chooser.estimated_seconds(one, []) for one in rows[:2])
    assert 1 < small < large
    receipts = [finish(run, key, bytes_out=1_000) for key in ("s0/0", "s0/1")]
    assert chooser.estimated_seconds(rows[2], receipts) > chooser.estimated_seconds(rows[2], [])
    assert chooser(rows[2], receipts) == TIERS[0]
    replay.shards(run, broker, chooser, ["s0/0", "s0/1"])
    assert taken(broker) == ["s0/1", "s0/0"]
