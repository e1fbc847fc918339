"""Progress of a run in words: one line for the whole, and the rows of its scales."""

from collections.abc import Sequence
from typing import NamedTuple

from delivery.progress import Progress
from delivery.scale_progress import ScaleProgress
from runtime.amounts import count, duration, size
from runtime.text import counted

SEPARATOR = " · "


class ScaleRow(NamedTuple):
    """A scale in words; the columns are those of `HEADERS`, without the bar."""

    scale: str
    done: str
    rate: str
    dead: str
    blocked: str


HEADERS = ScaleRow("scale", "done", "chunk/s", "dead", "blocked")


def plain_line(progress: Progress, *, beginning: str = "") -> str:
    """The whole run and its scales in one line, for logs and pipes."""
    scales = "  ".join(
        f"s{one.scale} {one.done}/{one.total}" for one in progress.scales if one.total
    )
    return SEPARATOR.join([*total_parts(progress, beginning=beginning), scales])


def total_parts(progress: Progress, *, beginning: str = "") -> list[str]:
    """The parts of the line: shards, share, rate, bytes, workers, times, dead shards.

    Args:
        progress: of the run.
        beginning: what happens until the first worker is heard of, such as `starting workers`.
    """
    parts = [
        f"{count(progress.done)} of {counted(progress.total, 'shard')} done",
        f"{progress.percent} %",
    ]
    if progress.chunks:
        parts.append(f"{count(progress.chunks_per_s)} chunk/s")
        parts.append(f"{size(progress.bytes_out)} written")
    elif chunks := sum(one.chunks for one in progress.in_flight if not one.stale):
        parts.append(f"{counted(chunks, 'chunk')} in work")  # large shards take minutes
    if not progress.ended:
        parts.append(_workers(progress, beginning))
    parts += _times(progress)
    parts.append(f"{count(progress.dead)} dead")
    if progress.blocked:
        parts.append(f"{count(progress.blocked)} blocked")
    return parts


def _workers(progress: Progress, beginning: str) -> str:
    if not progress.workers:
        return beginning if beginning and not progress.done else "no workers"
    memory = f", {size(progress.memory_bytes)}" if progress.memory_bytes else ""
    return f"{counted(progress.workers, 'worker')}{memory}"


def _times(progress: Progress) -> list[str]:
    """Time gone and left; of a run that is over, the time it took."""
    if progress.ended:
        return [f"took {duration(progress.took_s)}"] if progress.took_s is not None else []
    gone = [] if progress.elapsed_s is None else [f"{duration(progress.elapsed_s)} elapsed"]
    if not progress.workers:  # then it is not known, whatever the rate was
        return gone
    if progress.eta_s is None:
        return [*gone, "time left unknown"]
    return [*gone, f"about {duration(progress.eta_s)} left"]


def scale_row(scale: ScaleProgress) -> ScaleRow:
    """A scale as numbers; one that has not begun has no rate."""
    rate = count(scale.chunks_per_s) if scale.chunks else "-"
    return ScaleRow(
        f"s{scale.scale}",
        f"{count(scale.done)} of {count(scale.total)}",
        rate,
        count(scale.dead),
        count(scale.blocked),
    )


def wrap(parts: Sequence[str], width: int) -> list[str]:
    """Join parts into lines of at most this width; no part is divided unless it is longer."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(SEPARATOR) + len(part) <= width:
            lines[-1] += SEPARATOR + part
        else:
            lines.append(part)
    return lines
