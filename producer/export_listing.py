"""Export listing: Arrow files and their indices, one storage listing per scale."""

from collections.abc import Iterable
from dataclasses import dataclass

from braid.transcode import file_extent
from braid.typing import Vec3
from runtime.errors import UsageError
from runtime.storage import ObjectInfo, Storage

_OFFSETS = "-offsets.csv"


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One Arrow file of an export, with the size of its index."""

    path: str  # relative to the source: "s1/30720_24576_28672.arrow"
    origin: Vec3  # x, y, z of its extent, in voxels of its scale
    size_bytes: int
    index_bytes: int  # of all its CSV files; 0 without any


@dataclass(frozen=True, slots=True)
class ScaleListing:
    """Arrow files of one scale, in name order."""

    scale: int
    files: tuple[ExportFile, ...]

    @property
    def size_bytes(self) -> int:
        """Total bytes of the Arrow files, without their indices."""
        return sum(file.size_bytes for file in self.files)

    @property
    def without_index(self) -> tuple[str, ...]:
        """Files without a CSV index: readable, but read whole to find their rows."""
        return tuple(file.path for file in self.files if not file.index_bytes)


def list_scale(source: Storage, scale: int) -> ScaleListing:
    """List one scale of an export.

    Raises:
        UsageError: the scale has no Arrow files, or the name of one is not a voxel origin (its
            rows would be left out silently).
    """
    folder = f"s{scale}"
    found = read_listing(source.list(f"{folder}/"), scale)
    if not found.files:
        raise UsageError(
            f"{source.url} has no {folder}/*.arrow files",
            hint="--source is the folder that holds s0, s1, ... as DVID's export-shards wrote them",
        )
    return found


def read_listing(listing: Iterable[ObjectInfo], scale: int) -> ScaleListing:
    """Sort a listing of `s<scale>/` into Arrow files and indices; other files are ignored."""
    arrows: dict[str, ObjectInfo] = {}
    index_bytes: dict[str, int] = {}
    for entry in listing:
        name = entry.path.rpartition("/")[2]
        if name.startswith(".") or entry.path.count("/") != 1:
            continue  # hidden files of an operating system, or deeper folders
        if name.endswith(".arrow"):
            arrows[entry.path] = entry
        elif name.endswith(".csv"):
            stem = _indexed_stem(entry.path)
            index_bytes[stem] = index_bytes.get(stem, 0) + entry.size
    return ScaleListing(
        scale, tuple(_export_file(arrows[path], index_bytes) for path in sorted(arrows))
    )


def _export_file(entry: ObjectInfo, index_bytes: dict[str, int]) -> ExportFile:
    stem = entry.path.removesuffix(".arrow")
    return ExportFile(entry.path, origin_of(entry.path), entry.size, index_bytes.get(stem, 0))


def _indexed_stem(path: str) -> str:
    suffix = _OFFSETS if path.endswith(_OFFSETS) else ".csv"
    return path.removesuffix(suffix)


def origin_of(path: str) -> Vec3:
    """Parse the voxel origin (x, y, z) of a name such as `s1/30720_24576_28672.arrow`."""
    origin = file_extent.origin_of(path)
    if origin is None:
        raise UsageError(
            f"{path} is not named after a voxel origin (x_y_z.arrow)",
            hint="restore the name that DVID gave it, or move it out of the export",
        )
    return origin
