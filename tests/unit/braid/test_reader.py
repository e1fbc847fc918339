"""Shards of every dialect read back row by row; damage is refused by file, row and chunk."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import braid
from braid.dvid.csv_index import parse_listing
from braid.exceptions import (
    BraidError,
    ChunkNotFoundError,
    DecompressionError,
    InvalidCoordinateError,
    InvalidShardFormatError,
    SourceNotFoundError,
)
from braid.io.byte_source import BytesSource
from braid.reader import (
    LabelType,
    Rows,
    ShardRangeReader,
    ShardReader,
    scan_offsets,
    write_index,
)
from tests.support.arrow_exports import (
    EXPORTS,
    NAMES,
    ROWS,
    TYPES,
    Export,
    Row,
    csv_text,
    made_arrow,
    made_batch,
    made_export,
    made_rows,
    made_schema,
)

READERS = [ShardReader, ShardRangeReader]
CURRENT = "x,y,z,offset,size,batch_idx"


def opened(export: Export, reader: type[ShardRangeReader] = ShardRangeReader) -> ShardRangeReader:
    """A reader of files in memory."""
    csv = None if export.csv is None else BytesSource(export.csv, "made.csv")
    offsets = None if export.offsets is None else BytesSource(export.offsets, "made-offsets.csv")
    return reader(BytesSource(export.arrow, "made.arrow"), csv, offsets)


def as_rows(rows: Rows) -> list[Row]:
    """What a reader gave, as plain rows."""
    return [
        Row(
            coords=tuple(rows.coords[i].tolist()),
            labels=rows.label_list(i).tolist(),
            supervoxels=rows.supervoxel_list(i).tolist(),
            block=rows.block(i).tobytes(),
            uncompressed_size=int(rows.uncompressed_size[i]),
        )
        for i in range(len(rows))
    ]


def batch_rows(rows: list[Row], nullable: bool = False) -> tuple[pa.RecordBatch, pa.Schema]:
    """One batch and its schema."""
    schema = made_schema(nullable=nullable)
    return made_batch(rows, schema), schema


@given(ROWS, EXPORTS, st.sampled_from(READERS), st.randoms())
def test_every_dialect(
    rows: list[Row], how: dict[str, Any], reader: type[ShardReader], rng: Random
) -> None:
    """Any dialect, batch size, IPC format and nullability gives the rows that went in."""
    with opened(made_export(rows, **how), reader) as shard:
        assert len(shard) == shard.chunk_count == len(rows)
        assert shard.is_empty == (not any(any(row.labels) for row in rows))
        assert shard.available_chunks == [row.coords for row in rows]
        assert as_rows(shard.read_rows(range(len(rows)))) == rows
        some = [rng.randrange(len(rows)) for _ in range(5)] if rows else []
        assert as_rows(shard.read_rows(some)) == [rows[i] for i in some]


@given(ROWS, EXPORTS)
def test_indices_of_all_dialects_agree(rows: list[Row], how: dict[str, Any]) -> None:
    """The index is the same whatever file it came from, and so is a scan; it reads back."""
    export = made_export(rows, **how)
    index = opened(export).index
    scanned = scan_offsets(BytesSource(export.arrow))
    for name in ("coords", "offset", "size", "batch_row"):
        np.testing.assert_array_equal(getattr(index, name), getattr(scanned, name))
    assert index.schema_size == scanned.schema_size
    again = opened(Export(export.arrow, write_index(index).encode(), None)).index
    np.testing.assert_array_equal(again.offset, index.offset)
    np.testing.assert_array_equal(again.coords, index.coords)


@pytest.mark.parametrize("reader", READERS)
def test_arrays_are_contiguous(reader: type[ShardReader]) -> None:
    """The hand-over to the kernels: dtypes, shapes, alignment, also of a single row."""
    shard = opened(made_export(made_rows(5)), reader)
    for wanted in ([0], [4, 1], []):
        rows = shard.read_rows(wanted)
        k = len(wanted)
        assert rows.coords.shape == (k, 3)
        for name, dtype, size in [
            ("coords", np.int32, 3 * k),
            ("blocks", np.uint8, rows.block_start[-1]),
            ("block_start", np.int64, k + 1),
            ("uncompressed_size", np.uint32, k),
            ("labels", np.uint64, rows.label_start[-1]),
            ("label_start", np.int64, k + 1),
            ("supervoxels", np.uint64, rows.supervoxel_start[-1]),
            ("supervoxel_start", np.int64, k + 1),
        ]:
            array = getattr(rows, name)
            assert array.dtype == dtype
            assert array.size == size
            assert array.flags.c_contiguous
            assert array.flags.aligned


def test_the_real_shard(shared: Path) -> None:
    """The published shard reads the same in both dialects; a scan writes its CSV byte for byte."""
    name = "s1/30720_24576_28672"
    current = ShardRangeReader(str(shared / f"data/mcns-edge/{name}.arrow"))
    old = ShardReader(shared / f"data/mcns-edge-old/{name}.arrow")
    assert len(current) == len(old) == 258
    assert as_rows(current.read_rows(range(258))) == as_rows(old.read_rows(range(258)))
    csv = (shared / f"data/mcns-edge/{name}.csv").read_bytes()
    assert write_index(old.index).encode() == csv


def test_requests_are_merged() -> None:
    """Neighbouring rows share a request, rows far apart do not, and the given order is kept."""
    rows = made_rows(40, block_bytes=30_000)
    shard = opened(made_export(rows))
    before = shard.requests
    assert as_rows(shard.read_rows(range(39, -1, -1))) == rows[::-1]
    assert shard.requests - before == 1
    before = shard.requests
    shard.read_rows([39, 0])
    assert shard.requests - before == 2


def test_rows_that_are_not_there() -> None:
    """Asking beyond the index is the caller's mistake."""
    shard = opened(made_export(made_rows(3)))
    for rows in ([3], [-1]):
        with pytest.raises(IndexError, match=r"rows 0\.\.2"):
            shard.read_rows(rows)


