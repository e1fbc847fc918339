"""Reader of a remote file whose index lacks byte offsets, in one pass over its record batches.

A small batch is found by reading the one before, so the stream is read from front to back. Rows
come in the order of the export, windows want them in the order of chunk ids: what comes before its
turn is held, about 0.4 of a file of 32x32x32 chunks at the most. What does not fit is read once
more, by the ranges that the pass has found.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from braid.dvid.csv_index import Listing, ShardIndex
from braid.dvid.found_rows import FoundRows, ScannedBatch
from braid.dvid.row_reader import RowReader, decoded_rows
from braid.dvid.rows import Rows
from braid.dvid.stream_scan import Preamble, check_end, scan_batches
from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import read_exactly
from braid.typing import Int64Array
from consumer.executor.fetches import Fetches
from consumer.executor.held_rows import HeldGroup, HeldRows
from consumer.executor.joined_rows import concatenated
from consumer.executor.range_prefetch import RangePrefetch
from consumer.executor.whole_fetch import WholeFetch
from memmodel.estimate import PASSED_ROWS_BYTES, SHARED_SOURCE_BYTES
from runtime.storage import Source

SMALL_BATCH_BYTES: Final = 4 << 20
"""Most bytes of a record batch that is held; larger ones are few, and read by their ranges."""

_STEP_BYTES: Final = 4 << 20  # of the stream, decoded at once
_AGAIN_BYTES: Final = 48 << 20  # read at once: neighbours of several windows share a request
_STEPS_AHEAD: Final = 2  # for each window, while there is room
_WINDOWS_AHEAD: Final = 8  # whose rows are read: earlier they would only be held longer
_NEVER: Final = 1 << 40  # a window after all others


class Passing:
    """What the passes over the files of a shard share: requests, and the rows that wait.

    Args:
        fetches: fetch the files in the order of their bytes.
    """

    def __init__(self, fetches: Fetches) -> None:
        self._fetches = fetches
        self._held = HeldRows(PASSED_ROWS_BYTES)
        self._files = itertools.count()

    def leave_room(self, whole_bytes: int) -> None:
        """Hold less, where so many bytes of other files are held whole."""
        self._held.most_bytes = PASSED_ROWS_BYTES - min(whole_bytes, SHARED_SOURCE_BYTES)

    def begin(
        self, source: Source, preamble: Preamble, listings: Sequence[Listing]
    ) -> "PassReader":
        """Begin the pass over a file; see `PassReader`."""
        fetch = WholeFetch(source, self._fetches)
        number = next(self._files)
        return PassReader(source, fetch, preamble, listings, held=self._held, number=number)


class PassReader(RowReader):
    """Reads rows for one window after another, in one pass over their file.

    Args:
        source: the Arrow file.
        fetch: the same, on its way in the order of its bytes.
        preamble: its schema.
        listings: indices of the file, all without byte ranges; one at least.
        held: rows that wait for their window, of all files that feed a shard.
        number: of this file among them.

    Attributes:
        index: chunks as listed, with places that are only guessed until `finish` has returned.
    """

    def __init__(
        self,
        source: Source,
        fetch: WholeFetch,
        preamble: Preamble,
        listings: Sequence[Listing],
        *,
        held: HeldRows,
        number: int,
    ) -> None:
        super().__init__(fetch, preamble, _guessed(listings[0], preamble.end, source.size))
        self._fetch = fetch
        self._listings = listings
        self._batches = scan_batches(fetch, preamble)
        self._found = FoundRows()
        self._end = preamble.end
        self._held = held
        self._number = number
        self._ranges = RangePrefetch(source)
        self._again: RowReader | None = None
        self._next = np.full(len(self.index), _NEVER)  # window, of each row
        self._later: dict[int, Int64Array] = {}  # the window after, of each row of a window
        self._planned: Sequence[Int64Array] = ()
        self._needed = np.zeros(0, np.int64)  # rows of the file, up to the end of each window

    def plan(self, windows: Sequence[Int64Array]) -> None:
        """Note the rows that each window needs, before the first is read.

        Args:
            windows: (k,) numbers of rows, of each window.
        """
        for window in range(len(windows) - 1, -1, -1):
            rows = windows[window]
            later = self._next[rows]
            if (later != _NEVER).any():
                self._later[window] = later
            self._next[rows] = window
        self._planned = windows
        ends = [int(rows.max(initial=-1)) + 1 for rows in windows]
        self._needed = np.maximum.accumulate(np.array(ends, np.int64))

    def read_window(self, window: int, rows: Int64Array) -> Rows:
        """Read the rows of a window; windows are read in their order.

        Args:
            window: its number in the plan.
            rows: (k,) numbers of the rows that it needs, in the order wanted.

        Raises:
            InvalidShardFormatError: the file is damaged, or holds other rows than its index lists.
        """
        while len(self._found) <= rows.max():
            if not self._advance():
                self._refuse()
        self._read_ahead(window)
        groups = [*self._held.take(window, self._number), *self._read_again(window)]
        numbers = np.concatenate([group.numbers for group in groups])
        found = concatenated([group.rows for group in groups])
        self._hold_for_later(window, numbers, found)
        order = np.argsort(numbers)
        return found.take(order[np.searchsorted(numbers, rows, sorter=order)])

    def finish(self) -> None:
        """Go on to the end of the file, and hold the index to it.

        Raises:
            InvalidShardFormatError: the file is damaged, or holds other rows than its index lists.
        """
        while self._advance():
            pass
        check_end(self._source, self._preamble, self._end)
        index = self._found.index(self._preamble.end)
        for listing in self._listings:
            listing.check_agrees(index, self.name)
        self.index = index

    def bytes_of_rows(self, rows: Int64Array) -> Int64Array:
        """Bytes that each of these rows takes on average."""
        return self.index.size[rows].astype(np.int64)

    def _read_ahead(self, window: int) -> None:
        """Take some of what the next windows need, while there is room."""
        needed = self._needed[min(window + _WINDOWS_AHEAD, len(self._needed) - 1)]
        for _ in range(_STEPS_AHEAD):
            if len(self._found) < needed and self._held.has_room(_STEP_BYTES):
                self._advance()

    def _advance(self) -> bool:
        """Take the next batches; False at the end of the stream."""
        first, begin = len(self._found), self._end
        batches: list[ScannedBatch] = []
        while self._end - begin < _STEP_BYTES and (batch := self._next_batch()) is not None:
            batches.append(batch)
        self._sort(batches, first)
        self._fetch.leave(self._end)
        return self._end > begin

    def _next_batch(self) -> ScannedBatch | None:
        batch, _ = next(self._batches, (None, b""))
        if batch is not None:
            first = len(self._found)
            self._found.add(batch)
            self._end = batch.end
            listed = self.index.coords[first : first + batch.rows]
            if len(listed) < batch.rows or (listed != batch.coords).any():
                self._refuse()
        return batch

    def _sort(self, batches: Sequence[ScannedBatch], first: int) -> None:
        """Hold the rows of batches, of which the first begins with row `first`, by window."""
        counts = np.array([batch.rows for batch in batches], np.int64)
        firsts = first + np.cumsum(counts) - counts
        numbers = np.arange(first, first + counts.sum())
        batch = np.repeat(np.arange(len(batches)), counts)
        small = np.array([one.size <= SMALL_BATCH_BYTES for one in batches], bool)[batch]
        chosen = small & (self._next[numbers] != _NEVER)
        if chosen.any():
            rows = self._decoded(batches, firsts, numbers[chosen], batch[chosen])
            self._hold(numbers[chosen], rows)
        large = numbers[~small]
        for window, part in self._by_window(large):
            missing_bytes = int(self.bytes_of_rows(large[part]).sum())
            self._held.lack(window, self._number, large[part], missing_bytes)

    def _hold(self, numbers: Int64Array, rows: Rows) -> None:
        """Hold rows for the next window that needs each."""
        for window, part in self._by_window(numbers):
            self._held.hold(window, self._number, HeldGroup(numbers[part], rows.take(part)))

    def _by_window(self, numbers: Int64Array) -> Iterator[tuple[int, Int64Array]]:
        """The next windows that need any of these rows, with the positions of those they need."""
        windows = self._next[numbers]
        order = np.argsort(windows, kind="stable")
        edges = np.flatnonzero(np.diff(windows[order])) + 1
        for part in np.split(order, edges):
            if len(part) and windows[part[0]] != _NEVER:
                yield int(windows[part[0]]), part

    def _decoded(
        self,
        batches: Sequence[ScannedBatch],
        firsts: Int64Array,
        numbers: Int64Array,
        batch: Int64Array,
    ) -> Rows:
        """Rows of batches, in the order given."""
        used, of = np.unique(batch, return_inverse=True)
        mine = [batches[number] for number in used.tolist()]
        messages = [read_exactly(self._source, one.offset, one.size) for one in mine]
        ends = np.array([len(message) for message in messages], np.int64)
        return decoded_rows(
            (messages, np.arange(len(mine)), np.zeros_like(ends), ends),
            np.array([one.rows for one in mine], np.int64),
            of,
            numbers - firsts[batch],
            lambda item: self.describe_row(int(firsts[used[item]])),
        )

    def _hold_for_later(self, window: int, numbers: Int64Array, rows: Rows) -> None:
        """Hold the rows of a window that others need too."""
        later = self._later.pop(window, None)
        if later is not None:
            self._next[self._planned[window]] = later
            self._hold(numbers, rows)

    def _read_again(self, window: int) -> list[HeldGroup]:
        """Rows of a window that were not held, read by their ranges, with those of the next."""
        lacking = self._held.take_lacking(window, self._number, _AGAIN_BYTES)
        if not lacking:
            return []
        wanted = np.sort(np.concatenate(list(lacking.values())))
        reader = self._found_reader()
        rows = reader.read_rows(wanted, whole_batches=reader.reads_whole(wanted))
        groups = {
            place: HeldGroup(numbers, rows.take(np.searchsorted(wanted, numbers)))
            for place, numbers in lacking.items()
        }
        mine = groups.pop(window)
        for place, group in groups.items():
            self._held.hold(place, self._number, group)
        return [mine]

    def _found_reader(self) -> RowReader:
        """Reader of the rows that the pass has found so far."""
        if self._again is None or len(self._again.index) != len(self._found):
            index = self._found.index(self._preamble.end)
            self._again = RowReader(self._ranges, self._preamble, index)
        return self._again

    def _refuse(self) -> None:
        """Refuse a file that holds other rows than listed, once all of them are known.

        Raises:
            InvalidShardFormatError: always.
        """
        for batch, _ in self._batches:
            self._found.add(batch)
            self._end = batch.end
            self._fetch.leave(self._end)
        check_end(self._source, self._preamble, self._end)
        index = self._found.index(self._preamble.end)
        for listing in self._listings:
            listing.check_agrees(index, self.name)
        raise InvalidShardFormatError(f"{self.name}: it does not hold the rows that are listed")


def _guessed(listing: Listing, schema_size: int, size: int) -> ShardIndex:
    """Index of rows of one size, each in a record batch of its own."""
    count = len(listing.coords)
    mean = max(1, (size - schema_size) // max(1, count))
    return ShardIndex(
        coords=listing.coords,
        offset=(schema_size + mean * np.arange(count)).astype(np.uint64),
        size=np.full(count, mean, np.uint64),
        batch_row=np.zeros(count, np.uint32),
        schema_size=schema_size,
    )
