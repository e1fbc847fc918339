"""Export listing: Arrow files and their indices, one storage listing per scale.

Whatever in a scale's folder is or was part of an export, and cannot be read whole, is a problem of
the listing: its rows would be zeros in the volume, without a word.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode import file_extent
from braid.typing import Vec3
from runtime.errors import UsageError
from runtime.storage import ObjectInfo, Storage, source_stamp
from runtime.storage.base import UPLOAD_AGAIN

_ARROW: Final = ".arrow"
_INDEX_ENDINGS: Final = ("-offsets.csv", ".csv")  # the longer first: it ends with the other
_SIDE_FILES: Final = ("-labels.csv", "-predicted.csv")  # of other tools, never part of the rows
_CHECKSUMS: Final = (".md5", ".sha1", ".sha256", ".sha512", ".crc32c")
_RSYNC_FOLDERS: Final = (".~tmp~", ".rsync-partial")
_SCALE_FOLDER: Final = re.compile(r"s\d{1,4}")
_CELL: Final = re.compile(r"-?\d{1,10}_-?\d{1,10}_-?\d{1,10}(?!\d)")
_KIND_OF_FILE: Final = re.compile(r"arrow|csv", re.IGNORECASE)


class ProblemKind(StrEnum):
    """Kinds of what is wrong with an export, as far as names, sizes and its log tell."""

    INDEX_ALONE = "index-alone"
    INDEX_MISSING = "index-missing"
    EMPTY_ARROW = "empty-arrow"
    EMPTY_INDEX = "empty-index"
    BROKEN_LINK = "broken-link"
    PACKED = "packed"
    LEFTOVER = "leftover"
    OUTSIDE_VOLUME = "outside-volume"
    LOG_UNFINISHED = "log-unfinished"
    LOG_FILES_DIFFER = "log-files-differ"
    LOG_CHUNKS_DIFFER = "log-chunks-differ"


@dataclass(frozen=True, slots=True)
class ListingProblem:
    """One thing that is wrong with an export.

    Attributes:
        kind: for grouping.
        path: of the file, relative to the source.
        text: one line for people: the file, what is wrong, and the way on.
    """

    kind: ProblemKind
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One Arrow file of an export with its indices, as listed.

    Attributes:
        origin: x, y, z of its extent, in voxels of its scale, as its name has it.
        arrow: the Arrow file; its path is relative to the source: "s1/30720_24576_28672.arrow".
        indices: its CSV files, by path.
    """

    origin: Vec3
    arrow: ObjectInfo
    indices: tuple[ObjectInfo, ...] = ()

    @property
    def path(self) -> str:
        """Path of the Arrow file, relative to the source."""
        return self.arrow.path

    @property
    def size_bytes(self) -> int:
        """Bytes of the Arrow file."""
        return self.arrow.size

    @property
    def index_bytes(self) -> int:
        """Bytes of all its CSV files; 0 without any."""
        return sum(index.size for index in self.indices)

    @property
    def stamps(self) -> tuple[tuple[str, str], ...]:
        """Path and stamp of the Arrow file and of each index, by path."""
        found = ((info.path, source_stamp(info)) for info in (self.arrow, *self.indices))
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class ScaleListing:
    """Arrow files of one scale, in name order.

    Attributes:
        scale: its number.
        files: Arrow files that hold bytes.
        problems: what else lies there that is or was part of the export, by path.
    """

    scale: int
    files: tuple[ExportFile, ...]
    problems: tuple[ListingProblem, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Total bytes of the Arrow files, without their indices."""
        return sum(file.size_bytes for file in self.files)

    @property
    def without_index(self) -> tuple[str, ...]:
        """Files without a CSV index: readable, but read whole to find their rows."""
        return tuple(file.path for file in self.files if not file.index_bytes)


class NoArrowFilesError(UsageError):
    """A scale of an export has no Arrow files that hold bytes.

    Attributes:
        problems: what lies in its folder instead.
    """

    def __init__(self, message: str, hint: str, problems: Sequence[ListingProblem]) -> None:
        super().__init__(message, hint)
        self.problems = tuple(problems)


def list_scale(source: Storage, scale: int) -> ScaleListing:
    """List one scale of an export.

    Raises:
        NoArrowFilesError: the scale has no Arrow files.
        UsageError: the name of one is not a voxel origin (its rows would be left out silently).
    """
    folder = f"s{scale}"
    found = read_listing(source.list(f"{folder}/", broken_links=True), scale)
    if not found.files:
        hint = "--source is the folder that holds s0, s1, ... as DVID's export-shards wrote them"
        if found.problems:
            hint = found.problems[0].text
        text = f"{source.url} has no {folder}/*.arrow files{_others(source, folder)}"
        raise NoArrowFilesError(text, hint, found.problems)
    return found


def _others(source: Storage, folder: str) -> str:
    """Folders of other scales that an export has, for an error about one that it lacks."""
    scales = [name for name in source.folders() if _SCALE_FOLDER.fullmatch(name)]
    others = sorted({*scales} - {folder}, key=lambda name: int(name[1:]))
    return f"; it has {', '.join(others)}" if others else ""


def outside_volume(
    listing: ScaleListing, scale: ScaleSpec, z_compress: int = 0
) -> tuple[ListingProblem, ...]:
    """Files that no shard reads, because they are named after voxels outside the volume.

    Args:
        listing: of the scale.
        scale: of the volume.
        z_compress: slices left out after each one kept.
    """
    origins = [file.origin for file in listing.files]
    read = set(file_extent.shards_of(origins, scale, z_compress)[0].tolist())
    return tuple(
        ListingProblem(
            ProblemKind.OUTSIDE_VOLUME,
            file.path,
            f"{file.path}: named after voxels outside the volume of {_times(scale.size)} voxels, "
            "so no shard reads it: use the spec of the export, or move the file out of it",
        )
        for number, file in enumerate(listing.files)
        if number not in read
    )


def read_listing(listing: Iterable[ObjectInfo], scale: int) -> ScaleListing:
    """Sort a listing of `s<scale>/` into files and problems; what no export writes is ignored.

    Args:
        listing: with links that have no target.
        scale: its number.
    """
    found = _Names()
    for entry in listing:
        found.add(entry)
    return ScaleListing(scale, tuple(found.files()), tuple(found.problems()))


def origin_of(path: str) -> Vec3:
    """Parse the voxel origin (x, y, z) of a name such as `s1/30720_24576_28672.arrow`."""
    origin = file_extent.origin_of(path)
    if origin is None:
        raise UsageError(
            f"{path} is not named after a voxel origin (x_y_z.arrow)",
            hint="restore the name that DVID gave it, or move it out of the export",
        )
    return origin


@dataclass
class _Names:
    """Names of a scale's folder, sorted; a stem is the path that Arrow file and indices share."""

    arrows: dict[str, ObjectInfo] = field(default_factory=dict)  # by stem
    indices: dict[str, list[ObjectInfo]] = field(default_factory=dict)  # by stem
    leftovers: list[ObjectInfo] = field(default_factory=list)

    def add(self, entry: ObjectInfo) -> None:
        folder, _, name = entry.path.partition("/")[2].rpartition("/")
        if folder:
            if folder in _RSYNC_FOLDERS and _may_be_rows(name):
                self.leftovers.append(entry)
        elif name.endswith(_ARROW) and not name.startswith("."):
            self.arrows[entry.path.removesuffix(_ARROW)] = entry
        elif (stem := _indexed_stem(entry.path)) is not None:
            self.indices.setdefault(stem, []).append(entry)
        elif _may_be_rows(name):
            self.leftovers.append(entry)

    def files(self) -> Iterator[ExportFile]:
        """Arrow files with bytes, by path; raises UsageError for one that has another name."""
        for path, stem in sorted((entry.path, stem) for stem, entry in self.arrows.items()):
            origin = origin_of(path)
            if self.arrows[stem].size and not self._packed(stem):
                indices = [i for i in self.indices.get(stem, ()) if not i.broken_link]
                yield ExportFile(origin, self.arrows[stem], _by_path(indices))

    def _packed(self, stem: str) -> bool:
        return any(entry.packed for entry in (self.arrows[stem], *self.indices.get(stem, ())))

    def problems(self) -> list[ListingProblem]:
        """What cannot be read whole, by path."""
        found = [*self._of_arrows(), *self._of_indices()]
        found += [_leftover(entry) for entry in self.leftovers]
        return sorted(found, key=lambda problem: problem.path)

    def _of_arrows(self) -> Iterator[ListingProblem]:
        indexed = any(stem in self.indices for stem in self.arrows)
        for stem, entry in self.arrows.items():
            if entry.broken_link:
                yield _broken_link(entry)
            elif not entry.size:
                yield _empty_arrow(entry)
            elif entry.packed:
                yield _packed(entry)
            elif indexed and stem not in self.indices:
                yield _index_missing(entry, stem)

    def _of_indices(self) -> Iterator[ListingProblem]:
        for stem, entries in self.indices.items():
            for entry in entries:
                if entry.broken_link:
                    yield _broken_link(entry)
                elif stem not in self.arrows:
                    yield _index_alone(entry, stem)
                elif not entry.size:
                    yield _empty_index(entry)
                elif entry.packed:
                    yield _packed(entry)


def _indexed_stem(path: str) -> str | None:
    """Stem of an index such as `s0/0_0_0-offsets.csv`; None for any other name."""
    for ending in _INDEX_ENDINGS:
        stem = path.removesuffix(ending)
        if stem != path:
            return stem if _CELL.fullmatch(stem.rpartition("/")[2]) else None
    return None


def _may_be_rows(name: str) -> bool:
    """Whether a name is made from that of an Arrow file or index, as programs that copy do."""
    if name.startswith("._"):  # AppleDouble, which macOS adds to files on foreign disks
        return False
    if name.endswith((*_SIDE_FILES, *_CHECKSUMS)):
        return False
    return bool(_CELL.search(name) and _KIND_OF_FILE.search(name))


def _by_path(entries: Iterable[ObjectInfo]) -> tuple[ObjectInfo, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.path))


