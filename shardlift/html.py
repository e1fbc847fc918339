"""HTML of a run for notebooks: one table, readable on light and dark pages."""

from html import escape
from typing import Final, Protocol

from delivery.scale_progress import ScaleProgress
from producer.documents.run_documents import StatusDocument
from producer.render import count, duration, shards, size

_BAR: Final = "display:inline-block;height:.7em;vertical-align:middle;"
_FRAME: Final = f"{_BAR}width:12em;background:rgba(128,128,128,.3);white-space:nowrap"
_DONE: Final = "#2e8b57"
_LOST: Final = "#c0392b"
_CELL: Final = 'style="text-align:right"'


class AnyProgress(Protocol):
    """What a table needs of a run's progress or status."""

    @property
    def scales(self) -> tuple[ScaleProgress, ...]:
        """By scale, ascending."""

    @property
    def done(self) -> int:
        """Shards that are done."""

    @property
    def total(self) -> int:
        """Shards that the run makes."""


def run_html(status: StatusDocument, dest: str) -> str:
    """A run as it stands: state, a bar per scale, what is lost."""
    return (
        f"<p><b>run {escape(status.run_id)}</b>, {_state(status)}: "
        f"{status.done:,} of {shards(status.total)}<br>{escape(dest)}</p>{scales_html(status)}"
    )


def scales_html(progress: AnyProgress) -> str:
    """Table with a bar per scale."""
    head = "".join(
        f'<th scope="col" {_CELL}>{name}</th>'
        for name in ("scale", "", "done", "of", "lost", "chunks", "chunk/s", "written", "time")
    )
    rows = "".join(_row(scale) for scale in progress.scales)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _state(status: StatusDocument) -> str:
    if status.cancelled is not None:
        return f"cancelled ({escape(status.cancelled)})"
    if not status.ended:
        return "under way" if status.workers else "without workers"
    if not status.succeeded:
        return "ended with shards that are not done or not whole"
    left_out = sum(status.selection.left_out.values()) if status.selection else 0
    return f"done, a selection: {shards(left_out)} left out" if left_out else "done"


def _row(scale: ScaleProgress) -> str:
    lost = scale.failed + scale.given_up + scale.blocked
    cells = (
        count(scale.done),
        count(scale.total),
        count(lost),
        count(scale.chunks),
        count(scale.chunks_per_s),
        size(scale.bytes_out),
        duration(scale.wall_s),
    )
    bar = _bar(scale.done, lost, scale.total)
    numbers = "".join(f"<td {_CELL}>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row" {_CELL}>{scale.scale}</th><td>{bar}</td>{numbers}</tr>'


def _bar(done: int, lost: int, total: int) -> str:
    parts = ((done, _DONE), (lost, _LOST))
    inner = "".join(
        f'<span style="{_BAR}width:{100 * part / max(1, total):.1f}%;background:{colour}"></span>'
        for part, colour in parts
    )
    return f'<span role="img" aria-label="{done} of {total} done" style="{_FRAME}">{inner}</span>'
