"""Tables of the report: scales, tiers, slowest and moved shards, chunks left out, settings."""

from collections import Counter
from collections.abc import Iterable

from delivery.ledger.receipts import Receipt, ReceiptSummary
from delivery.scale_progress import ScaleProgress
from memmodel.tiers import tier_of
from producer.render import count, duration, size
from producer.report.elements import Cell, table, words
from producer.report.facts import MOST_IN_FULL, RunFacts, was_moved

_SLOWEST = 10
MOST_ROWS = MOST_IN_FULL
_SCALE_WORDS = {
    "work": "time that workers spent on the shards, added up",
    "cpu": "processor time of that work, over all threads",
    "wall": "time on the clock, from the first start to the last finish",
    "chunks/s, read/s": "over the wall time",
    "peak memory": "the largest of one worker's process",
}
_TIER_WORDS = {
    "tier": "memory size of a worker, and the queue that such workers serve",
    "estimate": "memory that the plan expects; it chooses the tier",
    "came from smaller": "shards that needed more memory than the tiers before",
}


def scales_table(scales: Iterable[ScaleProgress]) -> str:
    """Finished shards by scale."""
    headers = ["scale", "shards", "chunks", "read", "written", "work", "cpu", "wall"]
    headers += ["chunks/s", "read/s", "peak memory"]
    rows: list[list[Cell]] = []
    for scale in scales:
        wall = scale.wall_s
        rows.append(
            [
                f"s{scale.scale}",
                f"{count(scale.done)} of {count(scale.total)}",
                count(scale.chunks),
                size(scale.bytes_in),
                size(scale.bytes_out),
                duration(scale.seconds),
                duration(scale.cpu_s) if scale.cpu_s is not None else "-",
                duration(wall),
                count(scale.chunks_per_s) if wall else "-",
                size(scale.bytes_in / wall) if wall else "-",
                size(scale.peak_bytes) if scale.peak_bytes else "-",
            ]
        )
    shown = table("Finished shards by scale: sizes, time, rates", headers, rows)
    return f"{shown}{words(_SCALE_WORDS)}"


def slowest_table(receipts: Iterable[ReceiptSummary]) -> str:
    """The shards that took longest."""
    slowest = sorted(receipts, key=lambda one: -one.seconds)[:_SLOWEST]
    rows = [
        [one.key, one.tier, duration(one.seconds), count(one.chunks), size(one.bytes_in)]
        for one in slowest
    ]
    headers = ["shard", "tier", "work", "chunks", "read"]
    return table("Shards that took longest, the slowest first", headers, rows)


def tiers_table(facts: RunFacts) -> str:
    """Finished shards by tier, with their memory."""
    receipts = facts.receipts
    moved = Counter(one.tier for one in receipts if was_moved(one))
    rows: list[list[Cell]] = []
    for tier in sorted({one.tier for one in receipts}, key=lambda name: tier_of(name).limit_bytes):
        own = [one for one in receipts if one.tier == tier]
        peak = max(one.peak_bytes or 0 for one in own)
        rows.append(
            [
                tier,
                size(tier_of(tier).limit_bytes),
                count(len(own)),
                duration(sum(one.seconds for one in own)),
                size(max(one.estimated_bytes or 0 for one in own)),
                size(peak) if peak else "-",
                count(moved[tier]),
            ]
        )
    headers = ["tier", "limit", "shards", "work", "largest estimate", "largest measured"]
    if not rows:
        return "nothing finished yet"
    shown = table("Finished shards by tier", [*headers, "came from smaller"], rows)
    return f"{shown}{words(_TIER_WORDS)}"


def escalations_table(receipts: Iterable[Receipt]) -> str:
    """Shards that a larger tier made, and why."""
    rows: list[list[Cell]] = [
        [one.key, " → ".join(one.tiers_tried), "; ".join(hop.reason for hop in one.history)]
        for one in receipts
        if was_moved(one)
    ]
    if not rows:
        return "none"
    caption = "Shards that did not fit their first tier"
    return table(caption, ["shard", "tiers", "why"], rows[:MOST_ROWS], kind="text")


def bad_chunks_tables(facts: RunFacts) -> str:
    """Shards that lack chunks, since these do not decode, and each of the first chunks."""
    lacking = [[key, count(number)] for key, number in facts.status.incomplete.items()]
    rows = [
        [one.key, ", ".join(map(str, bad.chunk)), bad.file, count(bad.row), bad.reason]
        for one in facts.special
        if one.key in facts.status.incomplete
        for bad in one.bad_chunks
    ]
    headers = ["shard", "chunk", "file", "row", "reason"]
    each = table("The first of these chunks", headers, rows[:MOST_ROWS], kind="text")
    caption = "Shards made without chunks that do not decode"
    lacking = lacking[:MOST_ROWS]
    return f"{table(caption, ['shard', 'chunks left out'], lacking, kind='text')}{each}"


def settings_table(facts: RunFacts) -> str:
    """What decides the bytes of a run, and where it was run."""
    info = facts.run.info
    rows: list[list[str]] = [
        ["source", info.source or "-"],
        ["destination", info.dest],
        ["state", facts.run.uri],
        ["queue", facts.run.queue],
        ["planned", f"{info.created:%Y-%m-%d %H:%M:%S} UTC"],
        ["converted scales", ", ".join(map(str, info.scales)) or "none"],
        ["downsampled scales", ", ".join(map(str, info.downres)) or "none"],
        ["rule", info.rule],
        ["labels", info.label_type],
        ["slices left out after each", str(info.z_compress)],
        ["gzip level", str(info.gzip_level)],
        ["tiers", ", ".join(info.tiers)],
        ["workers", count(facts.workers)],
        ["rows skipped", f"{count(facts.skipped_outside)} outside"],
        ["version", info.version],
        ["fingerprint", info.fingerprint],
    ]
    return table("Settings of the run", [], rows, kind="text facts")
