"""The readers on any bytes: Arrow files, their CSV indices, shard files.

Whatever is wrong ends in a `BraidError` of one line; what is read must be whole.
"""

import struct
from typing import Literal

from braid.dvid.csv_index import parse_listing
from braid.exceptions import BraidError
from braid.io.byte_source import BytesSource
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ShardingSpec
from braid.reader import ShardRangeReader, scan_offsets

_ENCODINGS: tuple[Literal["raw", "gzip"], ...] = ("raw", "gzip")


def arrow_shard(data: bytes) -> None:
    """Two bytes of CSV length, the CSV (none if 0), then the Arrow file: every row is read."""
    if len(data) < 2:
        return
    (length,) = struct.unpack_from("<H", data)
    csv, arrow = data[2 : 2 + length], data[2 + length :]
    try:
        with ShardRangeReader(
            BytesSource(arrow, "x.arrow"), BytesSource(csv, "x.csv") if length else None
        ) as reader:
            rows = reader.read_rows(range(len(reader)))
    except BraidError as error:
        _check_text(error)
        return
    assert len(rows) == len(reader), "rows are missing"
    for starts, values in (
        (rows.block_start, rows.blocks),
        (rows.label_start, rows.labels),
        (rows.supervoxel_start, rows.supervoxels),
    ):
        assert starts[0] == 0, "parts do not begin at 0"
        assert starts[-1] == len(values), "parts do not end at the end"
        assert (starts[1:] >= starts[:-1]).all(), "parts overlap"


def arrow_scan(data: bytes) -> None:
    """A file without an index: the walk along its messages ends, within the file."""
    try:
        index = scan_offsets(BytesSource(data, "x.arrow"))
    except BraidError as error:
        _check_text(error)
        return
    assert index.end <= len(data), "a batch reaches beyond the file"


def csv_index(data: bytes) -> None:
    """An index of any dialect."""
    try:
        parse_listing(data, "x.csv").index()
    except BraidError as error:
        _check_text(error)


def shard_file(data: bytes) -> None:
    """One byte of encodings, one of minishard bits, then a shard file: every chunk is read."""
    if len(data) < 2:
        return
    spec = ShardingSpec(
        preshift_bits=data[1] >> 4 & 7,
        minishard_bits=data[1] & 3,
        shard_bits=2,
        data_encoding=_ENCODINGS[data[0] & 1],
        minishard_index_encoding=_ENCODINGS[data[0] >> 1 & 1],
    )
    try:
        file = ShardFile(BytesSource(data[2:], "x.shard"), spec, max_chunk_bytes=1 << 20)
        found = [chunk for chunk, payload in file.iter_chunks(64) if file.decode(chunk, payload)]
    except BraidError as error:
        _check_text(error)
        return
    assert found == sorted(set(found)), "ids out of order"


def _check_text(error: BraidError) -> None:
    assert "\n" not in str(error), "an error of several lines"
