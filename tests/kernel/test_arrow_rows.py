"""Rows gathered out of record batches, held against pyarrow, sound and damaged."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import _braid
from tests.support.arrow_exports import NAMES, ROWS, Row, made_batch, made_rows, made_schema

SCHEMA = made_schema()
THREE = made_rows(3)
SOUND = made_batch(THREE, SCHEMA).serialize().to_pybytes()


def gathered(
    messages: Sequence[bytes | memoryview], lengths: list[int], locations: list[tuple[int, int]]
) -> list[Row]:
    """Rows at (message, row)."""
    batch, row = np.array(locations, np.int64).reshape(-1, 2).T.copy()
    # Odd messages in a buffer of their own, even ones one after another behind a byte.
    together = b"-" + b"".join(messages[::2])
    ends = np.cumsum([1, *map(len, messages[::2])])
    where = [
        (i // 2 + 1, 0, len(message)) if i % 2 else (0, ends[i // 2], ends[i // 2 + 1])
        for i, message in enumerate(messages)
    ]
    buffer, begin, end = np.array(where, np.int64).reshape(-1, 3).T.copy()
    rows = np.array(lengths, np.int64)
    found = _braid.arrow_rows([together, *messages[1::2]], buffer, begin, end, rows, batch, row)
    coords, blocks, block_start, sizes, labels, label_start, supervoxels, supervoxel_start = found
    return [
        Row(
            coords=tuple(coords[i].tolist()),
            labels=labels[label_start[i] : label_start[i + 1]].tolist(),
            supervoxels=supervoxels[supervoxel_start[i] : supervoxel_start[i + 1]].tolist(),
            block=blocks[block_start[i] : block_start[i + 1]].tobytes(),
            uncompressed_size=int(sizes[i]),
        )
        for i in range(len(locations))
    ]


def by_pyarrow(message: bytes) -> list[Row] | None:
    """What pyarrow reads; None if it refuses."""
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(message), SCHEMA)
        batch.validate(full=True)
        columns = [column.to_pylist() for column in batch.columns]
    except (pa.ArrowException, OSError, ValueError):
        return None
    return [
        Row((x, y, z), labels, supervoxels, block, size)
        for x, y, z, labels, supervoxels, block, size in zip(*columns, strict=True)
    ]


def tables(message: bytes) -> tuple[int, int]:
    """Where the message's table and its header's begin, of which flatbuffers count."""

    def follow(at: int) -> int:
        return at + int.from_bytes(message[at : at + 4], "little")

    table = follow(8)
    vtable = table - int.from_bytes(message[table : table + 4], "little", signed=True)
    header = int.from_bytes(message[vtable + 8 : vtable + 10], "little")
    return table, follow(table + header)


@given(st.lists(ROWS.filter(len), min_size=1, max_size=4), st.data())
def test_any_rows_in_any_order(groups: list[list[Row]], data: st.DataObject) -> None:
    """Several batches; rows wanted once, twice or not at all."""
    messages = [made_batch(group, SCHEMA).serialize().to_pybytes() for group in groups]
    locations = [(i, j) for i, group in enumerate(groups) for j in range(len(group))]
    wanted = data.draw(st.lists(st.sampled_from(locations), max_size=12))
    assert gathered(messages, list(map(len, groups)), wanted) == [groups[i][j] for i, j in wanted]


def test_nothing() -> None:
    """No rows of some messages, and no messages."""
    assert gathered([SOUND], [3], []) == []
    assert gathered([], [], []) == []
    empty = made_batch([], SCHEMA).serialize().to_pybytes()
    assert gathered([empty, SOUND], [0, 3], [(1, 2)]) == THREE[2:]


@pytest.mark.parametrize("shift", range(1, 8))
def test_messages_at_any_address(shift: int) -> None:
    """Nothing need be aligned."""
    message = memoryview(bytes(shift) + SOUND)[shift:]
    assert gathered([message], [3], [(0, 0), (0, 1), (0, 2)]) == THREE


@pytest.mark.parametrize("length", range(0, len(SOUND), 4))
def test_cut_short(length: int) -> None:
    """A message of other bytes than its metadata says is refused."""
    with pytest.raises(_braid.KernelError) as refused:
        gathered([SOUND, SOUND[:length]], [3, 3], [(0, 0)])
    assert refused.value.item == 1


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=4))
def test_damage_is_refused_or_read_as_pyarrow_reads_it(damage: list[tuple[int, int]]) -> None:
    """Bytes changed anywhere in metadata and body."""
    data = bytearray(SOUND)
    for offset, value in damage:
        data[offset] = value
    try:
        found = gathered([bytes(data)], [3], [(0, 0), (0, 1), (0, 2)])
    except _braid.KernelError as error:
        assert error.item == 0  # noqa: PT017 (one of two good ends)
    else:
        assert by_pyarrow(bytes(data)) in (found, None)


@pytest.mark.parametrize("rows", [0, 2, 4, 2**40])
def test_other_rows_than_listed(rows: int) -> None:
    """The index says how many rows there are; the batch must agree."""
    with pytest.raises(_braid.KernelError, match=f"lists {rows} rows of a batch that has 3"):
        gathered([SOUND], [rows], [])


def test_nulls_are_named() -> None:
    """By column, and inside of lists."""
    for number, name in enumerate(NAMES):
        batch = made_batch(THREE, SCHEMA)
        values = batch.column(number).to_pylist()
        values[1] = None
        column = pa.array(values, batch.column(number).type)
        message = batch.set_column(number, name, column).serialize().to_pybytes()
        with pytest.raises(_braid.KernelError, match=f"column {name} holds nulls"):
            gathered([message], [3], [(0, 0)])
    lists = pa.array([[1, None], [], [2]], pa.list_(pa.uint64()))
    message = made_batch(THREE, SCHEMA).set_column(3, "labels", lists).serialize().to_pybytes()
    with pytest.raises(_braid.KernelError, match="a list of labels holds nulls"):
        gathered([message], [3], [(0, 0)])


@pytest.mark.parametrize("locations", [[(0, 3)], [(0, -1)], [(1, 0)], [(-1, 0)]])
def test_rows_that_are_not_there(locations: list[tuple[int, int]]) -> None:
    """Asking for them is the caller's fault, and no crash."""
    with pytest.raises(ValueError, match="there is no row"):
        gathered([SOUND], [3], locations)


def test_big_endian_numbers_are_refused() -> None:
    """A schema may say so in its first field; ours leave it out, which means little-endian."""
    message = bytearray(SCHEMA.serialize().to_pybytes())
    table, schema = tables(bytes(message))
    assert table < schema
    vtable = schema - int.from_bytes(message[schema : schema + 4], "little", signed=True)
    assert message[vtable + 4 : vtable + 6] == b"\0\0"
    message[vtable + 4] = 4  # where the schema's fields are pointed to: anything but 0
    with pytest.raises(_braid.KernelError, match="big-endian"):
        _braid.arrow_metadata(bytes(message[8:]))


@pytest.mark.parametrize(
    ("buffer", "begin", "end"), [(0, 0, 2**40), (0, -1, 9), (0, 9, 3), (1, 0, 9), (-1, 0, 9)]
)
def test_messages_that_were_not_read(buffer: int, begin: int, end: int) -> None:
    """A range must lie in its buffer."""
    one = np.ones(1, np.int64)
    with pytest.raises(ValueError, match="message 0 is in no buffer"):
        _braid.arrow_rows(
            [SOUND], buffer * one, begin * one, end * one, one, np.zeros(1, np.int64), 0 * one
        )