def test_indices_next_to_the_arrow_file_are_found(tmp_path: Path) -> None:
    """Given only the Arrow path, the indices next to it are used; without any it is scanned."""
    rows = made_rows(6)
    for dialect in ("current", "beside", "alone", "march", "none"):
        folder = tmp_path / dialect
        folder.mkdir()
        export = made_export(rows, dialect, batch_size=2)
        (folder / "0_0_0.arrow").write_bytes(export.arrow)
        if export.csv is not None:
            (folder / "0_0_0.csv").write_bytes(export.csv)
        if export.offsets is not None:
            (folder / "0_0_0-offsets.csv").write_bytes(export.offsets)
        for reader in READERS:
            with reader(str(folder / "0_0_0.arrow")) as shard:
                assert as_rows(shard.read_rows(range(6))) == rows
    old = tmp_path / "beside"
    with ShardRangeReader(old / "0_0_0.arrow", old / "0_0_0.csv") as shard:
        assert shard.requests == 2  # schema and end mark: the companion was found, no scan


def test_a_stale_companion_is_not_read() -> None:
    """Beside a current index an offsets file can only be a leftover."""
    rows = made_rows(4)
    export = made_export(rows)
    stale = made_export(made_rows(7, 9), "beside").offsets
    with opened(Export(export.arrow, export.csv, stale)) as shard:
        assert as_rows(shard.read_rows(range(4))) == rows


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("label", [0, 7])
def test_zeros_only(reader: type[ShardReader], label: int) -> None:
    """A shard is empty if no row has a label but 0, the last of many included."""
    zeros = [Row((x, 0, 0), [0], [0], b"x", 1) for x in range(200)]
    rows = [*zeros, Row((200, 0, 0), [0, label], [0, 9], b"x", 1)]
    assert opened(made_export(rows, "current"), reader).is_empty == (label == 0)


def test_missing_files(tmp_path: Path) -> None:
    """A path that was named and is not there is an error; an index that may be absent is not."""
    with pytest.raises(SourceNotFoundError, match=r"File not found: .*absent\.arrow"):
        ShardReader(tmp_path / "absent.arrow")
    (tmp_path / "a.arrow").write_bytes(made_export([], "none").arrow)
    with pytest.raises(SourceNotFoundError, match=r"File not found: .*absent\.csv"):
        ShardReader(tmp_path / "a.arrow", tmp_path / "absent.csv")
    assert ShardReader(tmp_path / "a.arrow").is_empty


