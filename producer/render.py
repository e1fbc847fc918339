"""Rendering of plans and progress: tables, JSON, progress bars; 80 columns on a terminal."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress as Bars

from delivery.broker.base import DEAD, Backlog
from delivery.ledger.failures import FailureSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.progress import InFlight
from delivery.scale_progress import ScaleProgress
from memmodel.tiers import Tier
from producer.failure_groups import FailureGroup, failures_of, group_failures
from producer.shard_forecast import ShardForecast
from runtime import amounts, text
from runtime.interpreter import as_typed
from runtime.table import format_table
from runtime.text import join_first, printable
from runtime.verbosity import is_quiet

WIDTH = 80
_NONE = "-"  # not applicable
_NAMED = 3  # shards of a group of failures
_MOST_GROUPS = 12  # of failures: a screenful

T = TypeVar("T")


size, duration, count = amounts.size, amounts.duration, amounts.count
counted = text.counted  # beside the other formats


def shards(number: int) -> str:
    """Number of shards: `1 shard`, `2 shards`."""
    return counted(number, "shard")


def partial(problems: Sequence[str]) -> str:
    """What the export of a partial run lacked, in a line; empty if it lacked nothing."""
    if not problems:
        return ""
    more = f"; and {len(problems) - 1:,} more" if len(problems) > 1 else ""
    lacked = counted(len(problems), "file")
    return printable(f"partial: the export lacked {lacked}: {problems[0]}{more}")


def of_shards(number: int, verb: str, verbs: str) -> str:
    """Number of shards with a verb: `1 shard is`, `2 shards are`."""
    return f"{shards(number)} {verb if number == 1 else verbs}"


def document(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """One JSON document."""
    return text.json_text(value, indent=1)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Table of aligned columns; on a terminal at most 80 wide, in a pipe no field is folded.

    Args:
        headers: of the columns.
        rows: texts of the fields.
        left: number of left-aligned columns; the others are right-aligned.
    """
    return format_table(headers, rows, left=left, width=WIDTH)


def tier_table(forecasts: Sequence[ShardForecast], tiers: Sequence[Tier]) -> str:
    """Shards per tier, with their input and largest estimate."""
    rows = []
    for tier in tiers:
        own = [forecast for forecast in forecasts if forecast.tier == tier]
        if own:
            rows.append([tier.name, *_sums(own)])
    beyond = [forecast for forecast in forecasts if forecast.tier is None]
    if beyond:
        rows.append(["none", *_sums(beyond)])
    return table(["tier", "shards", "input", "largest estimate"], rows)


def _sums(forecasts: Sequence[ShardForecast]) -> list[str]:
    bytes_in = sum(forecast.work.bytes_in for forecast in forecasts)
    largest = max(forecast.needed_bytes for forecast in forecasts)
    return [count(len(forecasts)), size(bytes_in), size(largest)]


def scale_table(scales: Sequence[ScaleProgress]) -> str:
    """Shards of every scale by state; columns that are all zero are left out."""
    names = ["done", "failed", "given_up", "blocked", "ready", "waiting", "present", "empty"]
    names.append("incomplete")
    shown = [
        name
        for name in names
        if name in {"done", "ready"} or any(getattr(scale, name) for scale in scales)
    ]
    headers = ["scale", *(name.replace("_", " ") for name in shown), "chunks", "written"]
    rows = [
        [
            f"s{scale.scale}",
            *(count(getattr(scale, name)) for name in shown),
            count(scale.chunks),
            size(scale.bytes_out),
        ]
        for scale in scales
    ]
    return table(headers, rows)


def time_table(scales: Sequence[ScaleProgress]) -> str:
    """Time and memory of each scale, for the end of a run."""
    headers = ["scale", "shards", "chunks", "chunk/s", "wall", "cpu", "peak"]
    rows = [
        [
            f"s{scale.scale}",
            count(scale.done),
            count(scale.chunks),
            count(scale.chunks_per_s),
            duration(scale.wall_s),
            duration(scale.cpu_s) if scale.done else _NONE,
            size(scale.peak_bytes) if scale.done else _NONE,
        ]
        for scale in scales
        if scale.total
    ]
    return table(headers, rows)


