"""Exports made from known voxels, and the volumes expected from them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from braid.precomputed.sharding import all_shards, shard_hex
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from consumer.executor.convert import convert_shard
from consumer.protocol.tasks import ConvertTask, Outcome
from producer.export_writer import ExportFormat, file_edge
from producer.synthetic_export import write_export
from runtime.storage import open_storage
from tests.support.source_box import source_box
from tests.support.specs import made_info

Triple = tuple[int, int, int]
Voxels = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ArrayField:
    """A segmentation held as an array, (z, y, x).

    Attributes:
        voxels: supervoxels.
        merged: label of each supervoxel; those that it lacks are their own labels.
        beyond: label of edge blocks outside the volume; it must not show.
    """

    voxels: Voxels
    merged: Mapping[int, int]
    beyond: int = 2**64 - 1

    @property
    def size(self) -> Triple:
        """Voxels x, y, z."""
        z, y, x = self.voxels.shape
        return x, y, z

    def supervoxels(self, begin: Triple, end: Triple) -> Voxels:
        """A box, (z, y, x)."""
        shape = [e - b for b, e in zip(begin[::-1], end[::-1], strict=True)]
        out = np.full(shape, self.beyond, np.uint64)
        inside = self.voxels[
            tuple(slice(b, e) for b, e in zip(begin[::-1], end[::-1], strict=True))
        ]
        out[tuple(slice(0, n) for n in inside.shape)] = inside
        return out

    def labels_of(self, supervoxels: Voxels) -> Voxels:
        """The label of each supervoxel, any shape."""
        distinct, places = np.unique(supervoxels, return_inverse=True)
        labels = [self.merged.get(int(one), int(one)) for one in distinct]
        return np.array(labels, np.uint64)[places].reshape(supervoxels.shape)

    @property
    def labels(self) -> Voxels:
        """All labels, (z, y, x)."""
        return self.labels_of(self.voxels)


def blobs(size: Triple, seed: int, labels: int = 9, grain: int = 7) -> ArrayField:
    """Random boxes of random labels, a third of them 0, some as large as labels get."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 2**64, labels, dtype=np.uint64)
    ids[: labels // 3] = 0
    coarse = [-(-edge // grain) for edge in reversed(size)]
    voxels = ids[rng.integers(0, labels, coarse)]
    for axis in range(3):
        voxels = np.repeat(voxels, grain, axis=axis)
    z, y, x = reversed(size)
    merged = {int(one): int(rng.choice(ids)) for one in ids[::2] if one}
    return ArrayField(np.ascontiguousarray(voxels[:z, :y, :x]), merged)


def source_spec(size: Triple, bits: tuple[int, int] = (3, 3)) -> ScaleSpec:
    """The export's scale: 64x64x64 chunks, whose sharding decides the files' extents."""
    return VolumeSpec.parse(made_info(size, (), bits=(bits,))).scales[0]


@dataclass(frozen=True)
class Conversion:
    """One export, converted shard by shard as workers would.

    Attributes:
        root: holds `export` and `volume`.
        info: of the volume.
        extent: edge of the export's files in blocks.
    """

    root: Path
    info: Mapping[str, Any]
    extent: int
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        root: Path,
        field: Any,  # noqa: ANN401 - a Field
        info: Mapping[str, Any],
        form: ExportFormat | None = None,
        *,
        source: ScaleSpec | None = None,
        keep_empty: bool = True,
        **options: Any,  # noqa: ANN401 - of ConvertTask
    ) -> "Conversion":
        """Export the field; `source` is the scale at the export's side, else the volume's own."""
        scale = source or VolumeSpec.parse(info).scales[0]
        (root / "export" / "s0").mkdir(parents=True)
        write_export(root / "export", scale, field, form, keep_empty=keep_empty)
        return cls(root, info, file_edge(scale), options)

    @property
    def dest(self) -> Path:
        """The volume."""
        return self.root / "volume"

    @property
    def scale(self) -> ScaleSpec:
        """The output scale."""
        return VolumeSpec.parse(self.info).scales[0]

    def task(self, shard: int) -> ConvertTask:
        """The task of a worker."""
        return ConvertTask(
            run="r",
            key=f"s0/{shard_hex(shard, self.scale.sharding)}",
            volume=dict(self.info),
            scale=0,
            shard=shard,
            dest=str(self.dest),
            source=str(self.root / "export"),
            sources=tuple(self.files(shard)),
            **self.options,
        )

    def files(self, shard: int) -> list[str]:
        """Files whose extent meets the shard's box."""
        begin, end = source_box(self.scale, shard, self.options.get("z_compress", 0))
        edge = self.extent * 64
        found = []
        for path in sorted((self.root / "export" / "s0").glob("*.arrow")):
            origin = [int(part) // 64 for part in path.stem.split("_")]
            if all(
                o < e and o + edge // 64 > b for o, b, e in zip(origin, begin, end, strict=True)
            ):
                found.append(f"s0/{path.name}")
        return found

    def run(self, shard: int, **changes: Any) -> Outcome:  # noqa: ANN401 - of ConvertTask
        """Make one shard."""
        task = self.task(shard).model_copy(update=changes)
        return convert_shard(
            task, open_storage(task.dest), open_storage(task.source), lambda: None, lambda _: None
        )

    def all(self, **changes: Any) -> dict[int, Outcome]:  # noqa: ANN401 - of ConvertTask
        """Make every shard and the info."""
        self.dest.mkdir(exist_ok=True)
        (self.dest / "info").write_text(json.dumps(self.info))
        return {shard: self.run(shard, **changes) for shard in all_shards(self.scale)}

    def shards(self) -> dict[str, bytes]:
        """The shard files by name."""
        return {p.name: p.read_bytes() for p in sorted(self.dest.rglob("*.shard"))}
