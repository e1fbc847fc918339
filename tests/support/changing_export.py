"""An export whose files come, go, change and break, and the voxels that it stands for."""

import os
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from braid.precomputed.volume_spec import VolumeSpec
from producer.synthetic_export import write_export
from tests.support.specs import made_info
from tests.support.votes_reference import Voxels, numpy_votes
from tests.support.voxel_exports import ArrayField, blobs

SIZE = (374, 100, 24)  # 6 x 2 x 1 chunks; clipped on every axis
INFO = made_info(SIZE, [(2, 2, 2)] * 2, bits=[(1, 0)])  # shards of two chunks
EDGE = 128  # voxels of a file, which feeds two shards
NAMES = tuple(f"{x}_0_0" for x in range(0, SIZE[0], EDGE))
SEEDS = (1, 2, 3)
ZEROS = len(SEEDS)  # the version whose blocks are all zeros
VERSIONS = tuple(range(len(SEEDS) + 1))


def field_of(version: int) -> ArrayField:
    """The voxels of one version of the export."""
    if version == ZEROS:
        return ArrayField(np.zeros(SIZE[::-1], np.uint64), {}, beyond=0)
    return blobs(SIZE, SEEDS[version], grain=11)


@cache
def labels_of(version: int) -> Voxels:
    """The labels of one version, (z, y, x)."""
    return field_of(version).labels


@cache
def voxels_of(present: tuple[tuple[str, int], ...], scale: int) -> Voxels:
    """A scale of an export with these versions of files: the plain votes on its voxels."""
    if scale:
        return numpy_votes(voxels_of(present, scale - 1), (2, 2, 2), nonzero=False)
    found = np.zeros(SIZE[::-1], np.uint64)
    for name, version in present:
        x = int(name.split("_")[0])
        found[:, :, x : x + EDGE] = labels_of(version)[:, :, x : x + EDGE]
    return found


@dataclass(frozen=True)
class ExportVersions:
    """Every version of each file, and its voxels."""

    root: Path

    @classmethod
    def write(cls, root: Path) -> "ExportVersions":
        """Write all versions below a folder."""
        scale = VolumeSpec.parse(INFO).scales[0]
        for version in VERSIONS:
            write_export(root / str(version), scale, field_of(version), keep_empty=True)
        return cls(root)

    def file(self, version: int, name: str) -> Path:
        """A file of a version, such as `0_0_0.csv`."""
        return self.root / str(version) / "s0" / name


@dataclass
class ChangingExport:
    """The export that commands see.

    Attributes:
        present: version of each file that is there.
        broken: files that cannot be read whole, with what people are to be told of.
    """

    root: Path
    versions: ExportVersions
    present: dict[str, int] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    bad_chunks: set[str] = field(default_factory=set)
    _now_ns: int = 10**18

    def put(self, name: str, version: int) -> None:
        """Let a file arrive, or another version of it."""
        self.remove(name)
        for ending in (".arrow", ".csv"):
            shutil.copyfile(self.versions.file(version, name + ending), self.path(name, ending))
            self._touch(name, ending)
        self.present[name] = version

    def remove(self, name: str) -> None:
        """Remove a file with its index, and what is broken about it."""
        for path in (self.root / "s0").glob(f"*{name}*"):
            path.unlink()
        self.present.pop(name, None)
        self.broken.pop(name, None)
        self.bad_chunks.discard(name)

    def lose_index(self, name: str) -> None:
        """Remove the CSV file of an Arrow file."""
        self.path(name, ".csv").unlink()
        self.broken[name] = f"{name}.arrow"

    def lose_arrow(self, name: str) -> None:
        """Remove the Arrow file of a CSV file."""
        self.path(name, ".arrow").unlink()
        self.broken[name] = f"{name}.csv"

    def leave_part(self, name: str) -> None:
        """Leave what a copy under way leaves."""
        self.path(name, ".arrow").rename(self.root / "s0" / f".{name}.arrow.aB3dEf")
        self.broken[name] = f".{name}.arrow.aB3dEf"

    def damage_chunk(self, name: str) -> None:
        """Change a byte of the last block of a file."""
        path = self.path(name, ".arrow")
        data = bytearray(path.read_bytes())
        data[data.rindex(b"\x28\xb5\x2f\xfd") + 9] ^= 1
        path.write_bytes(data)
        self._touch(name, ".arrow")
        self.broken[name] = name
        self.bad_chunks.add(name)

    def cut(self, name: str) -> None:
        """Cut the end of an Arrow file off."""
        path = self.path(name, ".arrow")
        path.write_bytes(path.read_bytes()[:-700])
        self._touch(name, ".arrow")
        self.broken[name] = name

    @property
    def sound(self) -> list[str]:
        """Names of files that are there and whole."""
        return [name for name in self.present if name not in self.broken]

    @property
    def problems(self) -> dict[str, str]:
        """Broken files with what must be told; without any index all files are read whole."""
        indices = {path.name for path in (self.root / "s0").glob("*.csv")}
        if not any(
            f"{path.stem}.csv" in indices for path in (self.root / "s0").glob("[0-9]*.arrow")
        ):
            return {n: t for n, t in self.broken.items() if self._is_broken_without_indices(n)}
        return dict(self.broken)

    def _is_broken_without_indices(self, name: str) -> bool:
        return name in self.bad_chunks or self.broken[name] != f"{name}.arrow"

    def voxels(self, scale: int) -> Voxels:
        """A scale of the source as it is now."""
        return voxels_of(tuple(sorted(self.present.items())), scale)

    def path(self, name: str, ending: str) -> Path:
        """Path of a file."""
        return self.root / "s0" / f"{name}{ending}"

    def _touch(self, name: str, ending: str) -> None:
        """Give a file a time of its own, whatever the clock's granularity."""
        self._now_ns += 10**9
        os.utime(self.path(name, ending), ns=(self._now_ns, self._now_ns))
