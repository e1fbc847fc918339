"""Export files that feed one output shard.

Remote files of up to 256 MiB in all are fetched whole, in parts, and work begins with the first;
local ones that are no larger than the windows of a shard are read at once; others are read by
merged ranges, or in one pass if their rows cannot be found otherwise. What several files need first
is requested side by side.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import Self

from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import BlockAssignment
from braid.transcode.row_window import RowWindow
from braid.typing import Int32Array, Int64Array
from consumer import heap
from consumer.executor.fetches import Fetches
from consumer.executor.file_opening import opened_files
from consumer.executor.pass_reader import Passing
from consumer.executor.row_locations import RowLocations
from consumer.executor.source_file import SourceFile, guarded
from consumer.executor.window_reader import WindowReader
from delivery.ledger.source_digest import source_digest
from memmodel.estimate import LOCAL_WHOLE_BYTES
from memmodel.estimate import SHARED_SOURCE_BYTES as SCANNED_BYTES
from memmodel.estimate import WHOLE_OBJECT_BYTES as WHOLE_BYTES
from runtime.storage import Storage
from runtime.urls import is_remote


class SourceFiles:
    """All files that feed an output shard; row numbers count over all of them.

    Args:
        storage: where the export lies.
        paths: Arrow files, relative to the storage.

    Raises:
        ObjectNotFound: a file is missing.
        InvalidShardFormatError: a file or its index is damaged, or two rows hold one chunk.
        UnreachableError: a file was written while it was read.
    """

    def __init__(self, storage: Storage, paths: Sequence[str]) -> None:
        remote = is_remote(storage.url)
        self.files: list[SourceFile] = []
        left = WHOLE_BYTES if remote else LOCAL_WHOLE_BYTES
        with ExitStack() as stack:
            fetches = Fetches()
            stack.callback(fetches.close)
            passes = Fetches()
            stack.callback(passes.close)
            passing = Passing(passes)
            opened = stack.enter_context(opened_files(storage, paths, side_by_side=remote))
            for path, one in zip(paths, opened, strict=True):
                scanned = left - WHOLE_BYTES + SCANNED_BYTES if remote else left
                self.files.append(
                    SourceFile(
                        *(storage, path, left, one),
                        scanned_bytes=scanned,
                        fetches=fetches,
                        passing=passing,
                    )
                )
                stack.callback(self.files[-1].close)
                left -= self.files[-1].whole_bytes
            passing.leave_room(sum(file.whole_bytes for file in self.files))
            self._locations = RowLocations.of(self.files)
            with guarded(self.files):
                self._locations.check_unique()
            self._reader = WindowReader(self._locations, fetches, remote=remote)
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    @property
    def coords(self) -> Int32Array:
        """(n, 3) block coordinates x, y, z of all rows."""
        return self._locations.coords

    @property
    def requests(self) -> int:
        """Reads so far."""
        return sum(file.requests for file in self.files)

    @property
    def digest(self) -> str:
        """Digest of the stamps of all files as they were opened."""
        return source_digest({path: s for file in self.files for path, s in file.stamps.items()})

    def check_unchanged(self) -> None:
        """Refuse what was read if any file was written meanwhile.

        Raises:
            UnreachableError: one was.
        """
        for file in self.files:
            file.check_unchanged()

    def verify(self, *, doubted: bool) -> None:
        """Prove that what was read is what lies there.

        Args:
            doubted: a chunk did not decode.

        Raises:
            DamagedInTransit: it is not; a retry may help.
        """
        for file in self.files:
            file.verify(doubted=doubted)

    def check_extents(self, scale: ScaleSpec, z_compress: int) -> None:
        """Refuse files with rows outside the extent of their name, which every shard would miss.

        Raises:
            InvalidShardFormatError: there is such a row.
        """
        for file in self.files:
            file.check_extent(scale, z_compress)

    def bytes_of(self, rows: Int64Array) -> int:
        """Bytes of the record batches that hold these rows, each counted once."""
        return self._locations.bytes_of(rows)

    def windows(
        self, assigned: BlockAssignment, on_ending: Callable[[], None] = lambda: None
    ) -> Generator[RowWindow]:
        """Read the rows that a shard needs, window by window; the next is read ahead.

        Args:
            assigned: of the shard.
            on_ending: called before the last eighth of the windows, if there are so many.
        """

        def note_ending() -> None:
            if any(file.passed for file in self.files):
                heap.trim()  # rows that have had their turn: the next shard begins if there is room
            on_ending()

        yield from self._reader.windows(assigned, note_ending)
        for file in self.files:
            file.finish()
        self._locations = RowLocations.of(self.files)  # a pass has found them
