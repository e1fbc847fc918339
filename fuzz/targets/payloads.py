"""The kernel that takes rows all the way to payloads.

A row of an input is a good frame around a block, as the block targets make them, or raw bytes
instead of a frame. Good rows are held against the kernels for the single steps.
"""

import zlib

import numpy as np

import _braid
from braid.native_symbols import libdeflate, libzstd
from fuzz.targets.kernels import CHUNK, GZIP_WBITS, split
from producer.export_writer import compress

RAW_BYTES = 40  # the second row's frame, and what it claims to hold


def payloads(data: bytes) -> None:
    """Two rows, taken in any order and as often as the first bytes say."""
    count = data[0] & 7 if data else 0
    if libzstd() is None or libdeflate() is None or len(data) < 2 + count:
        return
    flags, body = data[0], data[1 + count :]
    rows = np.frombuffer(data[1 : 1 + count], np.int8).astype(np.int64)
    block, mapping = split(body, CHUNK, repair=bool(flags & 8), mapped=bool(flags & 16))
    frames = [compress(block), body[:RAW_BYTES]]
    try:
        batch = _braid.PayloadBatch(
            rows,
            b"".join(frames),
            np.cumsum([0, *map(len, frames)]),
            np.array([len(block), RAW_BYTES], np.uint32),
            libzstd() or (),
            libdeflate() if flags & 32 else None,
            1 + (flags >> 6),
            *(_with_a_row_more(part) for part in mapping),
        )
        batch.work()
        made = batch.result()
    except _braid.KernelError:
        return
    if 0 not in rows:
        return
    expected = _braid.transcode_blocks(block, np.array([0, len(block)]), *mapping).data.tobytes()
    for row, begin, end in zip(rows.tolist(), made.start[:-1], made.start[1:], strict=True):
        payload = made.data[begin:end]
        chunk = zlib.decompress(payload, GZIP_WBITS) if flags & 32 and payload else payload
        assert row or chunk == expected, "one kernel and the single steps disagree"


def _with_a_row_more(part: np.ndarray) -> np.ndarray:
    """Starts of one row's list become those of two; the second is empty."""
    return np.append(part, part[-1:]) if part.dtype == np.int64 else part
