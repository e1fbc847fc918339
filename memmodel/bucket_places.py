"""Places of a run's data, and what moving bytes between them and its workers costs."""

from dataclasses import dataclass
from typing import Final

from memmodel import prices
from memmodel.prices import Price

_CONTINENTS: Final = {  # by the begin of a location's name
    "us": "America",
    "northamerica": "America",
    "nam": "America",
    "europe": "Europe",
    "eu": "Europe",
    "asia": "Asia",
    "australia": "Australia",
    "southamerica": "South America",
    "me": "Middle East",
    "africa": "Africa",
}
_CHEAP: Final = frozenset({"America", "Europe"})
_FREE: Final = Price("within a region", 0.0, "GiB", prices.STORAGE, prices.STORED.read)


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Properties of a bucket that cost money.

    Attributes:
        location: such as `us-central1`, or `us` for several regions.
        regional: whether it is one region.
        soft_delete_s: for which deleted objects are kept, and billed.
    """

    location: str
    regional: bool = True
    soft_delete_s: int = 0


@dataclass(frozen=True, slots=True)
class DataPlaces:
    """Where source, destination and workers are.

    Attributes:
        source: bucket of the export; None if it is a folder, or cannot be checked.
        dest: bucket of the volume; likewise.
        workers: their region; None if it is not known.
        unknown: why something cannot be checked, for people; empty if all is known.
    """

    source: BucketPlace | None = None
    dest: BucketPlace | None = None
    workers: str | None = None
    unknown: tuple[str, ...] = ()


def reading(bucket: BucketPlace, workers: str) -> Price:
    """Price of a GiB on its way from a bucket to workers of a region."""
    if bucket.regional and bucket.location == workers:
        return _FREE
    return _between(bucket.location, workers)


def writing(bucket: BucketPlace, workers: str) -> Price:
    """Price of a GiB on its way from workers of a region to a bucket."""
    if bucket.regional:
        return reading(bucket, workers)
    far = _continent(bucket.location) != _continent(workers)
    return _between(bucket.location, workers) if far else prices.REPLICATED


def storing(bucket: BucketPlace | None) -> Price:
    """Price of a GiB in a bucket for a month."""
    return prices.STORED_MULTI if bucket is not None and not bucket.regional else prices.STORED


def _between(one: str, other: str) -> Price:
    continents = {_continent(one), _continent(other)}
    near = len(continents) == 1 and continents <= _CHEAP
    return prices.SAME_CONTINENT if near else prices.OTHER_CONTINENT


def _continent(location: str) -> str:
    """Continent of a location; the location itself where it is not known."""
    head = location.rstrip("0123456789").split("-")[0]
    return _CONTINENTS.get(head) or _CONTINENTS.get(head[:3]) or head
