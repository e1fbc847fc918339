"""Findings about buckets: the reason, the dollars, and the way on, by what runs use them for."""

from dataclasses import replace

import pytest

from infra.bucket_facts import BucketFacts
from infra.bucket_findings import BucketUse, Use, findings
from infra.bucket_step import bucket_uses
from infra.changes import Action, Change, table

REGION = "us-central1"
DEST = BucketUse("lab-volumes", frozenset({Use.DEST}))
SOURCE = BucketUse("lab-export", frozenset({Use.SOURCE}))
STATE = BucketUse("lab-runs", frozenset({Use.STATE}))
FINE = BucketFacts("lab-volumes", REGION, readers=("*",))


def found(
    use: BucketUse, facts: BucketFacts, region: str | None = REGION, payer: str | None = None
) -> list[tuple[Action, list[str]]]:
    """Findings as action and lines."""
    return [(one.action, one.note.split("; ")) for one in findings(use, facts, region, payer)]


def test_a_bucket_as_up_makes_it_has_no_finding() -> None:
    """Whatever it is used for."""
    for use in (DEST, SOURCE, STATE, BucketUse("x", frozenset(Use))):
        assert found(use, FINE) == []


def test_another_region_costs_for_every_byte() -> None:
    """Reading a source, writing a destination; near by it is a quarter of far away."""
    near = replace(FINE, location="us-east1")
    assert found(SOURCE, near) == [
        (
            Action.WARN,
            [
                "in us-east1 (one region), the workers in us-central1",
                "reading costs $0.02 per GiB",
                "use a bucket in us-central1, or workers there: --region us-east1",
            ],
        )
    ]
    far = replace(FINE, location="asia-east1")
    assert found(DEST, far)[0][1][1] == "writing costs $0.08 per GiB"
    both = BucketUse("x", frozenset({Use.SOURCE, Use.DEST}))
    assert found(both, near)[0][1][1] == "reading costs $0.02 per GiB, writing costs $0.02 per GiB"


def test_several_regions_replicate_each_write() -> None:
    """And storage costs more; the location can be chosen at creation only."""
    facts = replace(FINE, location="us", regional=False)
    assert found(DEST, facts) == [
        (
            Action.WARN,
            [
                "in us (several regions), the workers in us-central1",
                "writing costs $0.02 per GiB, storage $0.006 per GiB and month more",
                "use a bucket in us-central1: a bucket's location cannot be changed",
            ],
        )
    ]
    assert found(STATE, facts)[0][1][1] == "writing costs $0.02 per GiB"


def test_without_a_region_nothing_is_compared() -> None:
    """It is said, and no finding."""
    assert found(DEST, FINE, region=None) == [
        (Action.NOTE, ["in us-central1", "no region of workers to compare: set REGION"])
    ]


@pytest.mark.parametrize(("days", "percent", "dollars"), [(7, 23, 0.0046), (30, 99, 0.0197)])
def test_soft_delete_bills_parts_for_days(days: int, percent: int, dollars: float) -> None:
    """7 of 30.4 days are 23 % of a month's storage; only the destination is written twice."""
    facts = replace(FINE, soft_delete_s=days * 24 * 3600)
    assert found(DEST, facts) == [
        (
            Action.UPDATE,
            [
                f"soft delete is on: deleted parts of shards stay billed for {days} days",
                f"+ {percent} % of a month's storage: ${dollars} per GiB written",
                "`up` turns it off, and changes nothing else",
            ],
        )
    ]
    assert found(SOURCE, facts) == found(STATE, facts) == []


def test_what_forbids_to_delete_makes_runs_fail() -> None:
    """Ledgers are rewritten, too; an export is only read."""
    for use in (DEST, STATE):
        ((action, lines),) = found(use, replace(FINE, retention_s=14 * 24 * 3600))
        assert action is Action.WARN
        assert lines == [
            "retention of 14 days: nothing can be replaced or deleted",
            "runs fail here, and what they leave stays billed",
            "gcloud storage buckets update gs://lab-volumes --clear-retention-period",
        ]
        ((action, lines),) = found(use, replace(FINE, held=True))
        assert "--no-default-event-based-hold" in lines[-1]
    assert found(SOURCE, replace(FINE, retention_s=60, held=True)) == []


def test_versions_and_autoclass_cost_at_the_destination() -> None:
    """What is replaced stays; each object has a fee."""
    ((_, versions),) = found(DEST, replace(FINE, versioning=True))
    assert versions[1] == "+ 100 % storage at least: $0.020 per GiB and month"
    ((_, classes),) = found(DEST, replace(FINE, autoclass=True))
    assert classes[1] == "$0.0025 per 1,000 objects and month"
    assert found(SOURCE, replace(FINE, versioning=True, autoclass=True)) == []


@pytest.mark.parametrize(
    ("name", "dollars", "days"),
    [("NEARLINE", "0.01", 30), ("COLDLINE", "0.02", 90), ("ARCHIVE", "0.05", 365)],
)
def test_cold_classes_cost_to_read_and_to_delete_early(name: str, dollars: str, days: int) -> None:
    """The export is read once; shards are written as parts that are deleted at once."""
    facts = replace(FINE, storage_class=name)
    said = f"storage class {name}: reading costs ${dollars} per GiB"
    assert found(SOURCE, facts) == [(Action.WARN, [said, "the export is read at least once"])]
    ((_, lines),) = found(DEST, facts)
    assert lines[:2] == [
        said,
        f"deleted parts of shards and replaced shards are billed for {days} days",
    ]


def test_requesters_that_pay_are_named() -> None:
    """Without USER_PROJECT every request fails."""
    facts = replace(FINE, requester_pays=True)
    ((action, lines),) = found(SOURCE, facts)
    assert action is Action.WARN
    assert lines[-1] == "set USER_PROJECT"
    ((action, lines),) = found(SOURCE, facts, payer="our-project")
    assert action is Action.NOTE
    assert lines == ["requester pays: project our-project pays for requests and egress"]


def test_publishing_and_viewing_are_notes() -> None:
    """A private volume needs neither."""
    facts = replace(FINE, public_is_prevented=True, readers=())
    assert [action for action, _ in found(DEST, facts)] == [Action.NOTE, Action.NOTE]
    assert found(STATE, facts) == []


def test_places_of_one_bucket_are_one_bucket() -> None:
    """Folders of this machine are none."""
    places = {Use.SOURCE: "/data/export", Use.DEST: "gs://lab/volume", Use.STATE: "gs://lab/runs"}
    (use,) = bucket_uses(places)
    assert (use.name, str(use)) == ("lab", "destination, state")
    assert bucket_uses({Use.SOURCE: None}) == []


def test_lines_fit_80_columns_and_commands_can_be_pasted() -> None:
    """A command goes on in the next line as a shell expects."""
    worst = BucketFacts(
        "a-bucket-with-a-long-name-of-forty-letters-1",
        "northamerica-northeast1",
        soft_delete_s=604800,
        storage_class="NEARLINE",
        versioning=True,
        retention_s=86400,
        held=True,
        autoclass=True,
        requester_pays=True,
        public_is_prevented=True,
    )
    use = BucketUse(worst.name, frozenset(Use))
    changes = [
        Change(one.action, "bucket", worst.name, f"{use}: {one.note}")
        for one in findings(use, worst, REGION, None)
    ]
    assert len(changes) == 10
    lines = table(changes, done=False).split("\n")
    assert max(map(len, lines)) <= 80
    text = "\n".join(line.strip() for line in lines).replace(" \\\n", " ")
    assert f"gcloud storage buckets update gs://{worst.name} --no-default-event-based-hold" in text
