"""Facts of the report: few receipts are read in full, however many there are."""

from pathlib import Path
from unittest import mock

from delivery.ledger.run import Run
from delivery.ledger.shard_status import read_status
from producer.report import facts
from producer.report.facts import read_facts
from producer.report.page import page
from tests.support.ledgers import at, finish, made_run, row


def run_of(state: Path, moved: int, plain: int) -> Run:
    """A run whose shards are done; some of them were moved to a larger tier."""
    run = made_run(state, [row(f"s0/{number:02x}") for number in range(moved + plain)])
    for number in range(moved + plain):
        finish(
            run,
            f"s0/{number:02x}",
            finished=at(9 - number),
            worker=f"w{number % 3}",
            skipped_outside=number,
            tier="4gi" if number < moved else "2gi",
            tiers_tried=("2gi", "4gi") if number < moved else ("2gi",),
        )
    return run


def test_workers_and_skipped_rows_are_counted_over_all(tmp_path: Path) -> None:
    """Also of shards whose receipts are not read in full."""
    run = run_of(tmp_path, moved=1, plain=4)
    found = read_facts(run, read_status(run), at(60))
    assert (found.workers, found.skipped_outside) == (3, 10)
    assert [one.key for one in found.special] == ["s0/00"]
    assert [one.finished for one in found.receipts] == [at(second) for second in range(5, 10)]


def test_only_what_the_page_shows_is_read_in_full(tmp_path: Path) -> None:
    """The first moved shards by their finish; the table of tiers counts the others too."""
    run = run_of(tmp_path, moved=5, plain=2)
    with (
        mock.patch.object(facts, "MOST_IN_FULL", 2),
        mock.patch.object(run.receipts, "get", wraps=run.receipts.get) as get,
    ):
        found = read_facts(run, read_status(run), at(60))
    assert [call.args for call in get.call_args_list] == [("s0/04",), ("s0/03",)]
    assert [one.key for one in found.special] == ["s0/04", "s0/03"]
    (tier,) = [line for line in page(found).split("<tr>") if '"row">4gi<' in line]
    assert "<td>5</td></tr>" in tier
