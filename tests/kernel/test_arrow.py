"""Metadata of Arrow messages, sound and damaged, at the kernel itself."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import _braid

BATCH = pa.record_batch({"x": pa.array([1, 2, 3], pa.int32()), "y": pa.array([[1], [], [2, 3]])})
SOUND = BATCH.serialize().to_pybytes()
METADATA = SOUND[8 : 8 + int.from_bytes(SOUND[4:8], "little")]


def test_a_record_batch() -> None:
    """Rows, body and nodes are those that pyarrow wrote; no more is read than wanted."""
    kind, body_bytes, rows, compressed, nodes, buffers = _braid.arrow_metadata(METADATA, 9)
    assert (kind, rows, compressed) == (3, 3, False)
    assert body_bytes == len(SOUND) - 8 - len(METADATA)
    assert nodes == ((3, 0), (3, 0), (3, 0))
    assert len(buffers) == 6
    assert _braid.arrow_metadata(METADATA, 1)[4:] == (nodes[:1], buffers[:2])
    assert _braid.arrow_metadata(METADATA)[4:] == ((), ())


def test_compression_is_told() -> None:
    """Buffers that would have to be inflated first."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, BATCH.schema, options=options) as writer:
        writer.write_batch(BATCH)
    stream = sink.getvalue().to_pybytes()
    begin = 8 + int.from_bytes(stream[4:8], "little")  # the schema comes first, without a body
    length = int.from_bytes(stream[begin + 4 : begin + 8], "little")
    assert _braid.arrow_metadata(stream[begin + 8 : begin + 8 + length])[3]


@pytest.mark.parametrize("length", range(0, len(METADATA), 4))
def test_cut_short(length: int) -> None:
    """Whatever is missing is not read from beyond the end."""
    try:
        assert _braid.arrow_metadata(METADATA[:length], 3)[0] == 3
    except _braid.KernelError as error:
        assert "points outside" in str(error)  # noqa: PT017 (one of two good ends)


@given(
    st.binary(max_size=64)
    | st.lists(st.tuples(st.integers(0, len(METADATA) - 1), st.integers(0, 255)), max_size=6)
)
def test_anything_is_refused_or_read(damage: bytes | list[tuple[int, int]]) -> None:
    """Random bytes, and sound metadata with some bytes changed."""
    data = bytearray(METADATA)
    if isinstance(damage, bytes):
        data = bytearray(damage)
    else:
        for offset, value in damage:
            data[offset] = value
    try:
        *_, nodes, buffers = _braid.arrow_metadata(data, 3)
    except _braid.KernelError as error:
        assert "points outside" in str(error)  # noqa: PT017 (one of two good ends)
    else:
        assert len(nodes) <= 3
        assert len(buffers) <= 6
