"""Windows of made rows, and the chunks that a transcoder makes of them."""

from typing import Any

import numpy as np

from braid.dvid.block_batch import RowPlace
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.reader import Rows
from braid.transcode.block_assignment import assign_blocks
from braid.transcode.row_window import RowWindow
from braid.transcode.transcoder import Transcoder
from braid.typing import Vec3
from producer.export_writer import Row, make_row
from tests.support.specs import made_info
from tests.support.voxel_exports import blobs


def scale_of(size: Vec3, **options: Any) -> ScaleSpec:  # noqa: ANN401 - of made_info
    """Scale whose chunks are all in one shard, by default."""
    return VolumeSpec.parse(made_info(size, (), **options)).scales[0]


def rows_of(made: list[Row]) -> Rows:
    """Rows as a reader hands them over."""

    def starts(parts: list[Any]) -> Any:  # noqa: ANN401
        return np.cumsum([0, *map(len, parts)])

    labels, supervoxels = [r.labels for r in made], [r.supervoxels for r in made]
    return Rows(
        coords=np.array([r.coords for r in made], np.int32).reshape(-1, 3),
        blocks=np.frombuffer(b"".join(r.frame for r in made), np.uint8),
        block_start=starts([r.frame for r in made]),
        uncompressed_size=np.array([r.uncompressed_size for r in made], np.uint32),
        labels=np.concatenate([*labels, np.zeros(0, np.uint64)]),
        label_start=starts(labels),
        supervoxels=np.concatenate([*supervoxels, np.zeros(0, np.uint64)]),
        supervoxel_start=starts(supervoxels),
    )


def window_of(made: list[Row], scale: ScaleSpec, z_step: int = 1) -> RowWindow:
    """All rows of a one-shard volume."""
    rows = rows_of(made)
    assigned = assign_blocks(rows.coords, scale, 0, z_step)
    ids, first = np.unique(assigned.ids, return_index=True)
    return RowWindow(
        ids=ids,
        part_start=np.append(first, len(assigned.ids)),
        parts=assigned.blocks,
        rows=rows,
        describe_row=lambda row: RowPlace("made.arrow", row, made[row].coords),
    )


def blocks(size: Vec3, seed: int, labels: int = 9, grain: int = 7) -> list[Row]:
    """The rows of a random volume, in ZYX order."""
    field = blobs(size, seed, labels, grain)
    x, y, z = (range(-(-edge // 64)) for edge in size)
    made = []
    for at in [(i, j, k) for k in z for j in y for i in x]:
        begin = (at[0] * 64, at[1] * 64, at[2] * 64)
        end = (begin[0] + 64, begin[1] + 64, begin[2] + 64)
        made.append(make_row(at, field.supervoxels(begin, end), field.labels_of))
    return made


def stored(coder: Transcoder, window: RowWindow) -> list[tuple[int, bytes]]:
    """A window's chunks as (id, payload)."""
    return [(i, bytes(p)) for batch in coder.payloads([window]) for i, p in batch]