# ---- damage


def read_whole(export: Export) -> Rows:
    """Every row of a shard."""
    shard = opened(export)
    return shard.read_rows(range(len(shard)))


def refusal(export: Export) -> str:
    """The one line that opening and reading ends with."""
    with pytest.raises(InvalidShardFormatError) as caught:
        read_whole(export)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("dialect", ["current", "old", "none", "zero"])
def test_a_second_stream_after_the_first(dialect: str) -> None:
    """A repeated export appended its stream: refused, whichever run the CSV is from."""
    first = made_export(made_rows(4, 1), dialect)
    second = made_export(made_rows(5, 2), dialect)
    for csv in (first.csv, second.csv):
        text = refusal(Export(first.arrow + second.arrow, csv, None))
        assert "made.arrow" in text
        assert "e-export into an empty folder" in text


def test_the_same_stream_twice() -> None:
    """An export repeated without changes: the CSV fits the first stream, the file is too long."""
    export = made_export(made_rows(4))
    text = refusal(Export(export.arrow * 2, export.csv, None))
    assert "a second stream was appended. Re-export into an empty folder" in text


@pytest.mark.parametrize("dialect", ["current", "old", "none"])
@pytest.mark.parametrize("ipc", ["stream", "file"])
def test_every_truncation(dialect: str, ipc: str) -> None:
    """However much of the end is cut off, the shard is refused — but for the end mark itself."""
    rows = made_rows(3)
    export = made_export(rows, dialect, ipc=ipc)
    size = len(export.arrow)
    for length in {*range(0, size, 7), *range(size - 20, size)}:
        cut = Export(export.arrow[:length], export.csv, None)
        if ipc == "stream" and length == size - 8:
            assert as_rows(opened(cut).read_rows(range(3))) == rows
        elif dialect != "none" or ipc == "file" or not _ends_with_a_batch(export.arrow, length):
            assert "made.arrow" in refusal(cut)


def _ends_with_a_batch(arrow: bytes, length: int) -> bool:
    """Whether a stream without footer ends with a batch, so that it looks whole."""
    index = scan_offsets(BytesSource(arrow))
    ends = [index.schema_size, *(index.offset + index.size).tolist()]
    return length in ends


Change = Callable[[list[list[int]]], None]


def _swap(lines: list[list[int]]) -> None:
    lines[1][:3], lines[2][:3] = lines[2][:3], lines[1][:3]


def _drop_last(lines: list[list[int]]) -> None:
    del lines[-1]


def _drop_first(lines: list[list[int]]) -> None:
    del lines[0]


def _drop_middle(lines: list[list[int]]) -> None:
    del lines[2]


def _repeat(lines: list[list[int]]) -> None:
    lines.append(list(lines[0]))


def _put(row: int, column: int, value: int) -> Change:
    def change(lines: list[list[int]]) -> None:
        lines[row][column] = value

    return change


def _add(row: int, column: int, value: int) -> Change:
    def change(lines: list[list[int]]) -> None:
        lines[row][column] += value

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_swap, "made.arrow: row 1, chunk .* the stream holds chunk .* index and stream disagree"),
        (_drop_last, "bytes follow the last row that the index lists"),
        (_drop_first, "the index begins at byte"),
        (_drop_middle, "made.csv: row 2: its range does not follow"),
        (_repeat, "made.csv: "),
        (_put(1, 3, -8), "made.csv: row 0: offset or size is not a byte range"),
        (_put(4, 4, 2**62), "made.arrow: cut short"),
        (_put(4, 4, 0), "made.csv: row 4: offset or size"),
        (_put(4, 3, 2**63 - 1), "made.csv: row 4: offset . size is not a byte range"),
        (_add(4, 4, 8), "made.arrow"),
        (_add(1, 3, 8), "made.csv: row 1: its range does not follow"),
        (_put(1, 5, 1), "made.csv: row 1: batch_idx does not count up from 0"),
        (_put(1, 0, 2**31), "made.csv: row 1: a chunk coordinate is not an int32"),
        (_put(1, 0, 19_000), "made.arrow: row 1, chunk"),
    ],
)
def test_an_index_that_disagrees(change: Change, text: str) -> None:
    """Each way in which a CSV can contradict its stream is refused, by file and row."""
    export = made_export(made_rows(5))
    assert export.csv is not None
    first, header, *lines = export.csv.decode().split()[1:]
    assert first.startswith("schema_size")
    assert header == CURRENT
    table = [[int(v) for v in line.split(",")] for line in lines]
    change(table)
    with pytest.raises(InvalidShardFormatError, match=text):
        read_whole(Export(export.arrow, csv_text(CURRENT, table), None))


