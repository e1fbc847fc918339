"""Tables of what a run takes and costs; 80 columns."""

from collections.abc import Sequence
from typing import Final

from memmodel.bill import (
    DAY_S,
    IDLING,
    MESSAGES,
    REQUESTS,
    SOFT_DELETE,
    TRANSFER,
    WORKERS,
    Bill,
    Share,
    bill,
    idle,
)
from memmodel.cost import UTILISATION, Cost, Offer, cost
from memmodel.prices import PRICES_OF, REGION
from memmodel.tiers import Tier
from memmodel.usage import Usage, shard_usage
from producer.data_places import find_places
from producer.planner import ShardForecast
from producer.render import count, duration, size, table
from producer.run_request import Request
from runtime.text import printable

_CENT: Final = 0.01
_UNKNOWN: Final = "unknown"


def dollars(number: float | None) -> str:
    """Format dollars: `$1,234.50`; what is less than a cent is not nothing."""
    if number is None:
        return _UNKNOWN
    return "< $0.01" if 0 < number < _CENT else f"${number:,.2f}"


def shares_of(forecasts: Sequence[ShardForecast]) -> list[Share]:
    """What the shards of each tier and kind use; those that fit no tier use nothing."""
    found: dict[tuple[Tier, str], Share] = {}
    for forecast in forecasts:
        if forecast.tier is not None:
            key, kind = (forecast.tier, forecast.row.kind), forecast.row.kind
            before = found.get(key, Share(forecast.tier, kind, Usage()))
            found[key] = Share(forecast.tier, kind, before.usage + usage_of(forecast))
    return list(found.values())


def usage_of(forecast: ShardForecast) -> Usage:
    """Resources that a shard uses on Google Cloud."""
    row, seconds = forecast.row, forecast.seconds
    inputs = len(row.sources) + len(row.inputs)
    return shard_usage(row.kind, seconds, inputs, forecast.work.bytes_in, forecast.bytes_out)


def bill_of(forecasts: Sequence[ShardForecast], request: Request) -> Bill:
    """The bill of the shards to be made, with a look at the buckets of the request."""
    return bill(shares_of(forecasts), find_places(request.source, request.dest))


def work_table(forecasts: Sequence[ShardForecast], tiers: Sequence[Tier]) -> str:
    """Work of a run, per tier and in all; dollars are those of worker pools, idling included."""
    rows, everything, total, number = [], Usage(), 0.0, 0
    shares = shares_of(forecasts)
    for tier in tiers:
        own = [share.usage for share in shares if share.tier == tier]
        if own:
            usage = sum(own, Usage())
            money = _in_pools(cost(usage, tier))
            rows.append(_work_row(tier.name, usage, money))
            everything, total = everything + usage, total + money
            number += usage.messages
    rows.append(_work_row("all", everything, total))
    return table(["tier", "shards", "worker time", "reads", "writes", "dollars"], rows)


def _in_pools(found: Cost) -> float:
    return found.total + idle(found.compute, Offer.POOL)


def _work_row(name: str, usage: Usage, money: float) -> list[str]:
    return [
        name,
        count(usage.messages),  # one for each shard
        duration(usage.seconds),
        count(usage.reads),
        count(usage.writes),
        dollars(money),
    ]


def bill_table(found: Bill) -> str:
    """A bill, the ways to rent workers side by side; then what it assumes."""
    grid = table(["cost", *Offer], bill_rows(found))
    return "\n".join([grid, *map(printable, _assumptions(found))])


def bill_rows(found: Bill) -> list[list[str]]:
    """Rows of a bill: its lines, their sum, storage; a column for each way to rent workers."""
    rows = [
        [_label(line.name, found), *(dollars(line.dollars[offer]) for offer in Offer)]
        for line in found.lines
    ]
    rows.append(["in all", *(dollars(found.total(offer)) for offer in Offer)])
    month = dollars(found.storage_month)
    stored = size(found.usage.bytes_out)
    rows.append([f"storage, {stored}, each month", *(month for _ in Offer)])
    return rows


def _label(name: str, found: Bill) -> str:
    usage = found.usage
    factors = "/".join(f"{UTILISATION[offer]:g}" for offer in Offer)
    days = f" ({found.soft_delete_s / DAY_S:g} days)" if found.soft_delete_s else ""
    return {
        WORKERS: f"workers, {duration(usage.seconds)}",
        IDLING: f"idling (x {factors})",
        REQUESTS: f"requests, {count(usage.reads + usage.writes)}",
        MESSAGES: f"messages, {count(usage.messages)}",
        TRANSFER: "transfer between regions",
        SOFT_DELETE: f"soft delete{days}",
    }[name]


def _assumptions(found: Bill) -> list[str]:
    places = found.places
    lines = [f"list prices of {PRICES_OF}, {REGION}, no free tiers; docs/cost.md explains"]
    if not places.unknown and places.source is None and places.dest is None:
        lines.append("for data in buckets, and workers in the same region")
    if places.workers and places.workers != REGION:
        lines.append(f"prices of {places.workers} differ by some percent")
    lines += [f"cannot be checked: {reason}" for reason in places.unknown]
    return lines
