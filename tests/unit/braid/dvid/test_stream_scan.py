"""The walk over a stream: every bit of a message's metadata may be wrong."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from braid.dvid.ipc import END_OF_STREAM, metadata_length, parse_metadata
from braid.dvid.stream_scan import check_batches, check_end, read_preamble, scan_offsets
from braid.exceptions import BraidError, InvalidShardFormatError
from braid.io.byte_source import BytesSource
from tests.support.arrow_exports import made_arrow, made_batch, made_rows, made_schema


def test_metadata_is_pyarrows() -> None:
    """Kind, rows, body, nodes and buffers are those that pyarrow wrote."""
    rows = made_rows(3)
    arrow, ranges = made_arrow([made_batch(rows, made_schema())], made_schema())
    begin, size = ranges[0]
    length = metadata_length(arrow[begin : begin + 8])
    message = parse_metadata(arrow[begin + 8 : begin + 8 + length], want=3)
    assert (message.kind, message.rows, message.compressed) == (3, 3, False)
    assert 8 + length + message.body_bytes == size
    assert message.nodes == ((3, 0),) * 3
    body = begin + 8 + length
    for axis in range(3):
        offset, stored = message.buffers[2 * axis + 1]
        column = np.frombuffer(arrow[body + offset : body + offset + stored], "<i4")
        assert column[:3].tolist() == [row.coords[axis] for row in rows]
    expected = pa.ipc.read_message(pa.py_buffer(arrow[begin : begin + size]))
    assert expected.type == "record batch"
    assert expected.body.size == message.body_bytes


def test_batches_are_held_against_an_index() -> None:
    """Number of rows, bytes and chunks of a batch, from its metadata and coordinates alone."""
    rows = made_rows(5)
    batches = [made_batch(rows[:3], made_schema()), made_batch(rows[3:], made_schema())]
    arrow, _ = made_arrow(batches, made_schema())
    source = BytesSource(arrow, "file")
    index = scan_offsets(source)
    check_batches(source, index, [0, 1])
    assert source.requests < 10

    other = index.coords.copy()
    other[4] += 1
    longer = index.size.copy()
    longer[3:] += 8
    split = index.batch_row.copy()
    split[1] = 0
    wrong = {
        "the stream holds other chunks there": replace(index, coords=other),
        "the index gives its batch": replace(index, size=longer),
        "the index lists 1 rows of a batch that has 3": replace(index, batch_row=split),
    }
    for text, indexed in wrong.items():
        with pytest.raises(InvalidShardFormatError, match=f"^file: row [03], chunk .*{text}"):
            check_batches(source, indexed, range(len(indexed.first_rows)))


def test_every_bit_of_the_metadata_flipped() -> None:
    """The walk ends in a refusal of one line, or in an index that fits the file."""
    rows = made_rows(2)
    arrow, ranges = made_arrow([made_batch([r], made_schema()) for r in rows], made_schema())
    begin, _ = ranges[0]
    length = metadata_length(arrow[begin : begin + 8])
    refused = 0
    for bit in range(8 * begin, 8 * (begin + 8 + length)):
        flipped = bytearray(arrow)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        try:
            index = scan_offsets(BytesSource(bytes(flipped)))
        except BraidError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017 (an error is one of two good ends)
        else:
            assert index.end <= len(arrow)
    assert refused > length


@pytest.mark.parametrize("metadata", [b"", b"\x00", b"\xff" * 40, bytes(40), b"\x04\0\0\0" * 3])
def test_metadata_of_anything(metadata: bytes) -> None:
    """A flatbuffer that points outside itself is refused or ignored."""
    try:
        assert parse_metadata(metadata, want=3).kind not in {1, 3}
    except InvalidShardFormatError as error:
        assert "points outside" in str(error)  # noqa: PT017 (an error is one of two good ends)


def test_batches_without_rows_are_passed_over() -> None:
    """A batch may hold no rows; the index just lacks it."""
    schema, rows = made_schema(), made_rows(2)
    batches = [made_batch(some, schema) for some in ([], rows[:1], [], rows[1:], [])]
    arrow, ranges = made_arrow(batches, schema)
    index = scan_offsets(BytesSource(arrow))
    assert index.coords.tolist() == [list(row.coords) for row in rows]
    assert index.offset.tolist() == [ranges[1][0], ranges[3][0]]


def test_a_claim_of_many_rows_allocates_nothing() -> None:
    """More rows than the body has bytes for are refused before anything is read for them."""
    schema = made_schema()
    batch = made_batch(made_rows(1), schema)
    arrow, ranges = made_arrow([batch], schema)
    begin, _ = ranges[0]
    for claim in (2**40, 2**62):
        claimed = arrow.replace((1).to_bytes(8, "little"), claim.to_bytes(8, "little"))
        assert claimed != arrow
        assert claimed[: begin + 8] == arrow[: begin + 8]
        with pytest.raises(InvalidShardFormatError, match=f"{claim} rows in"):
            scan_offsets(BytesSource(claimed))


def test_the_end_of_a_stream() -> None:
    """A stream may stop right behind its last batch or with the end mark, nothing else."""
    arrow, _ = made_arrow([], made_schema())
    assert arrow.endswith(END_OF_STREAM)
    preamble = read_preamble(BytesSource(arrow))
    for tail in (b"", END_OF_STREAM):
        check_end(BytesSource(arrow[:-8] + tail), preamble, preamble.end)
    for tail in (bytes(8), END_OF_STREAM * 2, b"\xff", END_OF_STREAM + bytes(1)):
        with pytest.raises(InvalidShardFormatError, match="Re-export into an empty folder"):
            check_end(BytesSource(arrow[:-8] + tail), preamble, preamble.end)


def test_a_long_schema_is_read_whole() -> None:
    """Schema metadata longer than the first read."""
    schema = made_schema().with_metadata({"note": "x" * 100_000})
    arrow, ranges = made_arrow([made_batch(made_rows(2), schema)], schema)
    index = scan_offsets(BytesSource(arrow))
    assert index.schema_size == ranges[0][0] > 100_000
    assert len(index) == 2
