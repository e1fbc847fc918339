"""Verification of a volume: listing, shard files, voxels.

The checks share no code with the conversion: a listing is compared with plan and receipts, shard
files with their format and checksums, voxels with the export (or the scale before) through
TensorStore.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from braid.exceptions import BraidError
from braid.precomputed import sharding
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import LabelType
from braid.transcode.block_assignment import assign_blocks, block_extent
from braid.typing import UInt64Array, Vec3
from delivery.ledger.plan import PlanRow
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from memmodel.run_context import RunContext
from producer.export_reader import open_shard
from producer.tensorstore_reader import Volume, vote
from runtime.errors import ObjectNotFound, ShardliftError
from runtime.storage import ObjectInfo, Storage, open_storage

_WINDOW_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation from plan, receipt or source."""

    key: str  # a shard, a path, or "info"
    what: str


class Verifier:
    """Checks the volume of one run.

    Args:
        run: the run.
        scales: to check; None for all that the run planned.
    """

    def __init__(self, run: Run, scales: Sequence[int] | None = None) -> None:
        self.run = run
        self.volume = RunContext(run).volume
        self.dest = open_storage(run.info.dest)
        self.status: RunStatus = read_status(run)
        planned = run.plan.scales
        self.scales = [s for s in planned if scales is None or s in scales]

    def rows(self) -> list[PlanRow]:
        """Plan rows of the checked scales."""
        return [row for scale in self.scales for row in self.run.plan.rows(scale)]

    def completeness(self) -> Iterator[Finding]:
        """Compare one listing per scale with plan and receipts."""
        for scale in self.scales:
            files = self._listing(self.volume.scales[scale])
            for row in self.run.plan.rows(scale):
                found = files.pop(sharding.shard_path(self.volume.scales[scale], row.shard), None)
                what = self._listing_error(row, found)
                if what:
                    yield Finding(row.key, what)
            for path in files:
                yield Finding(path, "a file that is not in the plan")

    def files(self) -> list[PlanRow]:
        """Plan rows whose file should exist."""
        return [row for row in self.rows() if self._has_file(row)]

    def deep(self, row: PlanRow) -> Iterator[Finding]:
        """Read one file whole: checksum, index, ids, data encoding of each chunk."""
        scale = self.volume.scales[row.scale]
        receipt = self.status.receipts.get(row.key)
        try:
            source = self.dest.source(sharding.shard_path(scale, row.shard))
            file = ShardFile.open(source, scale, row.shard)
            chunks = sum(1 for _ in file.iter_chunks(_WINDOW_BYTES))
        except (BraidError, ShardliftError) as error:
            yield Finding(row.key, str(error))
            return
        if receipt is not None and chunks != receipt.chunks:
            yield Finding(row.key, f"{chunks} chunks, its receipt says {receipt.chunks}")
        if receipt is not None and file.crc32c != receipt.crc32c:
            yield Finding(row.key, f"crc32c {file.crc32c}, its receipt says {receipt.crc32c}")

    def _listing(self, scale: ScaleSpec) -> dict[str, ObjectInfo]:
        return {info.path: info for info in self.dest.list(f"{scale.key}/")}

    def _has_file(self, row: PlanRow) -> bool:
        receipt = self.status.receipts.get(row.key)
        return row.state == "present" if receipt is None else not receipt.empty

    def _listing_error(self, row: PlanRow, file: ObjectInfo | None) -> str | None:
        """Deviation of one shard in the listing, or None."""
        if row.state == "empty":
            return None if file is None else "a file, although the plan says it holds only zeros"
        state = self.status.states[row.key]
        if state is not ShardState.DONE:
            return self._not_done(row.key, state)
        if not self._has_file(row):
            return None if file is None else "a file, although its receipt says it is empty"
        if file is None:
            return "done, but its file is gone: `producer replay --redo --shards` makes it again"
        return self._differs(row.key, file)

    def _differs(self, key: str, file: ObjectInfo) -> str | None:
        receipt = self.status.receipts.get(key)
        if receipt is not None and file.size != receipt.bytes_out:
            return f"{file.size} bytes, its receipt says {receipt.bytes_out}"
        if receipt is not None and file.crc32c not in {None, receipt.crc32c}:
            return f"crc32c {file.crc32c}, its receipt says {receipt.crc32c}"
        return None

    def _not_done(self, key: str, state: ShardState) -> str:
        failure = self.status.failures.get(key)
        if state is ShardState.BLOCKED:
            return f"not made: blocked by {', '.join(self.status.causes(key))}"
        if failure is not None and state in {ShardState.FAILED, ShardState.GIVEN_UP}:
            return f"not made: {state}: {failure.reason}"
        return f"not made yet ({state})"


