"""Shard files that were written after their receipts: read whole, since their bytes may be others.

A bucket's listing has the checksum of each object, a directory's has only sizes and times. A file
of the right size that is younger than its receipt was written by something else: a copy, a repair
of the disk, an editor.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from braid.precomputed.sharding import shard_hex
from braid.precomputed.volume_spec import ScaleSpec
from delivery.messages import shard_key
from producer.planner import Outputs, list_outputs
from producer.provenance import Provenance
from producer.run_request import Request
from runtime.storage import ObjectInfo, Storage, open_storage
from runtime.storage.checksum import crc32c, encode

MOST_BYTES: Final = 16 << 30  # read by one command; a copy of a whole volume has more
_PIECE_BYTES: Final = 8 << 20
_CLOCKS: Final = timedelta(seconds=5)  # between a worker and a file server


class RewrittenFiles:
    """Reads the checksums of such files, up to a number of bytes.

    Args:
        dest: the volume.
        provenance: what the receipts say.

    Attributes:
        unread: keys of files that were beyond that number.
    """

    def __init__(self, dest: Storage, provenance: Provenance) -> None:
        self._dest = dest
        self._provenance = provenance
        self._left_bytes = MOST_BYTES
        self.unread: list[str] = []

    def checked(self, scale: ScaleSpec, outputs: Outputs) -> Outputs:
        """The files of a scale, those that are younger than their receipts with a checksum."""
        found = dict(outputs)
        for shard, file in outputs.items():
            key = shard_key(scale.index, shard_hex(shard, scale.sharding))
            if not self._is_younger(key, file):
                continue
            if file.size > self._left_bytes:
                self.unread.append(key)
                continue
            self._left_bytes -= file.size
            found[shard] = file._replace(crc32c=self._checksum(file.path))
        return found

    def notes(self) -> list[str]:
        """Note on files that were not read, if there are any."""
        if not self.unread:
            return []
        count, example = f"{len(self.unread):,}", self.unread[0]
        note = (
            f"shard files written after their receipts: {count}, such as that of {example}: is "
            "this volume a copy? `verify --deep` compares their bytes"
        )
        return [note]

    def _is_younger(self, key: str, file: ObjectInfo) -> bool:
        origin = self._provenance.origins.get(key)
        if file.crc32c is not None or origin is None or origin.content is None:
            return False
        return origin.size == file.size and file.updated > origin.finished + _CLOCKS

    def _checksum(self, path: str) -> str:
        source, crc = self._dest.source(path), 0
        try:
            for offset in range(0, source.size, _PIECE_BYTES):
                crc = crc32c(source.read_at(offset, _PIECE_BYTES), crc)
        finally:
            source.close()
        return encode(crc)


def checked_outputs(
    request: Request, provenance: Provenance
) -> tuple[Mapping[int, Outputs], Sequence[str]]:
    """The shard files of all scales concerned, and notes on those whose bytes are not known."""
    dest = open_storage(request.dest)
    rewritten = RewrittenFiles(dest, provenance)
    scales = [request.volume.scales[index] for index in request.concerned]
    outputs = {one.index: rewritten.checked(one, list_outputs(dest, one)) for one in scales}
    return outputs, rewritten.notes()