@pytest.mark.parametrize("dialect", ["old", "beside", "march"])
def test_an_old_index_that_disagrees(dialect: str) -> None:
    """Old dialects are held to the stream when the shard is opened, with or without offsets."""
    export = made_export(made_rows(5), dialect)
    assert export.csv is not None
    lines = export.csv.decode().split()
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]
    for i in (1, 2):  # keep rec in file order
        swapped[i] = ",".join([*swapped[i].split(",")[:3], *lines[i].split(",")[3:]])
    for changed in (swapped, lines[:-1]):
        csv = "\n".join(changed).encode()
        assert "made.csv" in refusal(Export(export.arrow, csv, export.offsets))


def test_a_batch_with_other_rows_than_listed() -> None:
    """The index lists two batches of two, the stream holds the four rows in batches of 1 and 3."""
    rows = made_rows(4)
    schema = made_schema()
    arrow, ranges = made_arrow([made_batch(rows[:1], schema), made_batch(rows[1:], schema)], schema)
    lines = [(*row.coords, *ranges[i // 2], i % 2) for i, row in enumerate(rows)]
    text = refusal(Export(arrow, csv_text(CURRENT, lines), None))
    assert "the index lists 2 rows of a batch that has 1" in text


def test_one_chunk_twice() -> None:
    """A chunk in two rows is refused, by index and by scan."""
    rows = made_rows(3)
    rows.append(rows[1])
    for dialect in ("current", "none"):
        text = refusal(made_export(rows, dialect))
        assert f"chunk {rows[1].coords} is there twice, in rows 1 and 3" in text


@pytest.mark.parametrize(
    "csv",
    [
        b"",
        b"\n",
        b"# schema_size=5\n",
        b"a,b,c\n1,2,3\n",
        b"x,y,z,x\n1,2,3,4\n",
        b"x,y,z,offset,size,batch_idx\n1,2\n",
        b"x,y,z,rec\n1,2,3,4\n",
        b"x,y,z,rec\n1,2,three,0\n",
        b"x,y,z,rec\n1,2,,0\n",
        b"x,y,z,rec\n1,2,3.5,0\n",
        b"x,y,z,rec\n1,2,99999999999999999999,0\n",
        b"x,y,z,rec\n1,2,3,-1\n",
        b"\x00\xff\xfe",
        b"PK\x03\x04",
    ],
)
def test_garbage_instead_of_an_index(csv: bytes) -> None:
    """What is not an index is refused, naming the file."""
    export = made_export(made_rows(1))
    assert "made.csv: " in refusal(Export(export.arrow, csv, None))


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("1,2,3", r"made.csv: row 1 \('1,2,3'\): 3 fields, the header has 4"),
        ("1,2,3,4,5", r"made.csv: row 1 \('1,2,3,4,5'\): 5 fields, the header has 4"),
        ("1,2,3.5,4", r"made.csv: row 1 \('1,2,3.5,4'\): not whole numbers"),
        ("1,2,\u0663,4", r"made.csv: row 1 \('1,2,.u0663,4'\): not whole numbers"),
        ('"1",2,3,4', r"made.csv: row 1 \(.*\): not whole numbers"),
        (
            "1,2,,4",
            r"made.csv: not a CSV index \(could not convert string '' .* at row 1, column 3",
        ),
        ("1,2,3 4,4", r"made.csv: not a CSV index \(could not convert string '3 4' "),
        ("1,2,3\r,4", r"made.csv: not a CSV index \("),
    ],
)
def test_a_row_of_the_csv_is_named(row: str, text: str) -> None:
    """The row, what stands in it, and what is wrong with it."""
    csv = f"x,y,z,rec\n0,0,0,0\n{row}\n5,5,5,2\n".encode()
    with pytest.raises(InvalidShardFormatError, match=text):
        parse_listing(csv, "made.csv")


@pytest.mark.parametrize(
    "csv",
    [
        b"x,y,z,rec\r\n{},{},{},0\r\n",
        b"rec,z,y,x\n0,{2},{1},{0}\n",
        b"\xef\xbb\xbfx,y,z,rec\n{},{},{},0",
        b"\n# schema_size=0\n# two\n\n x, y, z, rec\n\n {}, {}, {}, 0\n\n",
        b"x,y,z,rec,morton\n{},{},{},0,18446744073709551615\n",
    ],
)
def test_columns_are_found_by_name(csv: bytes) -> None:
    """Order of columns, kind of line ends, spaces and columns that we do not use do not matter."""
    rows = made_rows(1)
    text = csv.decode().format(*rows[0].coords).encode()
    export = Export(made_export(rows).arrow, text, None)
    assert as_rows(opened(export).read_rows([0])) == rows


@pytest.mark.parametrize("nullable_column", range(7))
def test_nulls_are_refused(nullable_column: int) -> None:
    """A null in any column names its row and chunk, or the column, not a zero."""
    rows = made_rows(3)
    batch, schema = batch_rows(rows, nullable=True)
    columns = [column.to_pylist() for column in batch.columns]
    columns[nullable_column][1] = None
    arrays = [pa.array(c, t) for c, t in zip(columns, TYPES, strict=True)]
    arrow, ranges = made_arrow([pa.RecordBatch.from_arrays(arrays, schema=schema)], schema)
    lines = [(*row.coords, *ranges[0], i) for i, row in enumerate(rows)]
    text = refusal(Export(arrow, csv_text(CURRENT, lines), None))
    assert f"column {NAMES[nullable_column]} holds nulls" in text
    if nullable_column < 3:
        assert "nulls" in refusal(Export(arrow, None, None))


def test_null_labels_are_refused() -> None:
    """A null inside a list of labels is not a label."""
    rows = made_rows(2)
    batch, schema = batch_rows(rows)
    lists = pa.array([[1, None], [2]], pa.list_(pa.uint64()))
    arrow, _ = made_arrow([batch.set_column(3, schema.field(3), lists)], schema)
    assert "list of labels holds nulls" in refusal(Export(arrow, None, None))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("chunk_x", pa.int64()),
        ("labels", pa.list_(pa.int64())),
        ("labels", pa.large_list(pa.uint64())),
        ("dvid_compressed_block", pa.large_binary()),
        ("dvid_compressed_block", pa.string()),
        ("uncompressed_size", pa.dictionary(pa.int8(), pa.uint32())),
    ],
)
def test_other_types_are_refused(name: str, kind: pa.DataType) -> None:
    """A column of another type is named with both types."""
    fields = [pa.field(n, kind if n == name else t) for n, t in zip(NAMES, TYPES, strict=True)]
    arrow, _ = made_arrow([], pa.schema(fields))
    text = refusal(Export(arrow, None, None))
    assert f"is {name}: {kind}" in text


