"""Report of a run in a bucket: listings say nearly all, so the number of requests stays small."""

import json
from collections import Counter

import pytest

from delivery.ledger.record_store import SUMMARY
from delivery.ledger.run import Run
from delivery.ledger.shard_status import read_status
from producer.report.facts import RunFacts, read_facts
from tests.support.gcs_requests import LISTING, logged
from tests.support.gcs_server import GcsServer
from tests.support.ledgers import at, finish, made_run, row

_SHARDS = 40
_LATER = ("worker", "skipped_outside", "tiers_tried")  # version 0.1.0 kept these out of summaries


@pytest.fixture
def run(bucket: str) -> Run:
    """A finished run in a bucket; one shard was moved to a larger tier."""
    run = made_run(f"gs://{bucket}/state", [row(f"s0/{n:02x}") for n in range(_SHARDS)])
    for number in range(_SHARDS):
        tiers = ("2gi", "4gi") if number == 1 else ("2gi",)
        worker = f"w{number % 7}"
        finish(run, f"s0/{number:02x}", worker=worker, skipped_outside=number, tiers_tried=tiers)
    return run


def facts_and_requests(gcs: GcsServer, run: Run) -> tuple[RunFacts, Counter[tuple[str, str]]]:
    """The facts as a process reads them that knows nothing of the run; requests for receipts."""
    fresh = Run.open(run.uri)
    with logged(gcs, f"state/{run.run_id}/") as log:
        found = read_facts(fresh, read_status(fresh), at(60))
    counts = log.counts()
    return found, Counter({kind: n for kind, n in counts.items() if kind[1] == "receipts/"})


def test_a_listing_holds_what_the_report_shows(gcs: GcsServer, run: Run) -> None:
    """One request more for each shard that was moved, whose history is in its receipt alone."""
    found, requests = facts_and_requests(gcs, run)
    assert requests == {(LISTING, "receipts/"): 1, ("read", "receipts/"): 1}
    assert (found.workers, found.skipped_outside) == (7, sum(range(_SHARDS)))
    assert [one.key for one in found.special] == ["s0/01"]


def test_receipts_of_earlier_versions_are_read(gcs: GcsServer, run: Run) -> None:
    """Where the listing does not name the worker; the facts are the same."""
    expected, _ = facts_and_requests(gcs, run)
    buckets = gcs.state.buckets.values()
    stored = [one for objects in buckets for one in objects.values() if "/receipts/" in one.name]
    for one in stored:
        metadata = one.properties["metadata"]
        summary = json.loads(metadata[SUMMARY])
        kept = {name: value for name, value in summary.items() if name not in _LATER}
        metadata[SUMMARY] = json.dumps(kept)
    found, requests = facts_and_requests(gcs, run)
    assert requests[("read", "receipts/")] == _SHARDS + 1
    assert (found.workers, found.skipped_outside) == (expected.workers, expected.skipped_outside)
    assert found.special == expected.special
