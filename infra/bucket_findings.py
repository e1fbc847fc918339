"""Findings about a bucket of a run: what it costs, and what will fail, with the way on.

Lines are parted by `; `: what is found, what it costs, what to do. Prices are list prices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from infra.bucket_facts import DAY_S, BucketFacts
from infra.changes import Action
from memmodel import bucket_places, prices
from memmodel.bucket_places import BucketPlace
from runtime.urls import GS

MONTH_DAYS: Final = 30.4
_COLD: Final = {  # price of reading, and days that an object is billed for at least
    "NEARLINE": (prices.NEARLINE_READ, 30),
    "COLDLINE": (prices.COLDLINE_READ, 90),
    "ARCHIVE": (prices.ARCHIVE_READ, 365),
}
_UPDATE: Final = "gcloud storage buckets update"


class Use(StrEnum):
    """What a run uses a bucket for; the value is what people read."""

    SOURCE = "source"
    DEST = "destination"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        action: WARN costs money or fails, UPDATE is what `up` mends, NOTE is worth knowing.
        note: lines for people.
    """

    action: Action
    note: str


@dataclass(frozen=True, slots=True)
class BucketUse:
    """A bucket with all that runs use it for.

    Attributes:
        name: of the bucket.
        uses: of it; at least one.
    """

    name: str
    uses: frozenset[Use]

    @property
    def written(self) -> bool:
        """Whether workers write to it."""
        return bool(self.uses - {Use.SOURCE})

    def __str__(self) -> str:
        return ", ".join(use for use in Use if use in self.uses)


def findings(
    use: BucketUse, facts: BucketFacts, region: str | None, payer: str | None
) -> Iterator[Finding]:
    """Findings about a bucket, those first that cost most.

    Args:
        use: what runs use it for.
        facts: of the bucket.
        region: of the workers; None if it is not known.
        payer: project that pays for requests, where requesters pay.
    """
    yield from _location(use, facts, region)
    if use.written:
        yield from _kept(use, facts)
    if Use.DEST in use.uses:
        yield from _destination(facts)
    yield from _class(use, facts)
    yield from _payer(facts, payer)


def _location(use: BucketUse, facts: BucketFacts, region: str | None) -> Iterator[Finding]:
    place = BucketPlace(facts.location, facts.regional)
    if region is None:
        yield Finding(
            Action.NOTE, f"in {facts.location}; no region of workers to compare: set REGION"
        )
        return
    if facts.regional and facts.location == region:
        return
    kind = "one region" if facts.regional else "several regions"
    costs = []
    if Use.SOURCE in use.uses:
        costs.append(f"reading costs ${bucket_places.reading(place, region).dollars:.2f} per GiB")
    if use.written:
        costs.append(f"writing costs ${bucket_places.writing(place, region).dollars:.2f} per GiB")
    if Use.DEST in use.uses and not facts.regional:
        more = bucket_places.storing(place).dollars - prices.STORED.dollars
        costs.append(f"storage ${more:.3f} per GiB and month more")
    way = (
        f"use a bucket in {region}, or workers there: --region {facts.location}"
        if facts.regional
        else f"use a bucket in {region}: a bucket's location cannot be changed"
    )
    what = f"in {facts.location} ({kind}), the workers in {region}"
    yield Finding(Action.WARN, f"{what}; {', '.join(costs)}; {way}")


def _kept(use: BucketUse, facts: BucketFacts) -> Iterator[Finding]:
    """What keeps workers from replacing and deleting objects, or bills them afterwards."""
    if Use.DEST in use.uses and facts.soft_delete_s:
        days = facts.soft_delete_s / DAY_S
        percent = 100 * days / MONTH_DAYS
        dollars = prices.STORED.dollars * days / MONTH_DAYS
        yield Finding(
            Action.UPDATE,
            f"soft delete is on: deleted parts of shards stay billed for {days:.0f} days; "
            f"+ {percent:.0f} % of a month's storage: ${dollars:.4f} per GiB written; "
            "`up` turns it off, and changes nothing else",
        )
    if facts.retention_s:
        yield Finding(
            Action.WARN,
            f"retention of {facts.retention_s / DAY_S:.3g} days: nothing can be replaced or deleted"
            "; runs fail here, and what they leave stays billed; "
            f"{_UPDATE} {GS}{facts.name} --clear-retention-period",
        )
    if facts.held:
        yield Finding(
            Action.WARN,
            "new objects are held: nothing can be replaced or deleted; runs fail here; "
            f"{_UPDATE} {GS}{facts.name} --no-default-event-based-hold",
        )


def _destination(facts: BucketFacts) -> Iterator[Finding]:
    if facts.versioning:
        yield Finding(
            Action.WARN,
            "versioning is on: parts of shards and replaced shards stay for good; "
            f"+ 100 % storage at least: ${prices.STORED.dollars:.3f} per GiB and month; "
            f"{_UPDATE} {GS}{facts.name} --no-versioning",
        )
    if facts.autoclass:
        yield Finding(
            Action.WARN,
            "autoclass is on: a fee for each object, and slower shards once they are cold; "
            f"${1000 * prices.AUTOCLASS.dollars:.4f} per 1,000 objects and month; "
            f"{_UPDATE} {GS}{facts.name} --no-enable-autoclass",
        )
    if facts.public_is_prevented:
        yield Finding(
            Action.NOTE,
            "public access prevention is enforced: the volume cannot be made public; "
            f"to publish it:; {_UPDATE} {GS}{facts.name} --no-public-access-prevention",
        )
    if not facts.readers:
        yield Finding(
            Action.NOTE,
            "no CORS rule: Neuroglancer in a browser cannot read the volume here; "
            f"{_UPDATE} {GS}{facts.name} --cors-file=cors.json",
        )


def _class(use: BucketUse, facts: BucketFacts) -> Iterator[Finding]:
    if facts.storage_class not in _COLD:
        return
    price, days = _COLD[facts.storage_class]
    found = f"storage class {facts.storage_class}: reading costs ${price.dollars:.2f} per GiB"
    if not use.written:
        yield Finding(Action.WARN, f"{found}; the export is read at least once")
        return
    yield Finding(
        Action.WARN,
        f"{found}; deleted parts of shards and replaced shards are billed for {days} days; "
        f"{_UPDATE} {GS}{facts.name} --default-storage-class=STANDARD",
    )


def _payer(facts: BucketFacts, payer: str | None) -> Iterator[Finding]:
    if not facts.requester_pays:
        return
    if payer:
        yield Finding(Action.NOTE, f"requester pays: project {payer} pays for requests and egress")
    else:
        yield PAYER_MISSING


PAYER_MISSING: Final = Finding(
    Action.WARN, "requester pays, and no project is named to pay; runs fail here; set USER_PROJECT"
)
