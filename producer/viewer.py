"""Neuroglancer viewer of a volume: initial position, selected segments, servers.

The client is part of the PyPI package, so that no network is needed. Local volumes are served by
`producer.file_server`; gs:// volumes are read by the browser.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from braid.exceptions import BraidError, SpecError
from braid.precomputed import morton, sharding
from braid.precomputed.chunk_codec import decode_chunk
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.typing import Int64Array, Vec3
from producer.file_server import FileServer, ServedRequest
from producer.info import INFO, encoding_notes, plain_info, read_volume
from producer.planner import has_shards, list_outputs
from runtime.errors import UnreachableError
from runtime.storage import Storage, open_storage
from runtime.text import printable
from runtime.urls import is_remote

PANEL_PIXELS = 600  # half of a common window
_SEGMENTS = 12
_TRIED_CHUNKS = 16  # until one holds a label other than 0
_FAINT = 0.35  # opacity of segments that are not selected
_OBLIQUE = (0.36, 0.24, 0.06, 0.9)  # quaternion: from above and the side
_HOST = "127.0.0.1"
_OTHER_HOSTS = r"(?!(?:127\.0\.0\.1|localhost)$).*$"
_MAX_POST_BYTES = 16 << 20  # the viewer's state, which the page posts

Point = tuple[float, float, float]
_Box = tuple[Vec3, Vec3]


@dataclass(frozen=True)
class ViewerPosition:
    """Initial position and selection of the viewer.

    Attributes:
        position: x, y, z in voxels of scale 0.
        segments: selected, the largest ones of the chunk shown, the position's first.
        zoom: screen pixel, in voxels of scale 0 (their shortest edge).
        where: the chunk shown, in words.
    """

    position: Point
    segments: Sequence[int]
    zoom: float
    where: str


@dataclass(frozen=True)
class OpenViewer:
    """A running viewer.

    Attributes:
        url: its link.
        summary: which scales exist and what is shown first, one line.
        notes: what other viewers would not read.
    """

    url: str
    summary: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _ShownChunk:
    """Chunk that the viewer shows first, with its largest labels and a voxel of the first one."""

    chunk: Vec3
    labels: Sequence[int]
    voxel: Point


@contextmanager
def open_viewer(
    dest: str, *, port: int = 0, on_served: Callable[[ServedRequest], None] = lambda _: None
) -> Iterator[OpenViewer]:
    """Run a viewer of a volume while the block runs.

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
    summary = f"{describe_scales(storage, volume)}; showing {start.where}"
    with ExitStack() as stack:
        source, files = storage.url, None
        if not is_remote(source):
            files = _serve(storage, Path(source), port + 1 if port else 0, on_served)
            source = stack.enter_context(files).url
        layer = (volume_name(storage.url), f"precomputed://{source}")
        url = stack.enter_context(_viewer(layer, volume, start, port))
        if files is not None:
            files.allow_origin(url)
        notes = [f"{INFO}: {note}" for note in encoding_notes(storage.read(INFO))]
        yield OpenViewer(url, summary, notes)


def volume_name(url: str) -> str:
    """Name of a volume, as window and layer show it: the last part of its destination."""
    return printable(url.rstrip("/").rpartition("/")[2]) or "volume"


def describe_scales(dest: Storage, volume: VolumeSpec) -> str:
    """Describe which scales hold anything: `scales 1-3 of 10 exist`."""
    found = [scale.index for scale in volume.scales if _exists(dest, scale)]
    total = len(volume.scales)
    if not found:
        return f"no scale of {total} exists"
    runs = [
        [index for _, index in run]
        for _, run in groupby(enumerate(found), lambda place: place[1] - place[0])
    ]
    named = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    if len(found) == 1:
        return f"scale {named} of {total} exists"
    return f"scales {named} of {total} exist"


def existing_scales_info(dest: Storage, data: bytes) -> bytes:
    """Leave out of an `info` the scales without shards, which the viewer would draw as nothing.

    An `info` without any such scale, or with nothing else, stays as it is, in plain UTF-8.

    Args:
        dest: the volume.
        data: its `info`.
    """
    try:
        volume = VolumeSpec.parse(data)
    except SpecError:
        return data
    kept = {scale.key for scale in volume.scales if _exists(dest, scale)}
    if not kept or len(kept) == len(volume.scales):
        return plain_info(data)
    info = json.loads(data)
    info["scales"] = [scale for scale in info["scales"] if scale["key"] in kept]
    return json.dumps(info).encode()


