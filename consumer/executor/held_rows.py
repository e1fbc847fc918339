"""Buffer of export rows that were read before their window; bounded in bytes."""

from typing import Final, NamedTuple

import numpy as np

from braid.dvid.rows import Rows
from braid.typing import Int64Array

_LABEL_BYTES: Final = 8  # of a label, and of a supervoxel
_ROW_BYTES: Final = 48  # of a row besides: coordinates, sizes, starts
_COPIES: Final = 2  # of rows that are read again, for a moment


class HeldGroup(NamedTuple):
    """Rows of one file that one window needs.

    Attributes:
        numbers: (k,) of the rows in their file.
        rows: the rows themselves.
    """

    numbers: Int64Array
    rows: Rows

    @property
    def held_bytes(self) -> int:
        """Bytes that the rows take."""
        lists = len(self.rows.labels) + len(self.rows.supervoxels)
        return len(self.rows.blocks) + _LABEL_BYTES * lists + _ROW_BYTES * len(self.rows)


class HeldRows:
    """Rows by window and file. Where they would take too much, those of the last window go.

    Attributes:
        most_bytes: to hold.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._groups: dict[tuple[int, int], list[HeldGroup]] = {}
        self._gone: dict[tuple[int, int], list[tuple[Int64Array, int]]] = {}
        self._bytes, self._gone_bytes = 0, 0

    def has_room(self, more_bytes: int) -> bool:
        """Whether so much more may be held and nothing goes, now or when what went is read."""
        waiting = self._bytes + _COPIES * self._gone_bytes
        return waiting + more_bytes <= self.most_bytes

    def hold(self, window: int, file: int, group: HeldGroup) -> None:
        """Hold rows until a window is read."""
        self._groups.setdefault((window, file), []).append(group)
        self._bytes += group.held_bytes
        while self._bytes > self.most_bytes:
            last = max(self._groups)
            for one in self._release(last):
                self.lack(*last, one.numbers, one.held_bytes)

    def lack(self, window: int, file: int, numbers: Int64Array, lacking_bytes: int) -> None:
        """Note rows that are not held, and are to be read again for a window."""
        self._gone.setdefault((window, file), []).append((numbers, lacking_bytes))
        self._gone_bytes += lacking_bytes

    def take(self, window: int, file: int) -> list[HeldGroup]:
        """Rows of a file that are held for a window."""
        return self._release((window, file))

    def take_lacking(self, window: int, file: int, most_bytes: int) -> dict[int, Int64Array]:
        """Rows of a file to be read again, by window: of this one, and of those behind it.

        Args:
            window: that is read now; nothing is returned if it lacks no row.
            file: its number.
            most_bytes: about so many, but all that this window lacks.
        """
        found: dict[int, Int64Array] = {}
        taken_bytes = 0
        while (window, file) in self._gone and (not found or taken_bytes < most_bytes):
            parts = self._gone.pop((window, file))
            found[window] = np.concatenate([numbers for numbers, _ in parts])
            taken_bytes += sum(lacking_bytes for _, lacking_bytes in parts)
            window += 1
        self._gone_bytes -= taken_bytes
        return found

    def _release(self, place: tuple[int, int]) -> list[HeldGroup]:
        groups = self._groups.pop(place, [])
        self._bytes -= sum(group.held_bytes for group in groups)
        return groups