def test_missing_and_misnamed_columns_are_refused() -> None:
    """Every column must be there under its name; columns behind them are ignored."""
    schema = made_schema()
    arrow, _ = made_arrow([], schema.remove(6))
    assert "6 columns" in refusal(Export(arrow, None, None))
    arrow, _ = made_arrow([], schema.set(3, pa.field("agglo", TYPES[3])))
    assert "column 3 is agglo" in refusal(Export(arrow, None, None))
    rows = made_rows(3)
    more = made_batch(rows, schema).append_column("note", pa.array(["a", None, "c"]))
    arrow, _ = made_arrow([more], more.schema)
    assert as_rows(opened(Export(arrow, None, None)).read_rows([0, 2])) == [rows[0], rows[2]]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_arrow_compression_is_refused(codec: str) -> None:
    """Compressed bodies could inflate to anything; exports never have them."""
    rows = made_rows(3)
    batch, schema = batch_rows(rows)
    options = pa.ipc.IpcWriteOptions(compression=codec)
    arrow, ranges = made_arrow([batch], schema, options=options)
    lines = [(*row.coords, *ranges[0], i) for i, row in enumerate(rows)]
    for csv in (None, csv_text(CURRENT, lines)):
        assert "compression is not supported" in refusal(Export(arrow, csv, None))


