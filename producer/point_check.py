"""Comparison of single voxels of a volume with the DVID server that it was exported from.

An export may lack files or blocks, which nothing that was made from it can show. So points lie in
stored chunks, in chunks that a shard leaves out, just outside its box, and anywhere in the volume.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final

import numpy as np

from braid.exceptions import BraidError
from braid.precomputed import morton, sharding
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import LabelType
from braid.typing import Box, Vec3
from delivery.ledger.plan import PlanRow
from producer.dvid_client import DvidInstance
from producer.tensorstore_reader import Volume
from producer.verify import Finding, Verifier
from runtime.cli import print_stderr
from runtime.errors import ObjectNotFound, ShardliftError, UsageError
from runtime.storage import Storage, open_storage
from runtime.storage.checked_reads import read_again

_BATCH: Final = 250  # points of one step of the progress bar, and of one request
_TRIES: Final = 64  # draws before a kind of place counts as absent
_READERS: Final = 16  # most voxels that are read at the same time
_HALVED: Final = (2, 2, 2)  # DVID's factors


class Place(Enum):
    """Where a point lies, as seen from the shard that it is drawn for."""

    STORED = auto()  # in a chunk that the shard stores
    LEFT_OUT = auto()  # in a chunk of the shard's box that it does not store
    BESIDE = auto()  # in a chunk that touches a face of the shard's box from outside
    ANYWHERE = auto()  # in any chunk of the scale


# What each shard is asked for in turn; a place that a shard lacks is replaced.
_TURNS: Final = (Place.STORED, Place.LEFT_OUT, Place.BESIDE, Place.STORED, Place.ANYWHERE)


@dataclass(frozen=True, slots=True)
class Draw:
    """A point to be drawn: the shard and the place."""

    row: PlanRow
    place: Place


@dataclass(frozen=True, slots=True)
class Point:
    """A voxel of the volume; `key` is its shard, planned or not."""

    key: str
    voxel: Vec3


class PointCheck:
    """Compares random voxels of a run's volume with a DVID server.

    Args:
        verifier: of the run.
        instance: that the run's source was exported from.
        scales: asked for; None for those that were converted from the export.
        seed: of the random choice.

    Attributes:
        scales: that are compared.
        compared: number of points, so far.

    Raises:
        UsageError: a scale is asked for that DVID does not have in this form, or there is none;
            or the server does not know the instance.
        UnreachableError: the server does not answer.
    """

    def __init__(
        self,
        verifier: Verifier,
        instance: DvidInstance,
        scales: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        request = verifier.request
        self._spec = verifier.volume
        self._instance = instance
        self._supervoxels = request.label_type is LabelType.SUPERVOXELS
        self._rule = request.rule
        self._z_step = request.z_compress + 1
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret
        self._volume = Volume(request.dest)
        self._dest: Storage = open_storage(request.dest)
        self._converted = sorted({row.scale for row in verifier.rows() if row.kind == "convert"})
        self.scales = self._chosen(scales)
        instance.check(self.scales)
        rows = [row for row in verifier.rows() if row.scale in self.scales]
        known = bool(verifier.expected.history.runs)  # else a shard without a file may be zeros
        done = {row.key for row in rows if row.state != "make" or not known}
        self._done = [row for row in rows if row.key in done]
        self._undone = {row.key for row in rows} - done
        self.compared = 0

    def batches(self, count: int) -> list[list[Draw]]:
        """Draw shards, with repeats, as batches of one scale each.

        Every shard is drawn for all places in turn before the next, so few points are spread over
        fewer shards: an index is read for each.
        """
        if not self._done:
            return []
        shards = self._random.choices(self._done, k=-(-count // len(_TURNS)))
        pairs = itertools.islice(itertools.product(shards, _TURNS), count)
        draws = sorted((Draw(*pair) for pair in pairs), key=_order)
        by_scale = itertools.groupby(draws, lambda draw: draw.row.scale)
        return [batch for _, group in by_scale for batch in _split(list(group))]

    def check(self, batch: Sequence[Draw]) -> Iterator[Finding]:
        """Compare the points of one batch; voxels that cannot be read are findings.

        Raises:
            UnreachableError: the server does not answer.
        """
        scale = self._spec.scales[batch[0].row.scale]
        points: list[Point] = []
        for row, draws in itertools.groupby(batch, lambda draw: draw.row):
            try:
                ids = self._stored_ids(scale, row)
            except (BraidError, ShardliftError) as error:
                yield Finding(row.key, f"cannot be compared: {error}")
                continue
            drawn = (self._draw(scale, row, ids, draw.place) for draw in draws)
            points += [point for point in drawn if point is not None]
        yield from self._compare(scale, points)

    def _chosen(self, scales: Sequence[int] | None) -> list[int]:
        if scales is None and not self._converted:
            raise UsageError(
                "the run converted no scale from an export, so there is none to compare with DVID",
                hint="name scales with --scales to compare them with DVID's own all the same",
            )
        chosen = self._converted if scales is None else sorted(scales)
        for scale in chosen:
            if scale not in self._converted:
                self._check_downsampled(scale)
        return chosen

    def _check_downsampled(self, scale: int) -> None:
        """Refuse a scale that DVID has in another form; tell that its rule is another."""
        pairs = itertools.pairwise(self._spec.scales[: scale + 1])
        halved = all(sharding.factors(fine, coarse) == _HALVED for fine, coarse in pairs)
        if not halved or self._z_step > 1:
            raise UsageError(
                f"scale {scale} cannot be compared: DVID halves every axis, from all slices",
                hint="leave --scales out: then the converted scales are compared",
            )
        if not (self._supervoxels and self._rule == "nonzero-mode"):
            print_stderr(
                f"scale {scale}: DVID's own scale follows another majority rule, "
                "so labels may differ where they meet"
            )

    def _stored_ids(self, scale: ScaleSpec, row: PlanRow) -> set[int]:
        """Ids of the chunks that a shard stores; none if it has no file."""
        try:
            return read_again(partial(self._read_ids, scale, row))
        except ObjectNotFound:
            return set()  # zeros, or a finding of the listing

    def _read_ids(self, scale: ScaleSpec, row: PlanRow) -> set[int]:
        with closing(self._dest.source(sharding.shard_path(scale, row.shard))) as source:
            try:
                return set(ShardFile.open(source, scale, row.shard).ids().tolist())
            except BraidError:
                source.verify(doubted=True)
                raise

    def _draw(self, scale: ScaleSpec, row: PlanRow, ids: set[int], place: Place) -> Point | None:
        """A point at the place; where there is none, in any chunk of the shard."""
        box = sharding.shard_box(scale, row.shard)
        chunk = self._chunk(scale, box, ids, place) or self._in_box(box)
        point = self._point(scale, chunk)
        return None if point.key in self._undone else point

    def _chunk(self, scale: ScaleSpec, box: Box, ids: set[int], place: Place) -> Vec3 | None:
        grid: Box = ((0, 0, 0), scale.grid)
        if place is Place.STORED:
            return self._stored(scale, ids)
        if place is Place.LEFT_OUT:
            if len(ids) == _volume_of(box):
                return None
            return self._first(lambda: self._in_box(box), lambda c: _id(scale, c) not in ids)
        if place is Place.BESIDE:
            layers = list(_layers(box, scale.grid))
            return self._first(
                lambda: self._in_box(self._random.choice(layers)) if layers else None,
                lambda chunk: self._key(scale, chunk) not in self._undone,
            )
        return self._first(
            lambda: self._in_box(grid), lambda c: self._key(scale, c) not in self._undone
        )

    def _first(
        self, draw: Callable[[], Vec3 | None], accept: Callable[[Vec3], bool]
    ) -> Vec3 | None:
        drawn = (draw() for _ in range(_TRIES))
        return next((chunk for chunk in drawn if chunk is not None and accept(chunk)), None)

    def _stored(self, scale: ScaleSpec, ids: set[int]) -> Vec3 | None:
        if not ids:
            return None
        chosen = self._random.choice(sorted(ids))
        x, y, z = morton.decode([chosen], scale.grid)[0].tolist()
        return x, y, z

    def _in_box(self, box: Box) -> Vec3:
        x, y, z = (self._random.randrange(b, e) for b, e in zip(*box, strict=True))
        return x, y, z

    def _point(self, scale: ScaleSpec, chunk: Vec3) -> Point:
        return Point(self._key(scale, chunk), self._in_box(scale.chunk_box(chunk)))

    def _key(self, scale: ScaleSpec, chunk: Vec3) -> str:
        shard = int(sharding.shard_numbers([_id(scale, chunk)], scale.sharding)[0])
        return f"s{scale.index}/{sharding.shard_hex(shard, scale.sharding)}"

    def _compare(self, scale: ScaleSpec, points: Sequence[Point]) -> Iterator[Finding]:
        """Compare voxels with the server's labels."""
        asked = [self._in_dvid(scale, point.voxel) for point in points]
        truth = self._instance.labels(asked, scale.index, supervoxels=self._supervoxels)
        found = self._read(scale, points)
        self.compared += len(points)
        for point, at, ours, theirs in zip(points, asked, found, truth, strict=True):
            name = f"voxel {point.voxel}" + ("" if at == point.voxel else f" ({at} in DVID)")
            if isinstance(ours, str):
                yield Finding(point.key, f"{name} cannot be compared: {ours}")
            elif ours != theirs:
                yield Finding(point.key, f"{name}: the volume has {ours}, DVID has {theirs}")

    def _read(self, scale: ScaleSpec, points: Sequence[Point]) -> list[int | str]:
        """Voxels as TensorStore reads them; a text where one cannot be read."""

        def read(point: Point) -> int | str:
            x, y, z = point.voxel
            try:
                return int(
                    self._volume.read(scale.index, point.voxel, (x + 1, y + 1, z + 1))[0, 0, 0]
                )
            except (ShardliftError, OSError, RuntimeError) as error:  # of TensorStore
                return str(error).splitlines()[0]

        if not points:
            return []
        first = read(points[0])  # opens the scale once, before the threads do
        with ThreadPoolExecutor(_READERS) as pool:
            return [first, *pool.map(read, points[1:])]

    def _in_dvid(self, scale: ScaleSpec, voxel: Vec3) -> Vec3:
        """The voxel's coordinates at the server, which has all slices."""
        x, y, z = voxel
        return x, y, z * (self._z_step if scale.index == 0 else 1)


