"""Figures of docs/cost.md, computed by the code that prices a run.

`python -m benchmarks.cost_page` writes them into the page; a test compares the two.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from delivery.messages import Kind
from memmodel import prices
from memmodel.bill import DAY_S, MONTH_S, Bill, Share, bill
from memmodel.bucket_places import BucketPlace, DataPlaces
from memmodel.cost import HOUR_S, UTILISATION, Offer, dollars_per_second
from memmodel.throughput import START_S
from memmodel.tiers import GIB, tier_of
from memmodel.usage import Usage, shard_usage

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "cost.md"
REGION: Final = "us-central1"
TIER: Final = tier_of("4gi")
RATES: Final[Mapping[Kind, int]] = {"convert": 2281, "downsample": 4588}
"""Chunks per second of a worker on one core, storage 60 ms away: the slowest size of shards.

From the table of storage over a network in docs/performance.md.
"""

GZIP_OVER_ARROW: Final = 0.8  # stored bytes of a converted shard by those of its Arrow files
FAN_IN: Final = 8  # shards that a downsampled one is made from
_TB: Final = 10**12
_WEEKEND_H: Final = 60  # Friday 18:00 to Monday 06:00
_FLEET: Final = 100
_WEEK_S: Final = 7 * DAY_S
_TINY: Final = tier_of("512mi")  # of the autoscaler


@dataclass(frozen=True, slots=True)
class Part:
    """Scales of the male fly's central nervous system that are made in one way.

    Attributes:
        name: for people.
        kind: how they are made.
        shards: number of them.
        chunks: that are read.
        bytes_in: that are read.
        bytes_out: that are stored.
    """

    name: str
    kind: Kind
    shards: int
    chunks: int
    bytes_in: int
    bytes_out: int

    @property
    def usage(self) -> Usage:
        """What its shards use, each of the mean size."""
        seconds = START_S + self.chunks / self.shards / RATES[self.kind]
        inputs = FAN_IN if self.kind == "downsample" else 1
        one = shard_usage(
            self.kind, seconds, inputs, self.bytes_in // self.shards, self.bytes_out // self.shards
        )
        return Usage(
            one.seconds * self.shards,
            one.reads * self.shards,
            one.writes * self.shards,
            one.messages * self.shards,
            self.bytes_out,
            self.bytes_in,
        )


_S0: Final = (21_994, 510_500_000, 21_994 * 135_000_000)  # shards, chunks, bytes of Arrow
_ALL: Final = (26_128, 587_000_000, 43 * _TB // 10)
_STORED_S0: Final = round(_S0[2] * GZIP_OVER_ARROW)
_STORED: Final = round(_ALL[2] * GZIP_OVER_ARROW)
_LAST: Final = 4_000_000  # chunks of scales that no other is made from, or nearly none

CONVERT_ALL: Final = (Part("convert all ten scales", "convert", *_ALL, _STORED),)
PYRAMID: Final = (
    Part("convert scale 0", "convert", *_S0, _STORED_S0),
    Part(
        "downsample scales 1 to 9",
        "downsample",
        _ALL[0] - _S0[0],
        _ALL[1] - _LAST,
        _STORED,
        _STORED - _STORED_S0,
    ),
)
HERE: Final = BucketPlace(REGION)
PLACES: Final = DataPlaces(HERE, HERE, REGION)


def bill_of(parts: Sequence[Part], places: DataPlaces = PLACES) -> Bill:
    """Bill of some parts, all on one tier."""
    return bill([Share(TIER, part.kind, part.usage) for part in parts], places)


def price_table() -> str:
    """The table of all prices."""
    rows = [
        [
            p.name,
            f"${_plain(p.dollars)}",
            p.unit,
            _link(p.source),
            p.read,
            p.note,
        ]
        for p in prices.PRICES
    ]
    return _table(["price", "dollars", "for one", "source", "read", "note"], rows, right={1})


def line_table() -> str:
    """The bill of the pyramid made in worker pools, line by line."""
    pool = dollars_per_second(TIER)
    rows = [
        [
            part.name,
            _work(part),
            f"{part.usage.seconds / HOUR_S:.1f} h",
            _dollars(part.usage.seconds * pool),
        ]
        for part in PYRAMID
    ]
    found = bill_of(PYRAMID)
    usage = found.usage
    rows += [
        [
            "idling",
            f"{UTILISATION[Offer.POOL] - 1:.0%} of {usage.seconds / HOUR_S:.1f} h",
            f"{usage.seconds * (UTILISATION[Offer.POOL] - 1) / HOUR_S:.1f} h",
            _dollars(found.line("idling")),
        ],
        [
            "reading requests",
            "sizes, indices, receipts, ranges of data",
            f"{usage.reads / 1e6:.2f} M",
            _dollars(usage.reads * prices.CLASS_B.dollars),
        ],
        [
            "writing requests",
            "uploads, composes, lists, receipts, heartbeats",
            f"{usage.writes / 1e6:.2f} M",
            _dollars(usage.writes * prices.CLASS_A.dollars),
        ],
        ["messages", "one per shard", f"{usage.messages:,}", _dollars(found.line("messages"))],
        ["transfer", "all in one region", "0 GiB", "$0.00"],
        ["**the run**", "", "", f"**{_dollars(found.total())}**"],
        [
            "storage, **each month**",
            f"{usage.bytes_out / GIB:,.0f} GiB x ${prices.STORED.dollars:.3f}",
            "",
            f"**{_dollars(found.storage_month)}**",
        ],
    ]
    return _table(["line", "how much", "", "dollars"], rows, right={2, 3})


def offer_table() -> str:
    """Both ways to get the pyramid, by what the workers run on."""
    rows = []
    ways = {"scale 0 converted, 1 to 9 made here": PYRAMID, "all ten converted": CONVERT_ALL}
    for name, parts in ways.items():
        found = bill_of(parts)
        rows.append([name, *(_dollars(found.total(offer)) for offer in Offer)])
    hour = [_dollars(dollars_per_second(TIER, offer) * HOUR_S, 4) for offer in Offer]
    factor = [f"{UTILISATION[offer]:g}" for offer in Offer]
    rows += [["an hour of one 4gi worker", *hour], ["utilisation, billed by worked", *factor]]
    return _table(["", *Offer], rows, right={1, 2, 3})


def mistake_table() -> str:
    """What goes wrong, and what it costs this dataset."""
    found = bill_of(PYRAMID)
    hour = _FLEET * dollars_per_second(TIER) * HOUR_S
    week = replace(HERE, soft_delete_s=_WEEK_S)
    multi = BucketPlace("us", regional=False)
    kept = bill_of(PYRAMID, replace(PLACES, dest=week))
    several = bill_of(PYRAMID, replace(PLACES, dest=multi))
    away = bill_of(PYRAMID, replace(PLACES, source=BucketPlace("us-east1")))
    far = bill_of(PYRAMID, replace(PLACES, source=BucketPlace("europe-west1")))
    out = found.usage.bytes_out / GIB * prices.INTERNET.dollars
    nearest = [
        [f"{_FLEET} x 4gi forgotten, each hour", _dollars(hour)],
        [f"{_FLEET} x 4gi forgotten over a weekend ({_WEEKEND_H} h)", _dollars(hour * _WEEKEND_H)],
        [f"{_FLEET} x 4gi forgotten for a month", _dollars(hour * MONTH_S / HOUR_S)],
        ["soft delete of 7 days left on at the destination", _dollars(kept.line("soft_delete"))],
        [
            "destination in several regions (`US`): writing and reading",
            _dollars(several.line("transfer")),
        ],
        [
            "the same: storage, each month more",
            _dollars(several.storage_month - found.storage_month),
        ],
        ["source in another region near by", _dollars(away.line("transfer"))],
        ["source on another continent", _dollars(far.line("transfer"))],
        ["downloading the volume once out of Google Cloud", _dollars(out)],
    ]
    return _table(["", "dollars"], nearest, right={1})


def assumption_list() -> str:
    """What the bill takes for granted, with its figures."""
    day = dollars_per_second(_TINY) * DAY_S
    worked = (
        f"{UTILISATION[Offer.POOL]:g} seconds billed for each one worked, published longest first "
        "([simulated](scaling.md))"
    )
    rates = (
        f"{RATES['convert']:,} chunks a second and core converting, {RATES['downsample']:,} "
        "downsampling (chunks that are read): the slowest rows at 60 ms of the "
        "[performance page](performance.md), on its machine; a slower processor takes longer in "
        "proportion"
    )
    lines = {
        "Rates": rates,
        "Start of a shard": f"{START_S:g} s for lease, listing, receipt and cascade",
        "Tier": "all on 4gi, one vCPU; most shards fit 2gi, the densest of coarse scales need more",
        "Bytes": f"a stored chunk takes {GZIP_OVER_ARROW:g} of its Arrow bytes with gzip",
        "Inputs": f"{FAN_IN} shards for each downsampled one",
        "Utilisation": worked,
        "Not in it": f"the autoscaler's own instance (${day:.2f} a day while runs live), logs, the "
        "image's build and storage, taxes; free tiers and discounts",
    }
    return "\n".join(f"- **{name}:** {text}." for name, text in lines.items())


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "prices": price_table,
    "assumptions": assumption_list,
    "lines": line_table,
    "offers": offer_table,
    "mistakes": mistake_table,
}


def filled(page: str) -> str:
    """The page with its figures as the code has them now."""
    for name, make in TABLES.items():
        begin, end = f"<!-- cost:{name} -->", "<!-- /cost -->"
        pattern = re.compile(rf"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        parts = pattern.split(page)
        if len(parts) != 2:
            raise ValueError(f"{begin} occurs {len(parts) - 1} times")
        page = f"{begin}\n{make()}\n{end}".join(parts)
    return page


def _work(part: Part) -> str:
    rate, shards = f"{RATES[part.kind]:,}/s", f"{part.shards:,} x {START_S:g} s"
    return f"{part.chunks / 1e6:,.1f} M chunks / {rate} + {shards}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> str:
    rule = ["---:" if column in right else "---" for column in range(len(headers))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, rule, *rows))


def _link(page: str) -> str:
    return f"[{page.removeprefix('cloud.google.com/')}](https://{page})"


def _dollars(number: float | None, digits: int = 2) -> str:
    if number is None:
        return "unknown"
    least = 10**-digits
    return f"< ${least:.{digits}f}" if 0 < number < least else f"${number:,.{digits}f}"


def _plain(number: float) -> str:
    return f"{number:.7f}".rstrip("0") if number < 1 else f"{number:.2f}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
