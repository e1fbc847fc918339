"""Shard stream: the body in pieces, then the head, with size and checksum."""

from collections.abc import Generator

from runtime.storage.base import Pieces
from runtime.storage.checksum import combine, crc32c


class ShardStream:
    """Iterator over the body that computes size, head and checksum of the whole file.

    Attributes:
        size: bytes of head and body, complete once iteration has ended.
        head: the bytes that stand before the body, known once iteration has ended.
    """

    def __init__(self, pieces: Pieces, head_bytes: int) -> None:
        self._pieces = pieces
        self.head_bytes = head_bytes
        self._body_crc = 0
        self.size = head_bytes
        self.head = b""

    def __iter__(self) -> Generator[bytes]:
        """Yield the pieces of the body; the writer may hold only one at a time."""
        head = yield from self._counted()
        if len(head) != self.head_bytes:
            raise ValueError(f"expected a head of {self.head_bytes} bytes, found {len(head)}")
        self.head = head

    def _counted(self) -> Pieces:
        try:
            while True:
                piece = next(self._pieces)
                self._body_crc = crc32c(piece, self._body_crc)
                self.size += len(piece)
                yield piece
        except StopIteration as end:
            return bytes(end.value)
        finally:
            self._pieces.close()

    @property
    def body_bytes(self) -> int:
        """Length of the body so far."""
        return self.size - self.head_bytes

    @property
    def crc(self) -> int:
        """The checksum of head and body."""
        return combine(crc32c(self.head), self._body_crc, self.body_bytes)
