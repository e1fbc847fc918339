"""Neuroglancer viewer of a volume: initial position, selected segments, servers.

The client is part of the PyPI package, so that no network is needed. Local volumes are served by
`producer.file_server`; gs:// volumes are read by the browser.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braid.exceptions import BraidError
from braid.precomputed import morton, sharding
from braid.precomputed.chunk_codec import decode_chunk
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.typing import Vec3
from producer.file_server import FileServer, ServedRequest
from producer.info import read_volume
from producer.planner import list_outputs
from runtime.errors import UnreachableError
from runtime.storage import Storage, open_storage
from runtime.urls import is_remote

PANEL_PIXELS = 600  # half of a common window
_SEGMENTS = 12
_FAINT = 0.35  # opacity of segments that are not selected
_OBLIQUE = (0.36, 0.24, 0.06, 0.9)  # quaternion: from above and the side
_HOST = "127.0.0.1"

Point = tuple[float, float, float]


@dataclass(frozen=True)
class ViewerPosition:
    """Initial position and selection of the viewer.

    Attributes:
        position: x, y, z in voxels of scale 0.
        segments: selected, the largest ones at the position.
        zoom: voxels of scale 0 per pixel.
    """

    position: Point
    segments: Sequence[int]
    zoom: float


@contextmanager
def open_viewer(
    dest: str, *, port: int = 0, on_served: Callable[[ServedRequest], None] = lambda _: None
) -> Iterator[str]:
    """Run a viewer of a volume while the block runs; yields its link.

    Args:
        dest: directory or gs:// prefix of a volume.
        port: of the viewer; files of a local volume are served on the next one. 0: free ports.
        on_served: called after each request for a file of a local volume.

    Raises:
        UnreachableError: there is no volume, or the port is taken.
        SpecError: its `info` is not supported.
    """
    storage = open_storage(dest)
    volume = read_volume(storage)
    start = choose_position(storage, volume)
    with ExitStack() as stack:
        source = storage.url
        if not is_remote(source):
            files = _serve(Path(source), port + 1 if port else 0, on_served)
            source = stack.enter_context(files).url
        yield stack.enter_context(_viewer(f"precomputed://{source}", volume, start, port))


def _serve(root: Path, port: int, on_served: Callable[[ServedRequest], None]) -> FileServer:
    try:
        return FileServer(root, _HOST, port, on_served)
    except OSError as error:
        raise _cannot_listen(port, error) from None


@contextmanager
def _viewer(source: str, volume: VolumeSpec, start: ViewerPosition, port: int) -> Iterator[str]:
    import neuroglancer  # noqa: PLC0415 - the import takes a second

    neuroglancer.set_server_bind_address(_HOST, port)
    try:
        viewer = neuroglancer.Viewer()
    except OSError as error:
        raise _cannot_listen(port, error) from None
    try:
        viewer.set_state(viewer_state(neuroglancer, source, volume, start))
        yield str(viewer.get_viewer_url())
    finally:
        neuroglancer.stop()


def _cannot_listen(port: int, error: OSError) -> UnreachableError:
    return UnreachableError(
        f"cannot listen on {_HOST}:{port}: {error.strerror}",
        hint="choose another --port; it and the next one must be free",
    )


def choose_position(dest: Storage, volume: VolumeSpec) -> ViewerPosition:
    """Choose the middle of the existing shards, or of an empty volume.

    Segments are those of one chunk of the coarsest scale that has files, so that little is read.
    """
    finest = volume.scales[0]
    for scale in reversed(volume.scales):
        outputs = {} if scale.unserved else list_outputs(dest, scale)
        if not outputs:
            continue
        ratios = [a / b for a, b in zip(scale.resolution, finest.resolution, strict=True)]
        try:
            chunk, segments = _middle_chunk(dest, scale, sorted(outputs))
        except BraidError:  # a damaged shard; a finer scale may be readable
            continue
        low, high = _extent(scale, sorted(outputs))
        x, y, z = (
            r * min(max((lo + hi) / 2, b), e)
            for lo, hi, b, e, r in zip(low, high, *scale.chunk_box(chunk), ratios, strict=True)
        )
        shown = max((hi - lo) * r for lo, hi, r in zip(low, high, ratios, strict=True))
        return ViewerPosition((x, y, z), segments, shown / PANEL_PIXELS)
    centre = [size / 2 for size in finest.size]
    return ViewerPosition((centre[0], centre[1], centre[2]), (), max(finest.size) / PANEL_PIXELS)


def viewer_state(neuroglancer: Any, source: str, volume: VolumeSpec, start: ViewerPosition) -> Any:  # noqa: ANN401 - it publishes no types
    """State of a viewer with one segmentation layer.

    Args:
        neuroglancer: the module, whose import is slow.
        source: `precomputed://...`.
        volume: of the source.
        start: initial position.
    """
    state = neuroglancer.ViewerState()
    resolution = list(volume.scales[0].resolution)
    state.dimensions = neuroglancer.CoordinateSpace(
        names=["x", "y", "z"], units="nm", scales=resolution
    )
    state.layers["segmentation"] = neuroglancer.SegmentationLayer(
        source=source, segments=list(start.segments), not_selected_alpha=_FAINT
    )
    state.position = list(start.position)
    state.cross_section_scale = start.zoom
    state.projection_scale = start.zoom * PANEL_PIXELS * 1.3
    state.projection_orientation = _OBLIQUE
    state.layout = "4panel"
    return state


def _middle_chunk(dest: Storage, scale: ScaleSpec, shards: Sequence[int]) -> tuple[Vec3, list[int]]:
    """The chunk nearest to the middle of the shards, and its largest segments."""
    begin, end = _extent(scale, shards)
    middle = [(b + e) / 2 for b, e in zip(begin, end, strict=True)]
    shard = min(shards, key=lambda shard: _distance(_centre(scale, shard), middle))
    source = dest.source(sharding.shard_path(scale, shard))
    try:
        file = ShardFile.open(source, scale, shard)
        ids = file.ids()
        coords = morton.decode(ids, scale.grid)
        away = np.abs((coords + 0.5) * scale.chunk_size - middle).sum(axis=1)
        nearest = int(np.argmin(away))
        x, y, z = (int(c) for c in coords[nearest])
        data = file.chunk(int(ids[nearest]))
    finally:
        source.close()
    first, last = scale.chunk_box((x, y, z))
    shape = [e - b for b, e in zip(reversed(first), reversed(last), strict=True)]
    voxels = decode_chunk(scale, data, (shape[0], shape[1], shape[2]))
    labels, counts = np.unique(voxels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return (x, y, z), [int(label) for label in labels[order] if label][:_SEGMENTS]


def _extent(scale: ScaleSpec, shards: Sequence[int]) -> tuple[Vec3, Vec3]:
    """Bounding box of shards, in voxels."""
    begins, ends = sharding.shard_boxes(scale, shards)
    low = begins.min(axis=0) * scale.chunk_size
    high = np.minimum(ends.max(axis=0) * scale.chunk_size, scale.size)
    a, b = (tuple(int(v) for v in corner) for corner in (low, high))
    return (a[0], a[1], a[2]), (b[0], b[1], b[2])


def _centre(scale: ScaleSpec, shard: int) -> list[float]:
    begin, end = sharding.shard_box(scale, shard)
    return [(b + e) / 2 * c for b, e, c in zip(begin, end, scale.chunk_size, strict=True)]


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.dist(a, b)
