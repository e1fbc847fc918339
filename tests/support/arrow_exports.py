"""Arrow shards and their indices in every dialect, written with pyarrow from plain rows."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from hypothesis import strategies as st

NAMES = (
    "chunk_x",
    "chunk_y",
    "chunk_z",
    "labels",
    "supervoxels",
    "dvid_compressed_block",
    "uncompressed_size",
)
TYPES = (
    *[pa.int32()] * 3,
    *[pa.list_(pa.uint64())] * 2,
    pa.binary(),
    pa.uint32(),
)
DIALECTS = ("current", "zero", "old", "morton", "beside", "alone", "march", "none")


@dataclass(frozen=True)
class Row:
    """One row as it should come back."""

    coords: tuple[int, int, int]
    labels: list[int]
    supervoxels: list[int]
    block: bytes
    uncompressed_size: int


@dataclass(frozen=True)
class Export:
    """The files of one shard: Arrow, and the two CSV files where the dialect has them."""

    arrow: bytes
    csv: bytes | None
    offsets: bytes | None


def made_rows(count: int, seed: int = 0, block_bytes: int = 60) -> list[Row]:
    """Random rows with distinct chunks."""
    rng = random.Random(seed)
    chunks = rng.sample(range(20**3), count)
    return [
        Row(
            coords=(c % 20, c // 20 % 20, c // 400),
            labels=[rng.getrandbits(64) for _ in range(n)],
            supervoxels=[rng.getrandbits(64) for _ in range(n)],
            block=rng.randbytes(rng.randint(0, block_bytes)),
            uncompressed_size=rng.getrandbits(32),
        )
        for c in chunks
        for n in [rng.randint(0, 4)]
    ]


def made_schema(*, nullable: bool = False) -> pa.Schema:
    """The columns of an export."""
    return pa.schema([pa.field(n, t, nullable) for n, t in zip(NAMES, TYPES, strict=True)])


def made_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """One record batch."""
    columns = [
        *([row.coords[axis] for row in rows] for axis in range(3)),
        [row.labels for row in rows],
        [row.supervoxels for row in rows],
        [row.block for row in rows],
        [row.uncompressed_size for row in rows],
    ]
    arrays = [pa.array(c, t) for c, t in zip(columns, TYPES, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def made_arrow(
    batches: Sequence[pa.RecordBatch],
    schema: pa.Schema,
    ipc: str = "stream",
    options: pa.ipc.IpcWriteOptions | None = None,
) -> tuple[bytes, list[tuple[int, int]]]:
    """An Arrow file and the byte range of each batch's message, the schema not counted."""
    sink = pa.BufferOutputStream()
    new = pa.ipc.new_stream if ipc == "stream" else pa.ipc.new_file
    ranges = []
    at = schema.serialize().size + (0 if ipc == "stream" else len(b"ARROW1\0\0"))
    with new(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
            ranges.append((at, sink.tell() - at))
            at = sink.tell()
    return sink.getvalue().to_pybytes(), ranges


def made_export(
    rows: Sequence[Row],
    dialect: str = "current",
    *,
    batch_size: int = 1,
    ipc: str = "stream",
    nullable: bool = False,
) -> Export:
    """A whole shard in one dialect."""
    schema = made_schema(nullable=nullable)
    groups = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    arrow, ranges = made_arrow([made_batch(g, schema) for g in groups], schema, ipc)
    places = [(*ranges[i], j) for i, group in enumerate(groups) for j in range(len(group))]
    csv, offsets = _indices(dialect, [row.coords for row in rows], places)
    return Export(arrow, csv, offsets)


def csv_text(header: str, lines: Sequence[Sequence[int]], schema_size: int | None = None) -> bytes:
    """A CSV file."""
    first = [] if schema_size is None else [f"# schema_size={schema_size}"]
    return "\n".join([*first, header, *(",".join(map(str, line)) for line in lines), ""]).encode()


def _indices(
    dialect: str, coords: list[tuple[int, int, int]], places: list[tuple[int, int, int]]
) -> tuple[bytes | None, bytes | None]:
    numbered = [(*c, i) for i, c in enumerate(coords)]
    first = places[0][0] if places else 0
    old = csv_text("x,y,z,rec", numbered)
    with_offsets = csv_text(
        "x,y,z,rec,offset,size",
        [(*n, *p[:2]) for n, p in zip(numbered, places, strict=True)],
        first,
    )
    if dialect == "current":
        lines = [(*c, *p) for c, p in zip(coords, places, strict=True)]
        return csv_text("x,y,z,offset,size,batch_idx", lines, first), None
    if dialect == "zero":
        # The schema counts to the first batch, whose rows all repeat that range.
        lines = [
            (*c, 0, p[0] + p[1], p[2]) if p[0] == first else (*c, *p)
            for c, p in zip(coords, places, strict=True)
        ]
        return csv_text("x,y,z,offset,size,batch_idx", lines, 0), None
    if dialect == "morton":
        return csv_text("x,y,z,rec,morton", [(*n, 7 * n[3]) for n in numbered]), None
    if dialect == "march":
        lines = [(*n, p[0], p[2]) for n, p in zip(numbered, places, strict=True)]
        more = [(*n, *p) for n, p in zip(numbered, places, strict=True)]
        return (
            csv_text("x,y,z,rec,batch_offset,batch_idx", lines),
            csv_text("x,y,z,rec,offset,size,batch_idx", more, first),
        )
    return {
        "old": (old, None),
        "beside": (old, with_offsets),
        "alone": (None, with_offsets),
        "none": (None, None),
    }[dialect]


ROWS = st.builds(made_rows, st.integers(0, 12), st.integers(0, 2**32))
EXPORTS = st.fixed_dictionaries(
    {
        "dialect": st.sampled_from(DIALECTS),
        "batch_size": st.integers(1, 5),
        "ipc": st.sampled_from(["stream", "file"]),
        "nullable": st.booleans(),
    }
)
