"""Is the volume what its run says? Three looks: the listing, every byte, and voxels.

The looks trust nothing that made the volume: a listing is held to plan and receipts, shard files
to their format and checksums, voxels to the export (or to the scale below) through TensorStore.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from braid.exceptions import BraidError
from braid.precomputed import sharding
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import LabelType
from braid.transcode.block_assignment import assign_blocks, block_extent
from delivery.ledger.plan import PlanRow
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from memmodel.run_context import RunContext
from producer.export_reader import open_shard
from producer.tensorstore_reader import Triple, Volume, vote
from runtime.errors import ObjectNotFound, ShardliftError
from runtime.storage import ObjectInfo, Storage, open_storage

Told = Callable[[int], None]
_WINDOW_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    key: str  # a shard, a path, or "info"
    what: str


class Verifier:
    """Looks at one run's volume.

    Args:
        run: whose volume.
        scales: to look at; None for all that the run planned.
    """

    def __init__(self, run: Run, scales: Sequence[int] | None = None) -> None:
        self.run = run
        self.volume = RunContext(run).volume
        self.dest = open_storage(run.info.dest)
        self.status: RunStatus = read_status(run)
        planned = run.plan.scales
        self.scales = [s for s in planned if scales is None or s in scales]

    def rows(self) -> list[PlanRow]:
        """Plan rows of the scales that are looked at."""
        return [row for scale in self.scales for row in self.run.plan.rows(scale)]

    def completeness(self) -> Iterator[Finding]:
        """Hold one listing per scale to plan and receipts."""
        for scale in self.scales:
            files = self._listing(self.volume.scales[scale])
            for row in self.run.plan.rows(scale):
                found = files.pop(sharding.shard_path(self.volume.scales[scale], row.shard), None)
                what = self._amiss(row, found)
                if what:
                    yield Finding(row.key, what)
            for path in files:
                yield Finding(path, "a file that the plan knows nothing of")

    def files(self) -> list[PlanRow]:
        """Rows whose file should exist."""
        return [row for row in self.rows() if self._has_file(row)]

    def deep(self, row: PlanRow) -> Iterator[Finding]:
        """Read every byte of one file: checksum, index, ids, data encoding of each chunk."""
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

    def _amiss(self, row: PlanRow, file: ObjectInfo | None) -> str | None:
        """What is wrong with one shard, going by the listing."""
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
    """Compares voxels of random chunks with what they were made from.

    Args:
        verifier: of the run.
        seed: of the choice of chunks.
    """

    def __init__(self, verifier: Verifier, seed: int = 0) -> None:
        self._of = verifier
        self._info = verifier.run.info
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret
        self._seen = Volume(self._info.dest)
        self._source: Storage | None = (
            open_storage(self._info.source) if self._info.source else None
        )

    def choose(self, count: int) -> list[PlanRow]:
        """Rows to take a chunk from each, spread over the shards that are done."""
        states = self._of.status.states
        done = [
            row
            for row in self._of.rows()
            if row.state == "make" and states[row.key] is ShardState.DONE
        ]
        return sorted(self._random.choices(done, k=count), key=lambda r: r.key) if done else []

    def check(self, row: PlanRow) -> Iterator[Finding]:
        """Compare one random chunk of a shard; also one that the source leaves out."""
        looked = self._converted if row.kind == "convert" else self._downsampled
        try:
            yield from looked(row)
        except (BraidError, ShardliftError) as error:
            yield Finding(row.key, f"cannot be compared: {error}")

    def _converted(self, row: PlanRow) -> Iterator[Finding]:
        """A random block of the export, decoded, against the volume."""
        if self._source is None:
            raise ObjectNotFound("the run has no source")
        scale, z_step = self._of.volume.scales[row.scale], self._info.z_compress + 1
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

    def _downsampled(self, row: PlanRow) -> Iterator[Finding]:
        """A random chunk against a plain vote over the scale below."""
        fine, coarse = self._of.volume.scales[row.scale - 1], self._of.volume.scales[row.scale]
        first, last = sharding.shard_box(coarse, row.shard)
        at = [self._random.randrange(b, e) for b, e in zip(first, last, strict=True)]
        begin, end = coarse.chunk_box((at[0], at[1], at[2]))
        factors = sharding.factors(fine, coarse)
        below = _scaled(begin, factors, fine.size), _scaled(end, factors, fine.size)
        expected = vote(self._seen.read(fine.index, *below), factors, self._info.rule)
        yield from self._compare(row, begin, end, expected, f"vote over scale {fine.index}")

    def _compare(
        self,
        row: PlanRow,
        begin: Triple,
        end: Triple,
        expected: npt.NDArray[np.uint64],
        told_by: str,
    ) -> Iterator[Finding]:
        found = self._seen.read(row.scale, begin, end)
        wrong = int((found != expected).sum())
        if wrong:
            yield Finding(row.key, f"box {begin} to {end}: {wrong} voxels differ from {told_by}")


def block_box(block: Triple, size: Triple, z_step: int) -> tuple[Triple, Triple]:
    """Voxels [begin, end) of the volume that a DVID block becomes, clipped."""
    extent = block_extent(z_step)
    begin = tuple(b * e for b, e in zip(block, extent, strict=True))
    end = tuple(min(b + e, s) for b, e, s in zip(begin, extent, size, strict=True))
    return (begin[0], begin[1], begin[2]), (end[0], end[1], end[2])


def clip(voxels: npt.NDArray[np.uint64], begin: Triple, end: Triple) -> npt.NDArray[np.uint64]:
    """The part of a block (z, y, x) that lies inside the volume."""
    x, y, z = (e - b for b, e in zip(begin, end, strict=True))
    return voxels[:z, :y, :x]


def _scaled(corner: Triple, factors: Triple, size: Triple) -> Triple:
    x, y, z = (min(c * f, s) for c, f, s in zip(corner, factors, size, strict=True))
    return x, y, z
