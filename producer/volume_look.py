"""Look at a volume before it is shown: which scales exist, and where a viewer begins."""

from collections.abc import Sequence
from dataclasses import dataclass

from braid.precomputed.volume_spec import VolumeSpec
from braid.typing import Vec3
from producer.existing_scales import describe_scales, existing_scales
from producer.info import INFO, encoding_notes, read_volume
from producer.viewer_position import ViewerPosition, choose_position, position_at
from runtime.storage import Storage


@dataclass(frozen=True)
class VolumeLook:
    """What a look at a volume found.

    Attributes:
        volume: its description.
        start: initial position of a viewer.
        scales: indices of those that hold anything.
        notes: what other viewers would not read.
    """

    volume: VolumeSpec
    start: ViewerPosition
    scales: tuple[int, ...]
    notes: Sequence[str]

    @property
    def summary(self) -> str:
        """Which scales exist and what is shown first, one line."""
        there = describe_scales(self.scales, len(self.volume.scales))
        return f"{there}; showing {self.start.where}"


def look_at_volume(dest: Storage, voxel: Vec3 | None) -> VolumeLook:
    """Read what a viewer needs to begin.

    Args:
        dest: the volume.
        voxel: of scale 0, to begin at; None: at a voxel of a common segment.

    Raises:
        NoVolumeError: there is no `info`.
        OutsideError: the voxel lies outside.
        SpecError: `info` is not supported.
    """
    volume = read_volume(dest)
    start = choose_position(dest, volume) if voxel is None else position_at(dest, volume, voxel)
    notes = [f"{INFO}: {note}" for note in encoding_notes(dest.read(INFO))]
    return VolumeLook(volume, start, existing_scales(dest, volume), notes)
