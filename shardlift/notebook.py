"""Display of progress in a notebook: one output that is replaced as shards get done."""

import sys
from html import escape
from typing import Any, Self

from delivery.progress import Progress
from producer.render import duration, shards
from shardlift.html import scales_html


def in_notebook() -> bool:
    """Whether this code runs in a kernel, whose outputs may be HTML."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


class NotebookDisplay:
    """Output of a cell that shows progress.

    Args:
        beginning: what is under way before the first shard is done.
    """

    def __init__(self, beginning: str = "") -> None:
        self._beginning = beginning
        self._handle: Any = None  # of IPython, which has no types

    def show(self, progress: Progress) -> None:
        """Replace the output."""
        page = self._page(progress)
        if self._handle is None:
            self._handle = sys.modules["IPython"].display.display(_Html(page), display_id=True)
        else:
            self._handle.update(_Html(page))

    def _page(self, progress: Progress) -> str:
        left = "" if progress.ended else f", about {duration(progress.eta_s)} left"
        under_way = f"{self._beginning} ..." if not progress.done and self._beginning else ""
        text = under_way or f"{progress.done:,} of {shards(progress.total)} done{left}"
        return f"<p>{escape(text)}</p>{scales_html(progress)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


class _Html:
    def __init__(self, page: str) -> None:
        self._page = page

    def _repr_html_(self) -> str:
        return self._page
