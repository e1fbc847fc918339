"""Request of a run and the fingerprint of its output."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from braid.downsample.downsampler import Rule
from braid.precomputed.sharding import factors
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.reader import LabelType
from braid.transcode.block_assignment import check_z_step
from delivery.ledger.output_revision import OUTPUT_REVISION
from delivery.ledger.run import RunInfo
from delivery.ledger.selection import Selection
from runtime.errors import UsageError
from runtime.urls import is_remote

BadChunks = Literal["fail", "skip"]

# Version 0.1.0 hashed its own version number instead; it made the bytes of revision 1.
_VERSION_OF_REVISION_1: Final = "0.1.0"

# Facts on which a scale's bytes depend, by the way the scale is made.
_OF_CONVERTED: Final = ("source", "label_type", "gzip_level", "output_revision")
_OF_DOWNSAMPLED: Final = ("rule", "gzip_level", "output_revision")


@dataclass(frozen=True)
class Request:
    """Settings that decide what a run makes.

    Attributes:
        volume: the destination.
        source: absolute URL of the export; None when nothing is converted.
        dest: absolute URL.
        scales: to convert from the export.
        downres: to make from the scale before each.
        overwrite: also make shards that exist already.
        bad_chunks: what to do with a chunk that does not decode; not part of the fingerprint, for
            the bytes of what does decode are the same.
        selection: of the shards; None: all. Not part of the fingerprint, either.
    """

    volume: VolumeSpec
    source: str | None
    dest: str
    scales: tuple[int, ...] = ()
    downres: tuple[int, ...] = ()
    rule: Rule = Rule.MODE
    label_type: LabelType = LabelType.LABELS
    z_compress: int = 0
    gzip_level: int = 6
    overwrite: bool = False
    bad_chunks: BadChunks = "fail"
    selection: Selection | None = None

    @property
    def made(self) -> tuple[int, ...]:
        """All scales to be made, ascending."""
        return tuple(sorted({*self.scales, *self.downres}))

    @property
    def concerned(self) -> tuple[int, ...]:
        """The scales to be made and those they are made from, ascending."""
        return tuple(sorted({*self.made, *(scale - 1 for scale in self.downres)}))

    @property
    def remote(self) -> bool:
        """Whether source files come over the network."""
        return is_remote(self.source or "")

    def slices(self, scale: int) -> int:
        """Slices of the source per slice of a converted scale."""
        return self.z_compress + 1 if scale == 0 else 1

    def facts(self) -> dict[str, Any]:
        """Facts on which the bytes depend, by name."""
        return {
            "source": self.source,
            "spec": _voxel_facts(self.volume),
            "label_type": self.label_type,
            "z_compress": self.z_compress,
            "rule": self.rule,
            "gzip_level": self.gzip_level,
            "output_revision": OUTPUT_REVISION,
        }

    @property
    def fingerprint(self) -> str:
        """Hash of the facts; equal for requests that make the same bytes."""
        return _fingerprint(self.facts())

    def makes_same_bytes(self, fingerprint: str) -> bool:
        """Whether a run with this fingerprint makes the same bytes as this request."""
        return fingerprint in {self.fingerprint, self._fingerprint_of_version()}

    def _fingerprint_of_version(self) -> str | None:
        """The fingerprint that version 0.1.0 gave this request; None if bytes changed since."""
        facts = self.facts()
        if facts.pop("output_revision") != 1:
            return None
        return _fingerprint({**facts, "version": _VERSION_OF_REVISION_1})

    def check(self) -> None:
        """Raise an error for a request that cannot be served.

        Raises:
            UsageError: a scale does not exist, or is to be made in two ways.
            SpecError: a scale cannot be made from the one before.
        """
        if not self.made:
            raise UsageError("nothing to make", hint="name scales with --scales or --downres")
        for scale in self.made:
            self._check_scale(scale)
        for scale in self.concerned:
            self.volume.scales[scale].check_served()
        if twice := sorted(set(self.scales) & set(self.downres)):
            raise UsageError(
                f"scale {twice[0]} is in --scales and in --downres: it is made one way or the other"
            )
        self._check_places()
        check_z_step(self.z_compress + 1)
        if self.z_compress and 0 not in self.scales:
            raise UsageError("--z-compress applies to scale 0, which is not in --scales")

    def _check_places(self) -> None:
        """Raise UsageError for a volume whose files would lie among the export's."""
        if self.source is None:
            return
        folders = (self.source, *(f"{self.source}/s{scale}" for scale in self.scales))
        if self.dest in folders:
            raise UsageError(
                f"--dest {self.dest} is the export itself (--source {self.source})",
                hint="name another folder with --dest: the volume is made from the export",
            )

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


def output_revision(info: RunInfo) -> int:
    """Revision of the bytes that a run makes; runs of version 0.1.0 do not name theirs."""
    return info.output_revision


def facts_that_matter(scale: int, *, downsampled: bool) -> Iterable[str]:
    """Names of the facts, apart from the spec, on which the bytes of one scale depend."""
    if downsampled:
        return _OF_DOWNSAMPLED
    return (*_OF_CONVERTED, "z_compress") if scale == 0 else _OF_CONVERTED


def _voxel_facts(volume: VolumeSpec) -> dict[str, Any]:
    """The spec without foreign keys, which change no voxel."""
    scales = [_scale_facts(scale) for scale in volume.scales]
    return {"data_type": volume.data_type, "scales": scales}


def _fingerprint(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _scale_facts(scale: ScaleSpec) -> dict[str, Any]:
    info = scale.to_info()
    return {name: value for name, value in info.items() if name not in scale.extra}