class ValueCheck:
    """Compares voxels of random chunks with their source or input.

    Args:
        verifier: of the run.
        seed: of the random choice.
    """

    def __init__(self, verifier: Verifier, seed: int = 0) -> None:
        self._verifier = verifier
        self._info = verifier.run.info
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret
        self._volume = Volume(self._info.dest)
        self._source: Storage | None = (
            open_storage(self._info.source) if self._info.source else None
        )

    def choose(self, count: int) -> list[PlanRow]:
        """Choose shards that are done, with repeats; one chunk of each is compared."""
        states = self._verifier.status.states
        done = [
            row
            for row in self._verifier.rows()
            if row.state == "make" and states[row.key] is ShardState.DONE
        ]
        return sorted(self._random.choices(done, k=count), key=lambda r: r.key) if done else []

    def check(self, row: PlanRow) -> Iterator[Finding]:
        """Compare one random chunk of a shard, which the source may leave out."""
        check = self._check_converted if row.kind == "convert" else self._check_downsampled
        try:
            yield from check(row)
        except (BraidError, ShardliftError) as error:
            yield Finding(row.key, f"cannot be compared: {error}")

    def _check_converted(self, row: PlanRow) -> Iterator[Finding]:
        """Compare a random decoded block of the export with the volume."""
        if self._source is None:
            raise ObjectNotFound("the run has no source")
        scale, z_step = self._verifier.volume.scales[row.scale], self._info.z_compress + 1
        path = self._random.choice(row.sources)
        with open_shard(self._source, path) as reader:
            assigned = assign_blocks(reader.index.coords, scale, row.shard, z_step)
            if not len(assigned.ids):
                return
            block = self._random.choice(assigned.blocks.tolist())
            x, y, z = reader.index.coords[block].tolist()
            kind = LabelType(self._info.label_type)
            voxels = reader.read_chunk(x, y, z, label_type=kind)[::z_step]
        begin, end = block_box((x, y, z), scale.size, z_step)
        yield from self._compare(row, begin, end, clip(voxels, begin, end), f"block of {path}")

    def _check_downsampled(self, row: PlanRow) -> Iterator[Finding]:
        """Compare a random chunk with a plain vote over the scale before."""
        fine, coarse = (
            self._verifier.volume.scales[row.scale - 1],
            self._verifier.volume.scales[row.scale],
        )
        first, last = sharding.shard_box(coarse, row.shard)
        at = [self._random.randrange(b, e) for b, e in zip(first, last, strict=True)]
        begin, end = coarse.chunk_box((at[0], at[1], at[2]))
        factors = sharding.factors(fine, coarse)
        below = _scaled(begin, factors, fine.size), _scaled(end, factors, fine.size)
        expected = vote(self._volume.read(fine.index, *below), factors, self._info.rule)
        yield from self._compare(row, begin, end, expected, f"vote over scale {fine.index}")

    def _compare(
        self,
        row: PlanRow,
        begin: Vec3,
        end: Vec3,
        expected: UInt64Array,
        reference: str,
    ) -> Iterator[Finding]:
        found = self._volume.read(row.scale, begin, end)
        wrong = int((found != expected).sum())
        if wrong:
            yield Finding(row.key, f"box {begin} to {end}: {wrong} voxels differ from {reference}")


def block_box(block: Vec3, size: Vec3, z_step: int) -> tuple[Vec3, Vec3]:
    """Box [begin, end) of a DVID block in the volume, clipped."""
    extent = block_extent(z_step)
    begin = tuple(b * e for b, e in zip(block, extent, strict=True))
    end = tuple(min(b + e, s) for b, e, s in zip(begin, extent, size, strict=True))
    return (begin[0], begin[1], begin[2]), (end[0], end[1], end[2])


def clip(voxels: UInt64Array, begin: Vec3, end: Vec3) -> UInt64Array:
    """The part of a block (z, y, x) that lies inside the volume."""
    x, y, z = (e - b for b, e in zip(begin, end, strict=True))
    return voxels[:z, :y, :x]


def _scaled(corner: Vec3, factors: Vec3, size: Vec3) -> Vec3:
    x, y, z = (min(c * f, s) for c, f, s in zip(corner, factors, size, strict=True))
    return x, y, z
