"""Bill of a run: named lines in dollars, for each way to rent its workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from delivery.messages import Kind
from memmodel.bucket_places import DataPlaces, reading, storing, writing
from memmodel.cost import UTILISATION, Cost, Offer, cost
from memmodel.prices import PRICES_OF, REGION
from memmodel.tiers import GIB, Tier
from memmodel.usage import Usage

DAY_S: Final = 86_400
MONTH_S: Final = 365.25 / 12 * DAY_S

WORKERS: Final = "workers"
IDLING: Final = "idling"
REQUESTS: Final = "requests"
MESSAGES: Final = "messages"
TRANSFER: Final = "transfer"
SOFT_DELETE: Final = "soft_delete"


@dataclass(frozen=True, slots=True)
class Share:
    """What shards of one tier and kind use together."""

    tier: Tier
    kind: Kind
    usage: Usage


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a bill.

    Attributes:
        name: one of the names above.
        dollars: by offer; None where it cannot be checked.
    """

    name: str
    dollars: Mapping[Offer, float | None]


@dataclass(frozen=True, slots=True)
class Bill:
    """Bill of a run.

    Attributes:
        lines: paid once.
        usage: of all shards.
        storage_month: of what the run stores, for each month.
        soft_delete_s: for which parts of shards are kept after the run deleted them.
        places: where source, destination and workers are.
    """

    lines: Sequence[BillLine]
    usage: Usage
    storage_month: float
    soft_delete_s: int
    places: DataPlaces

    def total(self, offer: Offer = Offer.POOL) -> float:
        """All lines that are known; without storage, which recurs."""
        return sum(line.dollars[offer] or 0.0 for line in self.lines)

    def line(self, name: str, offer: Offer = Offer.POOL) -> float | None:
        """Dollars of one line."""
        return next(line.dollars[offer] for line in self.lines if line.name == name)

    def document(self) -> dict[str, Any]:
        """The bill as a JSON object; null is what cannot be checked."""
        return {
            "prices_of": PRICES_OF,
            "prices_region": REGION,
            "workers_region": self.places.workers,
            "utilisation": {_key(offer): factor for offer, factor in UTILISATION.items()},
            "lines": {line.name: _by_key(line.dollars) for line in self.lines},
            "total": {_key(offer): self.total(offer) for offer in Offer},
            "storage_month": self.storage_month,
            "stored_bytes": self.usage.bytes_out,
            "soft_delete_s": self.soft_delete_s,
            "worker_seconds": self.usage.seconds,
            "unknown": list(self.places.unknown),
        }


def bill(shares: Sequence[Share], places: DataPlaces) -> Bill:
    """Work out the bill of a run.

    Args:
        shares: of all tiers and kinds.
        places: where its data and workers are.
    """
    by_offer = {
        offer: sum((cost(share.usage, share.tier, offer) for share in shares), Cost())
        for offer in Offer
    }
    usage = sum((share.usage for share in shares), Usage())
    month = usage.bytes_out / GIB * storing(places.dest).dollars
    kept_s = places.dest.soft_delete_s if places.dest else 0
    lines = (
        BillLine(WORKERS, {offer: one.compute for offer, one in by_offer.items()}),
        BillLine(IDLING, {offer: idle(one.compute, offer) for offer, one in by_offer.items()}),
        BillLine(REQUESTS, {offer: one.requests for offer, one in by_offer.items()}),
        BillLine(MESSAGES, {offer: one.queue for offer, one in by_offer.items()}),
        BillLine(TRANSFER, dict.fromkeys(Offer, _transfer(shares, places))),
        # A shard is written once as parts and once composed; the parts are deleted at once.
        BillLine(SOFT_DELETE, dict.fromkeys(Offer, _kept(month, kept_s, places))),
    )
    return Bill(lines, usage, month, kept_s, places)


def idle(compute: float, offer: Offer) -> float:
    """Dollars for instances that run and do not work, by what the working ones cost."""
    return compute * (UTILISATION[offer] - 1)


def _transfer(shares: Sequence[Share], places: DataPlaces) -> float | None:
    """Dollars for bytes between regions; None if it cannot be checked."""
    if places.unknown:
        return None
    read = {
        kind: sum(share.usage.bytes_in for share in shares if share.kind == kind) / GIB
        for kind in ("convert", "downsample")
    }
    written = sum(share.usage.bytes_out for share in shares) / GIB
    dollars = 0.0
    if places.workers is not None and places.source is not None:
        dollars += read["convert"] * reading(places.source, places.workers).dollars
    if places.workers is not None and places.dest is not None:
        dollars += read["downsample"] * reading(places.dest, places.workers).dollars
        dollars += written * writing(places.dest, places.workers).dollars
    return dollars


def _kept(month: float, kept_s: int, places: DataPlaces) -> float | None:
    """Dollars for deleted parts that stay for a while; None if it cannot be checked."""
    return None if places.unknown and places.dest is None else month * kept_s / MONTH_S


def _key(offer: Offer) -> str:
    return offer.lower().replace(" ", "_")


def _by_key(dollars: Mapping[Offer, float | None]) -> dict[str, float | None]:
    return {_key(offer): found for offer, found in dollars.items()}