def test_other_files_are_refused() -> None:
    """A file that is not Arrow at all, and one without any bytes."""
    csv = made_export(made_rows(1)).csv
    for arrow in (b"no arrow file at all", b"\xff" * 100, b"ARROW1\0\0", bytes(1000)):
        assert "made.arrow: not an Arrow shard" in refusal(Export(arrow, csv, None))
    assert "the file is empty" in refusal(Export(b"", csv, None))


def test_a_damaged_row_is_named() -> None:
    """Offsets of one row that lead outside its buffer: that row is named, others are readable."""
    rows = made_rows(5)
    export = made_export(rows)
    shard = opened(export)
    begin, size = int(shard.index.offset[2]), int(shard.index.size[2])
    message = bytearray(export.arrow[begin : begin + size])
    needle = np.array([0, len(rows[2].block)], "<i4").tobytes()
    at = message.rindex(needle)
    message[at + 4 : at + 8] = (2**31 - 1).to_bytes(4, "little")
    damaged = export.arrow[:begin] + bytes(message) + export.arrow[begin + size :]
    text = refusal(Export(damaged, export.csv, None))
    assert f"row 2, chunk {rows[2].coords}: damaged record batch" in text
    good = opened(Export(damaged, export.csv, None))
    assert as_rows(good.read_rows([0, 1, 3, 4])) == [rows[i] for i in (0, 1, 3, 4)]


FLIPPED = {
    "stream": made_export(made_rows(4, 3), batch_size=2),
    "file": made_export(made_rows(4, 3), "none", ipc="file"),
}


@settings(max_examples=300)
@given(st.sampled_from(list(FLIPPED)), st.data())
def test_flipped_bits_of_a_stream(ipc: str, data: st.DataObject) -> None:
    """Any bit of the Arrow file flipped: a BraidError, or rows whose arrays are consistent."""
    export = FLIPPED[ipc]
    flipped = bytearray(export.arrow)
    bit = data.draw(st.integers(0, 8 * len(flipped) - 1))
    flipped[bit >> 3] ^= 1 << (bit & 7)
    for csv in {export.csv, None}:
        try:
            rows = read_whole(Export(bytes(flipped), csv, None))
        except BraidError:
            continue
        for start, size in [
            (rows.block_start, len(rows.blocks)),
            (rows.label_start, len(rows.labels)),
            (rows.supervoxel_start, len(rows.supervoxels)),
        ]:
            assert start[0] == 0
            assert (np.diff(start) >= 0).all()
            assert start[-1] == size


@given(st.data())
def test_flipped_bits_of_an_index(data: st.DataObject) -> None:
    """Any bit of the CSV flipped: a BraidError, or the true rows."""
    assert FLIPPED["stream"].csv is not None
    flipped = bytearray(FLIPPED["stream"].csv)
    bit = data.draw(st.integers(0, 8 * len(flipped) - 1))
    flipped[bit >> 3] ^= 1 << (bit & 7)
    try:
        rows = read_whole(Export(FLIPPED["stream"].arrow, bytes(flipped), None))
    except BraidError:
        return
    assert as_rows(rows) == made_rows(4, 3)


@given(st.binary(max_size=200), st.booleans())
def test_garbage_after_the_schema(body: bytes, indexed: bool) -> None:
    """Any bytes where batches should be."""
    schema, _ = made_arrow([], made_schema())
    arrow = schema[:-8] + body
    csv = csv_text(CURRENT, [(1, 2, 3, len(schema) - 8, len(body), 0)]) if indexed else None
    try:
        read_whole(Export(arrow, csv, None))
    except BraidError as error:
        assert "\n" not in str(error)  # noqa: PT017 (an error is one of two good ends)


def test_a_scan_holds_little(tmp_path: Path) -> None:
    """Scanning 100 MB takes a window, not the file."""
    rows = made_rows(200, block_bytes=1_000_000)
    path = tmp_path / "large.arrow"
    path.write_bytes(made_export(rows, "none").arrow)
    assert path.stat().st_size > 80 << 20
    tracemalloc.start()
    with ShardRangeReader(path) as shard:
        assert shard.chunk_count == 200
        assert shard.requests <= 205  # the beginnings of large batches, not what lies between
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 << 20