def open_instance(dvid: str | None, uuid: str | None, instance: str | None) -> DvidInstance | None:
    """The instance that the three options name; None if none is given.

    Raises:
        UsageError: only some are given, or `dvid` is not an address.
    """
    given = {"--dvid": dvid, "--uuid": uuid, "--instance": instance}
    missing = [option for option, value in given.items() if not value]
    if len(missing) == len(given):
        return None
    if missing or not (dvid and uuid and instance):
        raise UsageError(
            f"a comparison with DVID needs {' and '.join(missing)} too",
            hint="for instance --dvid http://HOST:8000 --uuid 3fa22 --instance segmentation",
        )
    return DvidInstance(dvid, uuid, instance)


def _order(draw: Draw) -> tuple[int, str]:
    return draw.row.scale, draw.row.key


def _split(draws: Sequence[Draw]) -> Iterable[list[Draw]]:
    return [list(draws[at : at + _BATCH]) for at in range(0, len(draws), _BATCH)]


def _id(scale: ScaleSpec, chunk: Vec3) -> int:
    return int(morton.encode(np.array([chunk]), scale.grid)[0])


def _volume_of(box: Box) -> int:
    return math.prod(e - b for b, e in zip(*box, strict=True))


def _layers(box: Box, grid: Vec3) -> Iterator[Box]:
    """Boxes, one chunk thick, that touch the faces of a box from outside, within the grid."""
    begin, end = box
    for axis in range(3):
        for at in (begin[axis] - 1, end[axis]):
            if 0 <= at < grid[axis]:
                yield _with(begin, axis, at), _with(end, axis, at + 1)


def _with(corner: Vec3, axis: int, value: int) -> Vec3:
    x, y, z = (value if number == axis else c for number, c in enumerate(corner))
    return x, y, z
