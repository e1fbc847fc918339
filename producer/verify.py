"""Verification of a volume: listing, shard files, voxels.

A listing is compared with the receipts of all runs and with what would be planned now, as `enqueue`
does it. The other checks share no code with the conversion: shard files are compared with their
format and checksums, voxels with the export (or the scale before) through TensorStore.
"""

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from braid.exceptions import BraidError
from braid.precomputed import sharding
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import assign_blocks, block_extent
from braid.typing import Int32Array, UInt64Array, Vec3
from delivery.ledger.plan import PlanRow
from producer.expected_volume import ExpectedVolume
from producer.export_reader import open_shard
from producer.info import INFO, find_info_faults
from producer.provenance import Origin
from producer.tensorstore_reader import Volume, vote
from runtime.errors import ObjectNotFound, ShardliftError
from runtime.storage import open_storage
from runtime.storage.checked_reads import read_again
from runtime.text import counted

_CHUNK = re.compile(r"\d+-\d+_\d+-\d+_\d+-\d+(?:\.gz)?")  # of an unsharded scale
_WINDOW_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation from plan, receipt or source."""

    key: str  # a shard, a path, or "info"
    what: str


class Verifier:
    """Checks the volume of one run, or one without any.

    Args:
        expected: what the volume should hold.
        scales: to check; None for all that are expected.
        deep: read files where the listing does not tell.

    """

    def __init__(
        self,
        expected: ExpectedVolume,
        scales: Sequence[int] | None = None,
        *,
        deep: bool = False,
    ) -> None:
        self.expected = expected
        self._deep = deep
        self.request = expected.request
        self.volume = expected.request.volume
        self.dest = open_storage(expected.request.dest)
        self.scales = [s for s in expected.request.made if scales is None or s in scales]

    def rows(self) -> list[PlanRow]:
        """Rows of the checked scales, as they would be planned now, without those left out."""
        left_out, plan = self.expected.left_out, self.expected.plan.plan
        rows = (row for scale in self.scales for row in plan.rows(scale))
        return [row for row in rows if row.key not in left_out]

    @property
    def left_out(self) -> dict[int, int]:
        """Number of shards of each checked scale that selections left out."""
        found = self.expected.left_out_by_scale
        return {scale: number for scale, number in found.items() if scale in self.scales}

    def completeness(self) -> Iterator[Finding]:
        """Compare info, and one listing per scale, with receipts, plan and source."""
        yield from (Finding(INFO, fault) for fault in find_info_faults(self.dest, self.volume))
        damaged = self.expected.history.damaged.items()
        yield from (Finding(f"run {run_id}", str(error)) for run_id, error in damaged)
        yield from (Finding(problem.path, problem.text) for problem in self.expected.problems)
        for run_id, lacked in self.expected.partial.items():
            yield from (Finding(f"run {run_id}", f"partial: {text}") for text in lacked)
        unknown = set(self.expected.plan.unknown) if self.expected.history.runs else set()
        for row in self.rows():
            reason = self.expected.plan.reasons.get(row.key)
            if reason is not None and not self.expected.history.runs:
                yield from self._without_file(row)
            elif reason is not None:
                yield Finding(row.key, self.expected.not_done(row.key) or reason)
            elif row.key in unknown:
                yield Finding(row.key, "made by no known run: `enqueue --adopt` takes it as it is")
            elif other := self.expected.other_settings(row):
                yield Finding(row.key, other)
            elif lacks := self.expected.history.provenance.bad_chunks_reason(row.key):
                yield Finding(row.key, lacks)
        for scale in self.scales:
            yield from self._foreign_files(self.volume.scales[scale])

    def files(self) -> list[PlanRow]:
        """Rows whose file exists."""
        return [row for row in self.rows() if row.shard in self.expected.outputs[row.scale]]

    def deep(self, row: PlanRow) -> Iterator[Finding]:
        """Read one file whole: checksum, index, ids, data encoding of each chunk."""
        origin = self._origin(row)
        try:
            chunks, crc32c = read_again(partial(self._read_whole, row))
        except (BraidError, ShardliftError) as error:
            yield Finding(row.key, str(error))
            return
        if origin is None or origin.size is None:  # unknown what was written
            return
        if chunks != origin.chunks:
            yield Finding(row.key, f"{counted(chunks, 'chunk')}, its receipt says {origin.chunks}")
        if crc32c != origin.content:
            yield Finding(row.key, f"crc32c {crc32c}, its receipt says {origin.content}")

    def _read_whole(self, row: PlanRow) -> tuple[int, str | None]:
        """Number of chunks and checksum of a file; what is wrong with it was read twice."""
        scale, origin = self.volume.scales[row.scale], self._origin(row)
        with closing(self.dest.source(sharding.shard_path(scale, row.shard))) as source:
            try:
                file = ShardFile.open(source, scale, row.shard)
                chunks = sum(1 for _ in file.iter_chunks(_WINDOW_BYTES))
            except BraidError:
                source.verify(doubted=True)
                raise
            source.verify(doubted=origin is not None and file.crc32c != origin.content)
            return chunks, file.crc32c

    def _without_file(self, row: PlanRow) -> Iterator[Finding]:
        """A shard without a file, of which no ledger tells whether it is all zeros."""
        if not self._deep:
            yield Finding(row.key, "no file: it is all zeros, or missing; --deep tells")
        elif not self._is_zero(row):
            yield Finding(row.key, f"no file, although {row.sources[0]} holds labels for it")

    def _is_zero(self, row: PlanRow) -> bool:
        """Whether all voxels that the export has of a shard are 0."""
        scale, z_step = self.volume.scales[row.scale], self.request.slices(row.scale)
        export = open_storage(self.expected.sources[row.scale])
        for path in row.sources:
            with open_shard(export, path) as reader:
                assigned = assign_blocks(reader.index.coords, scale, row.shard, z_step)
                for x, y, z in reader.index.coords[assigned.blocks].tolist():
                    if reader.read_chunk(x, y, z, label_type=self.request.label_type).any():
                        return False
        return True

    def _origin(self, row: PlanRow) -> Origin | None:
        return self.expected.history.provenance.origins.get(row.key)

    def _foreign_files(self, scale: ScaleSpec) -> Iterator[Finding]:
        chunks = []
        for info in self.dest.list(f"{scale.key}/"):
            if _CHUNK.fullmatch(info.path.rpartition("/")[2]):
                chunks.append(info.path)
            elif sharding.parse_shard_path(scale, info.path) is None:
                yield Finding(info.path, "a file that is not in the plan")
        if chunks:
            left = counted(len(chunks), "chunk file")
            what = f"{left} of an unsharded volume, such as {chunks[0]}: no reader looks at them"
            yield Finding(f"{scale.key}/", what)


class ValueCheck:
    """Compares voxels of random chunks with their source or input.

    Args:
        verifier: of the volume.
        seed: of the random choice.

    Attributes:
        compared: number of chunks, so far.
    """

    def __init__(self, verifier: Verifier, seed: int = 0) -> None:
        self._verifier = verifier
        self._request = verifier.request
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret
        self._volume = Volume(self._request.dest)
        self.compared = 0

    def choose(self, count: int) -> list[PlanRow]:
        """Choose shards that are there, with repeats; one chunk of each is compared.

        Without a ledger those that are not there may be zeros, and are compared too.
        """
        expected = self._verifier.expected
        fed = (row for row in self._verifier.rows() if row.sources or row.inputs)
        there = [
            row
            for row in fed
            if row.state != "make"
            or row.shard in expected.outputs[row.scale]
            or not expected.history.runs
        ]
        return sorted(self._random.choices(there, k=count), key=lambda r: r.key) if there else []

    def check(self, row: PlanRow) -> Iterator[Finding]:
        """Compare one random chunk of a shard; none where the source has no block of it."""
        state, compared = self._random.getstate(), self.compared
        if self._compare_once(row):  # a bit may have turned on the way here: the same chunk again
            self._random.setstate(state)
            self.compared = compared
            yield from self._compare_once(row)

    def _compare_once(self, row: PlanRow) -> list[Finding]:
        check = self._check_converted if row.kind == "convert" else self._check_downsampled
        try:
            return list(check(row))
        except (BraidError, ShardliftError) as error:
            return [Finding(row.key, f"cannot be compared: {error}")]

    def _check_converted(self, row: PlanRow) -> Iterator[Finding]:
        """Compare a random decoded block of the export with the volume."""
        source = self._verifier.expected.sources.get(row.scale)
        if source is None:
            raise ObjectNotFound("no run is known to have converted it, and there is no --source")
        z_step = self._request.slices(row.scale)
        # The shard is in the reach of all its files, but some may hold no block of it.
        for path in self._random.sample(row.sources, k=len(row.sources)):
            with open_shard(open_storage(source), path) as reader:
                block = self._random_block(row, reader.index.coords)
                if block is None:
                    continue
                kind = self._request.label_type
                voxels = reader.read_chunk(*block, label_type=kind)[::z_step]
            size = self._verifier.volume.scales[row.scale].size
            begin, end = block_box(block, size, z_step)
            yield from self._compare(row, begin, end, clip(voxels, begin, end), f"block of {path}")
            return

    def _random_block(self, row: PlanRow, coords: Int32Array) -> Vec3 | None:
        """Coordinates of a block of a shard in one file; None if it holds none."""
        scale, z_step = self._verifier.volume.scales[row.scale], self._request.slices(row.scale)
        assigned = assign_blocks(coords, scale, row.shard, z_step)
        if not len(assigned.blocks):
            return None
        x, y, z = coords[self._random.choice(assigned.blocks.tolist())].tolist()
        return x, y, z

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
        expected = vote(self._volume.read(fine.index, *below), factors, self._request.rule)
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
        self.compared += 1
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
