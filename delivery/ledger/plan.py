"""Plan of a run: an immutable Arrow file with one row per shard of every scale concerned.

It holds the relations between scales, so that `delivery` does not know about volumes. An input
without a row of its own is a shard of zeros.
"""

import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa

from delivery.ledger.damage import damaged, read_object
from delivery.ledger.plan_check import check_table
from delivery.messages import Kind, parse_key
from runtime.errors import ObjectNotFound, UsageError
from runtime.storage import Storage

PATH: Final = "plan.arrow"
_LISTED: Final = 900  # a page of a listing holds 1,000
PlanState = Literal["make", "present", "empty"]

_SCALES: Final = b"scales"  # schema metadata: the planned scales, separated by commas
_SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("scale", pa.int16(), nullable=False),
        pa.field("hex", pa.string(), nullable=False),
        pa.field("shard", pa.uint64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("tier", pa.string()),
        pa.field("estimated_bytes", pa.int64()),
        pa.field("bytes_in", pa.int64(), nullable=False),
        pa.field("sources", pa.list_(pa.string()), nullable=False),
        pa.field("inputs", pa.list_(pa.string()), nullable=False),
        pa.field("crc32c", pa.string()),
        pa.field("source_digest", pa.string()),
        pa.field("bad_chunks", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One shard.

    Attributes:
        key: `s0/0fe9`; `scale`, `hex` and `shard` are its parts.
        state: to make; present from before this run; or known to be all zeros.
        tier: the smallest that holds it; None: chosen later from its inputs' receipts.
        estimated_bytes: peak memory, likewise.
        bytes_in: of the source files or input shards, as far as known.
        sources: files to convert, relative to the run's source.
        inputs: keys of the shards of the scale below that it is made from; none for `convert`.
        crc32c: of a present shard, as far as a receipt or the storage has it.
        source_digest: of its source files as they were listed; None in plans of version 0.1.0.
        bad_chunks: that a shard which stays lacks, because they do not decode.
    """

    key: str
    scale: int
    hex: str
    shard: int
    kind: Kind
    state: PlanState = "make"
    tier: str | None = None
    estimated_bytes: int | None = None
    bytes_in: int = 0
    sources: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    crc32c: str | None = None
    source_digest: str | None = None
    bad_chunks: int | None = None


class Relation(NamedTuple):
    """The part of a row from which the shard's state is derived."""

    key: str
    state: PlanState
    inputs: tuple[str, ...]


class Plan:
    """All rows, in the order of scale and shard.

    Args:
        table: the rows, as `Plan.of` makes them.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, rows: Iterable[PlanRow], scales: Iterable[int] = ()) -> "Plan":
        """A plan of these rows.

        Args:
            rows: in any order.
            scales: planned scales; needed for those without any row.

        Raises:
            UsageError: two rows for one shard, or an input of a scale that is not planned.
        """
        ordered = sorted(rows, key=lambda row: (row.scale, row.shard))
        planned = sorted({*scales, *(row.scale for row in ordered)})
        _check(ordered, planned)
        metadata = {_SCALES: ",".join(map(str, planned)).encode()}
        columns = {name: [getattr(row, name) for row in ordered] for name in _FIELDS}
        return cls(pa.Table.from_pydict(columns, schema=_SCHEMA.with_metadata(metadata)))

    @classmethod
    def read(cls, storage: Storage, hint: str = "") -> "Plan":
        """The plan of the run at the storage's root.

        Args:
            storage: of the run.
            hint: the way on where the plan is damaged.

        Raises:
            LedgerDamaged: it is gone, is not a plan, or holds what no plan can hold.
        """
        where = f"{storage.url}/{PATH}"
        try:
            table = _completed(_read_table(read_object(storage, PATH, where, hint)))
            check_table(table, _SCALES)
        except ObjectNotFound:
            raise damaged(where, "it is gone, or not a file", hint) from None
        except (pa.ArrowException, OSError, ValueError) as error:
            raise damaged(where, str(error), hint) from None
        return cls(table)

    def write(self, storage: Storage, path: str = PATH) -> None:
        """Write the plan to the root of a run, under another name until the run begins."""
        sink = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(sink, self.table.schema, options=options) as writer:
            writer.write_table(self.table)
        storage.write(path, sink.getvalue())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __contains__(self, key: object) -> bool:
        return key in self._position

    @property
    def scales(self) -> tuple[int, ...]:
        """The planned scales, ascending, also those without a row."""
        text = (self.table.schema.metadata or {}).get(_SCALES, b"").decode()
        return tuple(int(part) for part in text.split(",") if part)

    def row(self, key: str) -> PlanRow:
        """The shard's row; UsageError if the plan has none."""
        position = self._at(key)
        return _row(*(self.table.column(name)[position].as_py() for name in _FIELDS))

    def rows_of(self, keys: Iterable[str]) -> list[PlanRow]:
        """The rows of many shards, in this order; much faster than one by one."""
        positions = pa.array([self._at(key) for key in keys], pa.int64())
        return list(_rows(self.table.take(positions)))

    def rows(self, scale: int | None = None) -> Iterator[PlanRow]:
        """All rows, or those of one scale."""
        for batch in self.table.to_batches(max_chunksize=4096):
            for row in _rows(batch):
                if scale is None or row.scale == scale:
                    yield row

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """Key, state and inputs of every row; a scale's rows stand after those it is made from."""
        columns = (self._column(name) for name in Relation._fields)
        return tuple(
            Relation(key, state, tuple(inputs)) for key, state, inputs in zip(*columns, strict=True)
        )

    @cached_property
    def row_scales(self) -> Sequence[int]:
        """The scale of every row, in the order of `relations`."""
        return self._column("scale")

    @cached_property
    def bad_chunks(self) -> dict[str, int]:
        """Chunks that shards which stay lack, because they do not decode, by key."""
        counts = zip(self._column("key"), self._column("bad_chunks"), strict=True)
        return {key: count for key, count in counts if count}

    def dependents(self, key: str) -> tuple[str, ...]:
        """Keys of the shards that are made from this one."""
        return self._dependents.get(key, ())

    def span(self, keys: Iterable[str]) -> int:
        """Number of rows from the first to the last of these shards."""
        positions = [self._at(key) for key in keys]
        return max(positions) - min(positions) + 1 if positions else 0

    @cached_property
    def bounds(self) -> tuple[str, ...]:
        """Keys in the order of text, between which lie as many shards as one request lists."""
        return tuple(sorted(self._position)[_LISTED::_LISTED])

    @cached_property
    def _position(self) -> dict[str, int]:
        return {key: position for position, key in enumerate(self._column("key"))}

    @cached_property
    def _dependents(self) -> dict[str, tuple[str, ...]]:
        found = defaultdict(list)
        for relation in self.relations:
            for key in relation.inputs:
                found[key].append(relation.key)
        return {key: tuple(keys) for key, keys in found.items()}

    def _at(self, key: str) -> int:
        try:
            return self._position[key]
        except KeyError:
            raise UsageError(
                f"the plan has no shard {key}",
                hint="`python -m producer status --json` lists the shards of a run",
            ) from None

    def _column(self, name: str) -> list[Any]:
        return list(self.table.column(name).to_pylist())


def _read_table(data: bytes) -> pa.Table:
    with pa.ipc.open_file(pa.BufferReader(data)) as reader:
        table = reader.read_all()
    table.validate(full=True)  # offsets and lengths inside the buffers
    return table


def _completed(table: pa.Table) -> pa.Table:
    """The table in this program's schema, without columns of others.

    Columns that plans of version 0.1.0 lack are null.
    """
    for field in _SCHEMA:
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    names = [name for name in _SCHEMA.names if table.column_names.count(name) != 1]
    if names:
        raise ValueError(f"it does not have one column {names[0]}")
    return table.select(_SCHEMA.names).cast(_SCHEMA.with_metadata(table.schema.metadata))


def _check(rows: list[PlanRow], scales: list[int]) -> None:
    seen = set()
    for row in rows:
        if row.key in seen:
            raise UsageError(f"the plan names {row.key} twice")
        seen.add(row.key)
        for key in row.inputs:
            scale = parse_key(key)[0]
            if scale >= row.scale or scale not in scales:
                raise UsageError(f"{row.key} is made from {key}, whose scale is not planned")


_FIELDS: Final = tuple(field.name for field in fields(PlanRow))
_TUPLES: Final = frozenset({"sources", "inputs"})


def _row(*values: Any) -> PlanRow:  # noqa: ANN401 - checked by the schema
    """A row from its columns' values; Arrow gives lists where we want tuples."""
    pairs = zip(_FIELDS, values, strict=True)
    given: list[Any] = [tuple(value) if name in _TUPLES else value for name, value in pairs]
    return PlanRow(*given)


def _rows(table: pa.Table | pa.RecordBatch) -> Iterator[PlanRow]:
    columns = [table.column(name).to_pylist() for name in _FIELDS]
    return map(_row, *columns)
