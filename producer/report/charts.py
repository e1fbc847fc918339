"""Charts of the report: states, shards over time, time per shard, memory."""

from collections.abc import Mapping, Sequence
from statistics import median

from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.shard_status import ShardState
from producer import svg
from producer.render import count, duration, shards
from producer.report.elements import colour_key
from producer.report.facts import wall_s

_MIB = 1 << 20
STATES = {
    ShardState.DONE: ("done", "made and current, or there from the start"),
    ShardState.FAILED: ("failed", "cannot be made as things are; the reason is below"),
    ShardState.GIVEN_UP: ("given-up", "failed, then dropped; requeue takes it back"),
    ShardState.BLOCKED: (
        "blocked",
        "a shard that it is made from failed, was given up or is blocked",
    ),
    ShardState.READY: ("ready", "all that it is made from is done; a worker can take it"),
    ShardState.WAITING: ("waiting", "a shard that it is made from is not done yet"),
}
_SCALE_COLOURS = 6  # in the style below
_UNITS_S = ((2 * 86_400, 86_400, "days"), (2 * 3600, 3600, "hours"), (120, 60, "minutes"))


def state_bar(scale: int, counts: Mapping[ShardState, int]) -> str:
    """Bar of a scale, divided by state."""
    held = ", ".join(f"{count(counts[state])} {state}" for state in STATES if counts[state])
    pieces = [(counts[state], f"var(--{name})") for state, (name, _) in STATES.items()]
    title = f"Scale {scale}: {held or 'no shards'}"
    return f"<span>s{scale}</span>{svg.bar(title, pieces)}"


def finished_chart(receipts: Sequence[ReceiptSummary]) -> str:
    """Shards finished over time."""
    began, wall = min(one.started for one in receipts), wall_s(receipts)
    unit_s, unit = _time_unit(wall)
    times = [(one.finished - began).total_seconds() / unit_s for one in receipts]
    points = [(at, number) for number, at in enumerate(times, 1)]
    title = f"Shards finished over time: {shards(len(points))} in {duration(wall)}"
    return svg.steps(title, points, unit, "shards")


def time_chart(receipts: Sequence[ReceiptSummary]) -> str:
    """Histogram of the time that shards took."""
    seconds = sorted(one.seconds for one in receipts)
    unit_s, unit = _time_unit(seconds[-1])
    span = f"from {duration(seconds[0])} to {duration(seconds[-1])}"
    title = f"Shards by the time they took, {span}, median {duration(median(seconds))}"
    return svg.histogram(title, [one / unit_s for one in seconds], unit, "shards")


def memory_chart(receipts: Sequence[ReceiptSummary]) -> str:
    """Measured against estimated memory, a dot per shard."""
    dots = [
        svg.Dot(one.estimated_bytes / _MIB, one.peak_bytes / _MIB, _scale_colour(one.key), one.key)
        for one in receipts
        if one.peak_bytes and one.estimated_bytes
    ]
    if not dots:
        return "not measured"
    above = sum(dot.y > dot.x for dot in dots)
    title = f"Measured against estimated memory of {shards(len(dots))}: {above} above the estimate"
    scales = sorted({one.key.partition("/")[0] for one in receipts}, key=lambda s: int(s[1:]))
    key = colour_key((scale, _scale_colour(scale + "/")) for scale in scales)
    note = "<p>Above the dashed line a shard took more than estimated.</p>"
    return svg.scatter(title, dots, "estimated MiB", "measured MiB") + key + note


def _scale_colour(key: str) -> str:
    return f"var(--scale-{int(key.partition('/')[0][1:]) % _SCALE_COLOURS})"


def _time_unit(most_s: float) -> tuple[float, str]:
    """Seconds of the unit for an axis up to `most_s`, and its name."""
    fits = ((unit_s, name) for least_s, unit_s, name in _UNITS_S if most_s >= least_s)
    return next(fits, (1.0, "seconds"))