def queue_table(backlogs: Mapping[str, Backlog], ready: Mapping[str, int], why: str = "") -> str:
    """Ready shards by tier, and the queues that are not empty.

    Args:
        backlogs: by tier, with the dead letters.
        ready: ready shards by tier, as the ledger has them.
        why: the queues cannot be asked, if so.
    """
    if not any(backlog.known for backlog in backlogs.values()):
        known = table(["tier", "ready"], [[_queue(name), count(n)] for name, n in ready.items()])
        line = printable(f"queue: unknown: {why or 'it does not tell its length'}")
        return f"{known}\n{line}" if ready else line
    rows = [
        [
            _queue(tier),
            count(ready.get(tier, 0)),
            count(backlog.waiting),
            count(backlog.leased),
            _NONE if backlog.oldest_s is None else duration(backlog.oldest_s),
        ]
        for tier, backlog in backlogs.items()
        if tier in ready or backlog.waiting != 0 or backlog.leased
    ]
    if not rows:
        return "queues: empty"
    return table(["queue", "ready", "waiting", "leased", "oldest"], rows)


def _queue(tier: str) -> str:
    return "dead letters" if tier == DEAD else tier


def flight_table(flights: Sequence[InFlight]) -> str:
    """Shards in work, by their workers' last heartbeat."""
    rows = [
        [
            flight.key,
            flight.tier,
            count(flight.chunks) if flight.chunks else "begun",
            size(flight.rss_bytes),
            f"{duration(flight.age_s)} ago{' (stale)' if flight.stale else ''}",
        ]
        for flight in flights
    ]
    return table(["in flight", "tier", "chunks", "memory", "heard"], rows, left=2)


def failure_table(failures: Iterable[FailureSummary]) -> str:
    """Failed shards by class of their reason, the largest first; each shard is counted once."""
    groups = group_failures(failures)
    lines = [line for group in groups[:_MOST_GROUPS] for line in _group_lines(group)]
    if rest := groups[_MOST_GROUPS:]:
        number = sum(len(group.failures) for group in rest)
        lines.append(f"{shards(number)} more, for {counted(len(rest), 'other reason')}")
    return "\n".join(printable(as_typed(line)) for line in lines)


def _group_lines(group: FailureGroup) -> Iterator[str]:
    """How many shards and why; what to do; which shards, and one reason in full."""
    number = len(group.failures)
    if number == 1:
        given_up = "given up: " if group.failures[0].dropped else ""
        yield f"1 shard: {group.keys[0]}: {given_up}{group.example}"
    else:
        yield f"{shards(number)}: {group.failure_class}"
    if group.advice:
        yield f"  {group.advice}"
    if number > 1:
        yield f"  {join_first(group.keys, _NAMED)}; such as {group.keys[0]}: {group.example}"


def failure_details(failures: Iterable[FailureSummary]) -> str:
    """A row for each failed shard, with its reason in full on the line below."""
    found = list(failures)
    rows = [
        [one.key, one.tier or _NONE, count(one.attempts), f"{one.at:%Y-%m-%d %H:%M}"]
        for one in found
    ]
    head, *lines = table(["shard", "tier", "tries", "when (UTC)"], rows, left=2).splitlines()
    whys = [f"  {'given up: ' if one.dropped else ''}{as_typed(one.reason)}" for one in found]
    return "\n".join(
        [head, *(f"{a}\n{b}" for a, b in zip(lines, map(printable, whys), strict=True))]
    )


def failure_report(run: Run, status: RunStatus, *, details: bool = False) -> str:
    """What `errors`, `status` and the end of `--wait` say of failed shards; empty without any.

    Args:
        run: of the shards.
        status: of the run.
        details: the reader looks at each shard already.
    """
    failures = failures_of(status)
    if not failures:
        return ""
    lines = [failure_table(failures)]
    if blocked := status.keys(ShardState.BLOCKED):
        causes = sorted({cause for key in blocked for cause in status.causes(key)})
        are = of_shards(len(blocked), "is", "are")
        lines.append(printable(f"{are} blocked by {join_first(causes, 5)}"))
    if not details:
        each = f"python -m producer errors --details --run {shlex.quote(run.uri)}"
        lines.append(printable(f"each of them: {as_typed(each)}"))
    if any(not failure.dropped for failure in failures):
        again = f"python -m producer dead-letters requeue --all --run {shlex.quote(run.uri)}"
        lines.append(printable(f"when mended: {as_typed(again)}"))
    return "\n".join(lines)


def with_progress(description: str, items: Sequence[T]) -> Iterator[T]:
    """Iterate with a progress bar on stderr, if that is a terminal."""
    console = Console(stderr=True, quiet=is_quiet())
    with Bars(console=console, disable=not console.is_terminal, transient=True) as bars:
        yield from bars.track(items, description=description)