def _index_alone(entry: ObjectInfo, stem: str) -> ListingProblem:
    return ListingProblem(
        ProblemKind.INDEX_ALONE,
        entry.path,
        f"{entry.path}: an index without its Arrow file: copy {stem}{_ARROW} from the export, "
        "or export it again",
    )


def _index_missing(entry: ObjectInfo, stem: str) -> ListingProblem:
    return ListingProblem(
        ProblemKind.INDEX_MISSING,
        entry.path,
        f"{entry.path}: has no index, and other files of its scale have one: copy {stem}.csv "
        "from the export, or write one with `producer offsets`",
    )


def _empty_arrow(entry: ObjectInfo) -> ListingProblem:
    return ListingProblem(
        ProblemKind.EMPTY_ARROW,
        entry.path,
        f"{entry.path}: an Arrow file of 0 bytes: wait until export and copy have ended, "
        "or copy it again",
    )


def _empty_index(entry: ObjectInfo) -> ListingProblem:
    return ListingProblem(
        ProblemKind.EMPTY_INDEX,
        entry.path,
        f"{entry.path}: an index of 0 bytes: wait until export and copy have ended, "
        "or copy it again",
    )


def _broken_link(entry: ObjectInfo) -> ListingProblem:
    return ListingProblem(
        ProblemKind.BROKEN_LINK,
        entry.path,
        f"{entry.path}: a link whose target is missing: mount or restore the target",
    )


def _packed(entry: ObjectInfo) -> ListingProblem:
    return ListingProblem(
        ProblemKind.PACKED, entry.path, f"{entry.path}: {entry.packed}: {UPLOAD_AGAIN}"
    )


def _leftover(entry: ObjectInfo) -> ListingProblem:
    return ListingProblem(
        ProblemKind.LEFTOVER,
        entry.path,
        f"{entry.path}: left by a copy that still runs or was cut, or renamed: finish the copy, "
        "restore the name, or move the file out of the export",
    )


def _times(size: Vec3) -> str:
    return " x ".join(map(str, size))