# ---- the BRAID 1.0 surface


@pytest.mark.parametrize("reader", [braid.ShardReader, braid.ShardRangeReader])
def test_chunk_by_chunk(shared: Path, reader: type[ShardReader]) -> None:
    """Counts, raw data and voxels of the published shard, by chunk coordinate."""
    stem = str(shared / "data/mcns-edge/s1/30720_24576_28672")
    shard = reader(f"{stem}.arrow", f"{stem}.csv")
    assert len(shard.available_chunks) == len(shard) == shard.chunk_count == 258
    assert shard.has_chunk(509, 413, 469)
    assert not shard.has_chunk(0, 0, 0)
    assert not shard.is_empty
    paths = f"arrow_path='{stem}.arrow', csv_path='{stem}.csv'"
    assert repr(shard) == f"{reader.__name__}({paths}, chunks=258)"
    with pa.ipc.open_stream(f"{stem}.arrow") as stream:
        assert stream.schema.remove_metadata() == shard.EXPECTED_SCHEMA
    info = shard.get_chunk_info(509, 413, 469)
    raw = shard.read_chunk_raw(509, 413, 469)
    assert info["coordinates"] == raw["coordinates"] == (509, 413, 469)
    assert info["record_index"] == 0
    assert isinstance(raw["labels"], list)
    assert info["labels_count"] == len(raw["labels"]) == 2
    assert isinstance(raw["compressed_data"], bytes)
    assert info["compressed_size"] == len(raw["compressed_data"])
    for kind in LabelType:
        voxels = shard.read_chunk(511, 413, 469, label_type=kind)
        assert voxels.shape == (64, 64, 64)
        assert voxels.dtype == np.uint64
        listed = shard.read_chunk_raw(511, 413, 469)[kind.value]
        assert set(np.unique(voxels).tolist()) <= set(listed)
    same = shard.read_chunk(511, 413, 469, "supervoxels")  # type: ignore[arg-type]  # a plain string
    np.testing.assert_array_equal(same, shard.read_chunk(511, 413, 469, LabelType.SUPERVOXELS))


def test_chunks_that_cannot_be_read() -> None:
    """Absent chunks, coordinates that are none, and bytes that do not decode: typed and named."""
    rows = made_rows(2, block_bytes=50)
    shard = opened(made_export(rows))
    for call in (shard.read_chunk, shard.read_chunk_raw, shard.get_chunk_info):
        with pytest.raises(ChunkNotFoundError, match=r"made.arrow: no chunk \(77, 0, 0\)"):
            call(77, 0, 0)
    for chunk in ((-1, 0, 0), (0.5, 0, 0), ("a", 0, 0)):
        with pytest.raises(InvalidCoordinateError, match="coordinates are"):
            shard.read_chunk(*chunk)
    with pytest.raises(ValueError, match="colours"):
        shard.read_chunk(*rows[0].coords, label_type="colours")  # type: ignore[arg-type]
    with pytest.raises(DecompressionError, match=r"made\.arrow: row 1, chunk"):
        shard.read_chunk(*rows[1].coords)


def test_public_names() -> None:
    """What code written against BRAID 1.0 imports is there."""
    import braid.cseg_encoder  # noqa: PLC0415 (importing is what is tested)
    import braid.decompressor  # noqa: PLC0415
    import braid.exceptions  # noqa: PLC0415
    import braid.reader  # noqa: PLC0415

    for name in braid.__all__:
        assert getattr(braid, name)
    assert set(braid.__all__) == {
        "ShardReader",
        "ShardRangeReader",
        "LabelType",
        "DVIDDecompressor",
        "CSEGEncoder",
        "BraidError",
        "ChunkNotFoundError",
        "DecompressionError",
    }
    assert issubclass(braid.exceptions.InvalidShardFormatError, braid.BraidError)
    assert issubclass(braid.exceptions.InvalidCoordinateError, braid.BraidError)
    assert callable(braid.decompressor.bits_for)
    assert callable(braid.decompressor.get_packed_value)
    assert braid.LabelType.LABELS.value == "labels"
