"""Cost so far in the report: what finished shards took, at list prices."""

from collections.abc import Iterable, Mapping

from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from memmodel.bill import Bill, Share, bill
from memmodel.bucket_places import DataPlaces
from memmodel.cost import Offer
from memmodel.prices import PRICES_OF, REGION
from memmodel.tiers import tier_of
from memmodel.usage import Usage, shard_usage
from producer.bill_table import bill_rows
from producer.report.elements import table


def bill_so_far(run: Run, receipts: Iterable[ReceiptSummary]) -> Bill:
    """The bill of finished shards by their receipts, as if all ran on Google Cloud.

    Buckets are not looked at: they count as those of the workers' region.
    """
    files = {row.key: len(row.sources) for row in run.plan.rows()}
    found: dict[tuple[str, str], Usage] = {}
    for one in receipts:
        key = (one.tier, one.kind)
        found[key] = found.get(key, Usage()) + _usage(one, files)
    shares = [
        Share(tier_of(tier), "convert" if kind == "convert" else "downsample", usage)
        for (tier, kind), usage in found.items()
    ]
    return bill(shares, DataPlaces())


def _usage(receipt: ReceiptSummary, files: Mapping[str, int]) -> Usage:
    inputs = len(receipt.inputs) or files.get(receipt.key, 1)
    return shard_usage(receipt.kind, receipt.seconds, inputs, receipt.bytes_in, receipt.bytes_out)


def cost_table(found: Bill) -> str:
    """The bill, the ways to rent workers side by side."""
    caption = "Dollars for the finished shards, by the way to rent workers"
    note = (
        f"<p>By the receipts, at list prices of {PRICES_OF} in {REGION}, with data in the same "
        "region. On machines of your own none of it is billed.</p>"
    )
    return table(caption, ["cost", *Offer], bill_rows(found)) + note