def _exists(dest: Storage, scale: ScaleSpec) -> bool:
    """Whether there is anything of a scale; other programs made those that are not served."""
    if scale.unserved:
        return any(True for _ in dest.list(f"{scale.key}/"))
    return has_shards(dest, scale)


def _serve(
    dest: Storage, root: Path, port: int, on_served: Callable[[ServedRequest], None]
) -> FileServer:
    rewrites = {INFO: partial(existing_scales_info, dest)}
    try:
        return FileServer(root, _HOST, port, on_served, rewrites)
    except OSError as error:
        raise _cannot_listen(port, error) from None


@contextmanager
def _viewer(
    layer: tuple[str, str], volume: VolumeSpec, start: ViewerPosition, port: int
) -> Iterator[str]:
    import neuroglancer  # noqa: PLC0415 - the import takes a second

    neuroglancer.set_server_bind_address(_HOST, port)
    try:
        viewer = neuroglancer.Viewer()
    except OSError as error:
        raise _cannot_listen(port, error) from None
    try:
        _bound_requests(neuroglancer.server.global_server)
        viewer.set_state(viewer_state(neuroglancer, layer, volume, start))
        yield str(viewer.get_viewer_url())
    finally:
        neuroglancer.stop()


def _bound_requests(server: Any) -> None:  # noqa: ANN401 - it publishes no types
    """Let the viewer's own server answer to this machine's names only, and take no large bodies.

    Its paths hold a token already; without one a body would be read before it is refused.
    """
    from tornado.web import ErrorHandler  # noqa: PLC0415 - neuroglancer's; loaded by now

    misdirected = {"status_code": int(HTTPStatus.MISDIRECTED_REQUEST)}
    server.app.add_handlers(_OTHER_HOSTS, [(r".*", ErrorHandler, misdirected)])
    server.http_server.conn_params.max_body_size = _MAX_POST_BYTES


def _cannot_listen(port: int, error: OSError) -> UnreachableError:
    return UnreachableError(
        f"cannot listen on {_HOST}:{port}: {error.strerror}",
        hint="choose another --port; it and the next one must be free",
    )


def choose_position(dest: Storage, volume: VolumeSpec) -> ViewerPosition:
    """Choose a voxel of the commonest label in a chunk amid the existing shards.

    The chunk is one of the coarsest scale that has files, so that little is read; in an empty
    volume the position is its centre. The zoom is no coarser than that scale's voxels: there the
    viewer would ask for coarser scales, and show nothing.
    """
    for scale in reversed(volume.scales):
        outputs = {} if scale.unserved else list_outputs(dest, scale)
        if not outputs:
            continue
        try:
            shown, extent = _find_labels(dest, scale, sorted(outputs))
        except BraidError:  # a damaged shard; a finer scale may be readable
            continue
        if shown is not None:
            return _position(volume, scale, shown, extent)
    x, y, z = volume.scales[0].size
    zoom = max(x, y, z) / PANEL_PIXELS
    return ViewerPosition((x / 2, y / 2, z / 2), (), zoom, "the middle of the volume")


def _position(
    volume: VolumeSpec, scale: ScaleSpec, shown: _ShownChunk, extent: _Box
) -> ViewerPosition:
    finest = volume.scales[0].resolution
    x, y, z = (v * a / b for v, a, b in zip(shown.voxel, scale.resolution, finest, strict=True))
    low, high = extent
    width = max((e - b) * r for b, e, r in zip(low, high, scale.resolution, strict=True))
    nanometres = min(width / PANEL_PIXELS, *scale.resolution)
    chunk = ", ".join(map(str, shown.chunk))
    where = f"around chunk ({chunk}) of scale {scale.index}"
    return ViewerPosition((x, y, z), shown.labels, nanometres / min(finest), where)


