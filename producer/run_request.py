"""What `enqueue` is asked for, and the fingerprint of the bytes that will come of it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from braid.precomputed.sharding import factors
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.transcode.block_assignment import check_z_step
from runtime.errors import UsageError

Rule = Literal["mode", "nonzero-mode"]
LabelType = Literal["labels", "supervoxels"]

# What a scale's bytes depend on, by how it is made.
_OF_CONVERTED = ("source", "label_type", "gzip_level", "version")
_OF_DOWNSAMPLED = ("rule", "gzip_level", "version")


@dataclass(frozen=True)
class Request:
    """Everything that decides what a run makes.

    Attributes:
        volume: the destination.
        source: absolute URL of the export; None when nothing is converted.
        dest: absolute URL.
        scales: converted from the export.
        downres: made from the scale before each.
        overwrite: make shards that exist already, too.
    """

    volume: VolumeSpec
    source: str | None
    dest: str
    scales: tuple[int, ...] = ()
    downres: tuple[int, ...] = ()
    rule: Rule = "mode"
    label_type: LabelType = "labels"
    z_compress: int = 0
    gzip_level: int = 6
    overwrite: bool = False

    @property
    def made(self) -> tuple[int, ...]:
        """All scales to be made, ascending."""
        return tuple(sorted({*self.scales, *self.downres}))

    @property
    def concerned(self) -> tuple[int, ...]:
        """The made ones and those they are made from, ascending."""
        return tuple(sorted({*self.made, *(scale - 1 for scale in self.downres)}))

    @property
    def remote(self) -> bool:
        """Whether source files come over the network."""
        return (self.source or "").startswith("gs://")

    def slices(self, scale: int) -> int:
        """Slices of the source behind each one kept at a converted scale."""
        return self.z_compress + 1 if scale == 0 else 1

    def facts(self) -> dict[str, Any]:
        """What the bytes depend on, by name."""
        return {
            "source": self.source,
            "spec": _voxel_facts(self.volume),
            "label_type": self.label_type,
            "z_compress": self.z_compress,
            "rule": self.rule,
            "gzip_level": self.gzip_level,
            "version": version("shardlift"),
        }

    @property
    def fingerprint(self) -> str:
        """Equal for requests that make the same bytes."""
        text = json.dumps(self.facts(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check(self) -> None:
        """Refuse what cannot be made.

        Raises:
            UsageError: scales that do not exist, or are asked for in two ways.
            SpecError: scales that do not follow from each other.
        """
        if not self.made:
            raise UsageError("nothing to make", hint="name scales with --scales or --downres")
        for scale in self.made:
            self._check_scale(scale)
        if twice := sorted(set(self.scales) & set(self.downres)):
            raise UsageError(
                f"scale {twice[0]} is in --scales and in --downres: it is made one way or the other"
            )
        check_z_step(self.z_compress + 1)
        if self.z_compress and 0 not in self.scales:
            raise UsageError("--z-compress applies to scale 0, which is not in --scales")

    def _check_scale(self, scale: int) -> None:
        count = len(self.volume.scales)
        if scale >= count:
            raise UsageError(
                f"there is no scale {scale}: the spec has {count}, 0 to {count - 1}",
                hint="`python -m producer spec` designs a spec with more",
            )
        if scale in self.downres:
            if scale == 0:
                raise UsageError("scale 0 cannot be downsampled: there is none before it")
            factors(self.volume.scales[scale - 1], self.volume.scales[scale])


def facts_that_matter(scale: int, *, downsampled: bool) -> Iterable[str]:
    """Names of the facts on which one scale's own bytes depend, beside the spec."""
    if downsampled:
        return _OF_DOWNSAMPLED
    return (*_OF_CONVERTED, "z_compress") if scale == 0 else _OF_CONVERTED


def _voxel_facts(volume: VolumeSpec) -> dict[str, Any]:
    """The spec without keys that are foreign to us: they change no voxel."""
    scales = [_scale_facts(scale) for scale in volume.scales]
    return {"data_type": volume.data_type, "scales": scales}


def _scale_facts(scale: ScaleSpec) -> dict[str, Any]:
    info = scale.to_info()
    return {name: value for name, value in info.items() if name not in scale.extra}
