"""Speed of crc32c on one core, by its processor time: whole objects, pages, proof of a large file.

`python -m benchmarks.checksums` prints a line for each. Processor time, because other programs then
count for little.
"""

import time
from collections.abc import Callable

import numpy as np

from runtime.storage.checked_reads import PAGE_BYTES, CheckedReads
from runtime.storage.checksum import crc32c, encode

_MIB = 1 << 20
_FILE_BYTES = 256 * _MIB
_WINDOW_BYTES = 8 * _MIB  # of one request
_ROUNDS = 5


def main() -> None:
    """Measure each and print GB/s of processor time, the best of some rounds."""
    data = np.random.default_rng(1).bytes(_FILE_BYTES)
    expected = encode(crc32c(data))
    windows = range(0, _FILE_BYTES, _WINDOW_BYTES)

    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    def pages() -> None:
        for start in range(0, _FILE_BYTES, PAGE_BYTES):
            crc32c(data[start : start + PAGE_BYTES])

    def ranges(prove: bool) -> None:
        reads = CheckedReads("file", _FILE_BYTES, expected, read)
        for offset in windows:
            reads.read_at(offset, _WINDOW_BYTES)
        if prove:
            reads.verify()

    def copies() -> None:
        for offset in windows:
            read(offset, _WINDOW_BYTES)

    copy_s = _best_s(copies)
    read_s = _best_s(lambda: ranges(False)) - copy_s
    proof_s = _best_s(lambda: ranges(True)) - copy_s - read_s
    _show("whole object", _best_s(lambda: crc32c(data)))
    _show("pages of 4 KiB, checksum alone", _best_s(pages))
    _show("ranges, page by page", read_s)
    print(f"proof of {_FILE_BYTES // _MIB} MiB: {proof_s:.3f} s")


def _best_s(action: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        begin_s = time.process_time()
        action()
        times.append(time.process_time() - begin_s)
    return min(times)


def _show(what: str, seconds: float) -> None:
    print(f"{what}: {_FILE_BYTES / seconds / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