def viewer_state(
    neuroglancer: Any,  # noqa: ANN401 - it publishes no types
    layer: tuple[str, str],
    volume: VolumeSpec,
    start: ViewerPosition,
) -> Any:  # noqa: ANN401
    """State of a viewer with one segmentation layer.

    Args:
        neuroglancer: the module, whose import is slow.
        layer: its name, and its source `precomputed://...`.
        volume: of the source.
        start: initial position.
    """
    name, source = layer
    state = neuroglancer.ViewerState()
    state.title = name
    resolution = list(volume.scales[0].resolution)
    state.dimensions = neuroglancer.CoordinateSpace(
        names=["x", "y", "z"], units="nm", scales=resolution
    )
    state.layers[name] = neuroglancer.SegmentationLayer(
        source=source, segments=list(start.segments), not_selected_alpha=_FAINT
    )
    state.position = list(start.position)
    state.cross_section_scale = start.zoom
    state.projection_scale = start.zoom * PANEL_PIXELS * 1.3
    state.projection_orientation = _OBLIQUE
    state.layout = "4panel"
    return state


def _find_labels(
    dest: Storage, scale: ScaleSpec, shards: Sequence[int]
) -> tuple[_ShownChunk | None, _Box]:
    """The chunk with a label nearest to the middle, if any, and the extent of the data in voxels.

    The extent is that of the shards; of a single one it is that of its chunks, which may be few.
    """
    extent = _extent(scale, shards)
    middle = _middle(extent)
    shard = min(shards, key=lambda shard: _distance(_centre(scale, shard), middle))
    source = dest.source(sharding.shard_path(scale, shard))
    try:
        file = ShardFile.open(source, scale, shard)
        coords = morton.decode(file.ids(), scale.grid)
        if len(shards) == 1 and len(coords):
            extent = _clipped(scale, coords.min(axis=0), coords.max(axis=0) + 1)
            middle = _middle(extent)
        away = np.abs((coords + 0.5) * scale.chunk_size - middle).sum(axis=1)
        for place in np.argsort(away, kind="stable")[:_TRIED_CHUNKS].tolist():
            x, y, z = (int(c) for c in coords[place])
            shown = _largest_labels(scale, (x, y, z), file.chunk(int(file.ids()[place])))
            if shown is not None:
                return shown, extent
    finally:
        source.close()
    return None, extent


def _largest_labels(scale: ScaleSpec, chunk: Vec3, data: bytes) -> _ShownChunk | None:
    """Labels of a chunk, the commonest first, and a voxel of that one; None if all are 0."""
    first, last = scale.chunk_box(chunk)
    z, y, x = (e - b for b, e in zip(reversed(first), reversed(last), strict=True))
    voxels = decode_chunk(scale, data, (z, y, x))
    found, counts = np.unique(voxels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    labels = [int(label) for label in found[order] if label][:_SEGMENTS]
    if not labels:
        return None
    at = inner_voxel(voxels == labels[0])
    middle = [b + v + 0.5 for b, v in zip(first, at, strict=True)]
    return _ShownChunk(chunk, labels, (middle[0], middle[1], middle[2]))


def inner_voxel(mask: npt.NDArray[np.bool_]) -> Vec3:
    """Voxel (x, y, z) of a ZYX mask that is nearest to its centre of mass."""
    voxels = np.argwhere(mask)
    away = np.abs(voxels - voxels.mean(axis=0)).sum(axis=1)
    z, y, x = voxels[int(np.argmin(away))].tolist()
    return x, y, z


def _extent(scale: ScaleSpec, shards: Sequence[int]) -> _Box:
    """Bounding box of shards, in voxels."""
    begins, ends = sharding.shard_boxes(scale, shards)
    return _clipped(scale, begins.min(axis=0), ends.max(axis=0))


def _clipped(scale: ScaleSpec, begin: Int64Array, end: Int64Array) -> _Box:
    """Box in voxels of a box in chunks, within the volume."""
    low = begin * scale.chunk_size
    high = np.minimum(end * scale.chunk_size, scale.size)
    a, b = (tuple(int(v) for v in corner) for corner in (low, high))
    return (a[0], a[1], a[2]), (b[0], b[1], b[2])


def _middle(box: _Box) -> list[float]:
    return [(b + e) / 2 for b, e in zip(*box, strict=True)]


def _centre(scale: ScaleSpec, shard: int) -> list[float]:
    begin, end = sharding.shard_box(scale, shard)
    return [(b + e) / 2 * c for b, e, c in zip(begin, end, scale.chunk_size, strict=True)]


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.dist(a, b)
