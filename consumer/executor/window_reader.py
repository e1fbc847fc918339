"""Window reader: the rows that a shard needs, in windows of consecutive chunks.

Rows lie roughly in ZYX order and the output wants chunk-id order, so each window has rows from many
places of its files; it is bounded in bytes.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from braid.dvid.row_reader import in_order_of_use
from braid.parallel.ordered_map import ordered_map
from braid.transcode.block_assignment import BlockAssignment
from braid.transcode.row_window import RowWindow
from braid.typing import Int64Array
from consumer.executor.fetches import Fetches
from consumer.executor.joined_rows import concatenated
from consumer.executor.row_locations import RowLocations
from consumer.executor.whole_fetch import may_hold
from consumer.executor.window_plan import Span, WindowPlan, plan_windows
from memmodel.estimate import HELD_WINDOW_BYTES, LOCAL_WINDOW_BYTES, REMOTE_WINDOW_BYTES
from memmodel.estimate import SHARED_SOURCE_BYTES as SHARED_BYTES

LAST_PART: Final = 8  # of a shard with at least so many windows


class WindowReader:
    """Reads windows of rows of several files.

    Args:
        locations: of the rows of all files.
        fetches: of files that are fetched whole.
        remote: whether the files come over a network.
    """

    def __init__(self, locations: RowLocations, fetches: Fetches, *, remote: bool) -> None:
        self._at = locations
        self._fetches = fetches
        self._remote = remote

    def windows(
        self, assigned: BlockAssignment, on_ending: Callable[[], None]
    ) -> Generator[RowWindow]:
        """Read the rows that a shard needs, window by window; the next is read ahead.

        Args:
            assigned: of the shard.
            on_ending: called before the last eighth of the windows, if there are so many.
        """
        plan = self._plan(assigned)
        if not self._fetch_in_order(assigned, plan):
            for file in self._at.files:
                file.read_by_ranges()
            self._fetches.plan([])
            plan = self._plan(assigned)
        plan = self._with_passes(assigned, plan)

        def read(numbered: tuple[int, Span]) -> RowWindow:
            number, span = numbered
            self._fetches.reach(number)
            return self._read(number, assigned, span, whole_batches=plan.whole_batches)

        several = not (isinstance(plan.spans, list) and len(plan.spans) == 1)
        spans = _numbered(plan.spans, on_ending)
        yield from ordered_map(read, spans, threads=1, prefetch=int(several), name="read")

    @property
    def _window_bytes(self) -> int:
        """Bytes of record batches to read at once."""
        if not self._remote:
            return LOCAL_WINDOW_BYTES
        held = all(file.is_held for file in self._at.files)
        return HELD_WINDOW_BYTES if held else REMOTE_WINDOW_BYTES

    def _plan(self, assigned: BlockAssignment) -> WindowPlan:
        at = assigned.blocks
        return plan_windows(
            assigned,
            self._at.record_batch[at],
            self._at.record_batch_bytes[at],
            self._at.row_bytes,
            self._window_bytes,
            page_bytes=max((file.reader.page_bytes for file in self._at.files), default=1),
        )

    def _fetch_in_order(self, assigned: BlockAssignment, plan: WindowPlan) -> bool:
        """Fetch files in the order of use; False if windows share more than may be held."""
        whole = [number for number, file in enumerate(self._at.files) if file.fetch is not None]
        if not whole:
            return True
        if not (plan.whole_batches and isinstance(plan.spans, list)):
            parts = [part for number in whole for part in self._at.files[number].keep()]
            fits = sum(part.size for part in parts) <= SHARED_BYTES
        else:
            parts = []
            for number in whole:
                batches = self._batches_by_window(assigned, plan.spans, number)
                parts += self._at.files[number].plan(batches)
            fits = may_hold(parts)
        if fits:
            self._fetches.plan(parts)
        return fits

    def _with_passes(self, assigned: BlockAssignment, plan: WindowPlan) -> WindowPlan:
        """The same plan, of which files that are read in one pass know their rows."""
        passed = {n: file.passed for n, file in enumerate(self._at.files) if file.passed}
        if not passed:
            return plan
        spans = list(plan.spans)
        for number, reader in passed.items():
            rows = [assigned.blocks[first:end] for first, end, _ in spans]
            mine = [np.unique(self._at.row[one[self._at.file[one] == number]]) for one in rows]
            reader.plan(mine)
        return replace(plan, spans=spans)

    def _batches_by_window(
        self, assigned: BlockAssignment, spans: list[Span], number: int
    ) -> Iterator[Int64Array]:
        """Record batches of a file that each window reads."""
        for first, end, _ in spans:
            rows = assigned.blocks[first:end]
            batches = self._at.record_batch[rows[self._at.file[rows] == number]]
            yield np.unique(batches) - self._at.first_batches[number]

    def _read(
        self, window: int, assigned: BlockAssignment, span: Span, *, whole_batches: bool
    ) -> RowWindow:
        """The chunks of a slice of pairs, and their rows in the order of first use."""
        first, end, keep = span
        pairs, ids = assigned.blocks[first:end], assigned.ids[first:end]
        wanted, parts = in_order_of_use(pairs)
        file = self._at.file[wanted]
        by_file = np.argsort(file, kind="stable")
        rows = [
            self._at.files[number].read_rows(
                window,
                self._at.row[wanted[file == number]],
                whole_batches=whole_batches,
                keep=[batch - self._at.first_batches[number] for batch in keep],
            )
            for number in np.unique(file).tolist()
        ]
        position = np.empty_like(by_file)
        position[by_file] = np.arange(len(by_file))
        numbers = wanted[by_file]
        chunk_ids, part_start = np.unique(ids, return_index=True)
        return RowWindow(
            ids=chunk_ids,
            part_start=np.append(part_start, len(ids)),
            parts=position[parts],
            rows=concatenated(rows),
            describe_row=lambda row: self._at.place(int(numbers[row])),
        )


def _numbered(spans: Iterable[Span], on_ending: Callable[[], None]) -> Iterator[tuple[int, Span]]:
    """Spans with their numbers; calls `on_ending` before the last eighth of them."""
    last = len(spans) - len(spans) // LAST_PART if isinstance(spans, list) else math.inf
    for number, span in enumerate(spans):
        if number == last:
            on_ending()
        yield number, span
