"""Specification of a Neuroglancer volume: its `info`, every field checked.

Format: Neuroglancer `src/datasource/precomputed/volume.md` and `sharded.md`. Coordinates and
sizes are (x, y, z); resolutions are nanometres.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import ValidationError

from braid.exceptions import InvalidCoordinateError, SpecError
from braid.precomputed.info_schema import RawInfo, RawScale, RawSharding, field_error, load_info
from braid.typing import Vec3

__all__ = [
    "CodePath",
    "ScaleSpec",
    "ShardingSpec",
    "VolumeSpec",
    "load_info",
]


CALL_KEYS = ("directory", "num_scales", "batch_size")
"""Keys of a spec that are DVID's export call's, not the volume's."""

_MOST_NAME_BYTES = 255  # of one name, on all common file systems
_MOST_KEY_BYTES = 700  # leaves the rest of a bucket's 1,024 to the destination
_DEFAULT_BLOCK: Vec3 = (8, 8, 8)
# 512**3 voxels: 1 GiB as uint64. Viewers do not show such chunks, and no tier would hold them.
_MAX_CHUNK_VOXELS = 2**27
_ID_BITS = 64
_MAX_GRID = 2**31  # DVID's chunk coordinates are int32
_ENCODINGS = ("compressed_segmentation", "raw")
_CODE_PATHS = "compressed_segmentation takes the fast path for uint64, raw goes through TensorStore"


class CodePath(StrEnum):
    """Code that makes a scale's chunks; all paths give the same voxels."""

    # Values are in receipts and in what commands print, so they stay.
    PALETTE = "palette"  # labels of DVID blocks are replaced and their values repacked
    VOXELS = "voxel"  # blocks are decoded, chunks cut and encoded
    TENSORSTORE = "tensorstore"  # likewise, but TensorStore encodes


@dataclass(frozen=True)
class ShardingSpec:
    """Cut of chunk ids into shards and minishards (identity hash)."""

    preshift_bits: int
    minishard_bits: int
    shard_bits: int
    data_encoding: Literal["raw", "gzip"] = "raw"
    minishard_index_encoding: Literal["raw", "gzip"] = "raw"

    def to_info(self) -> dict[str, Any]:
        """Render the `sharding` object of an `info`, complete."""
        return {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": self.preshift_bits,
            "minishard_bits": self.minishard_bits,
            "shard_bits": self.shard_bits,
            "data_encoding": self.data_encoding,
            "minishard_index_encoding": self.minishard_index_encoding,
        }


@dataclass(frozen=True)
class ScaleSpec:
    """One scale of a volume.

    Attributes:
        block_size: None where the encoding has no blocks.
        extra: foreign keys of its entry in `info`.
        unserved: why shards of this scale cannot be made, with its place; None if they can. The
            `sharding` of such a scale means nothing.
        as_given: entry in `info` of an unserved scale.
        defaulted: fields of `sharding` that the spec leaves to their defaults.
    """

    index: int
    key: str
    size: Vec3
    resolution: tuple[float, float, float]
    chunk_size: Vec3
    block_size: Vec3 | None
    encoding: str
    sharding: ShardingSpec
    data_type: Literal["uint64", "uint32"]
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)
    unserved: str | None = field(default=None, compare=False)
    as_given: Mapping[str, Any] | None = None
    defaulted: frozenset[str] = field(default=frozenset(), compare=False)

    def check_served(self) -> None:
        """Raise SpecError if shards of this scale cannot be made."""
        if self.unserved is not None:
            raise SpecError(self.unserved)

    @cached_property
    def grid(self) -> Vec3:
        """Chunks per axis."""
        return _per_axis(lambda size, chunk: -(-size // chunk), self.size, self.chunk_size)

    @cached_property
    def id_bits(self) -> int:
        """Bits of the largest chunk id (compressed Morton code)."""
        return sum((n - 1).bit_length() for n in self.grid)

    def code_path(self, z_step: int = 1) -> CodePath:
        """Code that makes this scale's chunks, where every `z_step`-th source slice is kept.

        Raises:
            SpecError: the scale is not served.
        """
        self.check_served()
        if self.encoding == "raw" or self.data_type == "uint32":
            return CodePath.TENSORSTORE
        blocks_are_chunks = self.chunk_size == (64, 64, 64) and z_step == 1
        palette = blocks_are_chunks and self.block_size == _DEFAULT_BLOCK
        return CodePath.PALETTE if palette else CodePath.VOXELS

    def chunk_box(self, chunk: Vec3) -> tuple[Vec3, Vec3]:
        """Box of a chunk in voxels, clipped to the volume.

        Raises:
            InvalidCoordinateError: the chunk is not on the grid.
        """
        if not all(0 <= c < n for c, n in zip(chunk, self.grid, strict=True)):
            raise InvalidCoordinateError(
                f"scale {self.key}: chunk {chunk} is outside the grid {self.grid}"
            )
        begin = _per_axis(lambda c, edge: c * edge, chunk, self.chunk_size)
        end = _per_axis(lambda b, edge: b + edge, begin, self.chunk_size)
        return begin, _per_axis(min, end, self.size)

    def to_info(self) -> dict[str, Any]:
        """Render the entry of `scales`, with every key that readers need."""
        if self.as_given is not None:
            return dict(self.as_given)
        block = (
            {"compressed_segmentation_block_size": list(self.block_size)} if self.block_size else {}
        )
        return {
            "key": self.key,
            "size": list(self.size),
            "resolution": [int(r) if r == int(r) else r for r in self.resolution],
            "voxel_offset": [0, 0, 0],
            "chunk_sizes": [list(self.chunk_size)],
            "encoding": self.encoding,
            **(block or {}),
            "sharding": self.sharding.to_info(),
            **self.extra,
        }


@dataclass(frozen=True)
class VolumeSpec:
    """Checked volume: the fields of `info`, and foreign keys that pass through (`extra`)."""

    data_type: Literal["uint64", "uint32"]
    scales: tuple[ScaleSpec, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, data: str | bytes | Mapping[str, Any], where: str = "spec") -> Self:
        """Check a spec or an `info`; `where` names it in errors.

        Scales that are valid but cannot be made, such as unsharded ones, are kept as they are given
        and are refused when they are asked for: see `ScaleSpec.check_served`.

        Raises:
            SpecError: one line that names the scale and the field; or no scale can be made.
        """
        document = load_info(data, where)
        try:
            raw = RawInfo.model_validate({k: v for k, v in document.items() if k not in CALL_KEYS})
        except ValidationError as error:
            raise field_error(error, document, where) from None
        entries = document["scales"]
        scales = tuple(_scale(i, s, raw, entries[i], where) for i, s in enumerate(raw.scales))
        _check_keys_differ(scales, where)
        if all(scale.unserved for scale in scales):
            scales[0].check_served()
        return cls(data_type=raw.data_type, scales=scales, extra=dict(raw.model_extra or {}))

    def to_info(self) -> dict[str, Any]:
        """Render the complete `info`, ready for `json.dumps`."""
        return {
            "@type": "neuroglancer_multiscale_volume",
            "type": "segmentation",
            "data_type": self.data_type,
            "num_channels": 1,
            "scales": [scale.to_info() for scale in self.scales],
            **self.extra,
        }


def _scale(
    index: int, raw: RawScale, info: RawInfo, entry: Mapping[str, Any], where: str
) -> ScaleSpec:
    _check_key(raw.key, f"{where}: scale {index}")
    at = f"{where}: scale {index} ({raw.key})"
    reason = _why_unserved(raw)
    scale = ScaleSpec(
        index=index,
        key=raw.key,
        size=raw.size,
        resolution=raw.resolution,
        chunk_size=raw.chunk_sizes[0],
        block_size=_block_size(raw),
        encoding=raw.encoding,
        sharding=ShardingSpec(0, 0, 0) if reason else _sharding(raw.sharding),
        data_type=info.data_type,
        extra=dict(raw.model_extra or {}),
        unserved=f"{at}: {reason}" if reason else None,
        as_given=dict(entry) if reason else None,
        defaulted=_defaulted(raw.sharding),
    )
    if not reason:
        _check_ids(scale, at)
    return scale


def _why_unserved(raw: RawScale) -> str | None:
    """Why shards of a scale that readers accept cannot be made; None if they can."""
    chunk = raw.chunk_sizes[0]
    if raw.voxel_offset != (0, 0, 0):
        return (
            f"voxel_offset {list(raw.voxel_offset)} is not supported: DVID's chunks count "
            "from 0, so only [0, 0, 0] keeps source and output chunks aligned"
        )
    if len(raw.chunk_sizes) != 1:
        return f"chunk_sizes has {len(raw.chunk_sizes)} entries; sharded scales have one"
    if math.prod(chunk) > _MAX_CHUNK_VOXELS:
        return f"chunk_sizes {list(chunk)} is more than {_MAX_CHUNK_VOXELS} voxels"
    if raw.encoding not in _ENCODINGS:
        return f"encoding {raw.encoding!r} is not supported; {_CODE_PATHS}"
    return _why_sharding_unserved(raw.sharding)


def _why_sharding_unserved(raw: RawSharding | None) -> str | None:
    if raw is None:
        return (
            "sharding is missing; unsharded scales are refused, because one file per chunk "
            "is millions of objects. `python -m producer spec` designs a sharded spec"
        )
    if raw.hash != "identity":
        return (
            f"sharding.hash {raw.hash!r} is not supported: only with 'identity' is a "
            "shard a box of chunks"
        )
    return None


def _check_key(key: str, at: str) -> None:
    # The key becomes a folder under the destination; nothing may lead out of it.
    parts = key.split("/")
    plain = all(p not in ("", ".", "..") and not p.startswith(".tmp-") for p in parts)
    if not plain or not key.isprintable() or "\\" in key or ":" in key or key == "info":
        raise SpecError(f"{at}: key {key!r} cannot be a folder of the volume")
    longest = max(len(part.encode()) for part in parts)
    if longest > _MOST_NAME_BYTES or len(key.encode()) > _MOST_KEY_BYTES:
        raise SpecError(
            f"{at}: key {key[:20]!r}... cannot be a folder of the volume: "
            f"{max(longest, len(key.encode()))} bytes, more than storage takes"
        )


def _block_size(raw: RawScale) -> Vec3 | None:
    if raw.encoding != "compressed_segmentation":
        return None
    return raw.compressed_segmentation_block_size or _DEFAULT_BLOCK


def _sharding(raw: RawSharding | None) -> ShardingSpec:
    if raw is None:
        raise ValueError("an unsharded scale is not served")
    return ShardingSpec(
        preshift_bits=raw.preshift_bits,
        minishard_bits=raw.minishard_bits,
        shard_bits=raw.shard_bits,
        data_encoding=raw.data_encoding,
        minishard_index_encoding=raw.minishard_index_encoding,
    )


def _defaulted(raw: RawSharding | None) -> frozenset[str]:
    return frozenset(RawSharding.model_fields) - raw.model_fields_set if raw else frozenset()


def _check_ids(scale: ScaleSpec, at: str) -> None:
    sharding = scale.sharding
    bits = sharding.preshift_bits + sharding.minishard_bits + sharding.shard_bits
    if max(scale.grid) > _MAX_GRID:
        raise SpecError(f"{at}: size gives the grid {scale.grid}; chunk coordinates are int32")
    if bits > _ID_BITS:
        raise SpecError(f"{at}: sharding bits add up to {bits}; chunk ids have {_ID_BITS}")
    if scale.id_bits > bits:
        raise SpecError(
            f"{at}: sharding: chunk ids need {scale.id_bits} bits (grid {scale.grid}) but "
            f"preshift_bits + minishard_bits + shard_bits is {bits}; "
            f"shard_bits {sharding.shard_bits + scale.id_bits - bits} would do"
        )


def _check_keys_differ(scales: tuple[ScaleSpec, ...], where: str) -> None:
    first: dict[str, int] = {}
    for scale in scales:
        if scale.key in first:
            raise SpecError(
                f"{where}: scale {scale.index}: key {scale.key!r} is already scale "
                f"{first[scale.key]}'s"
            )
        first[scale.key] = scale.index


def _per_axis(rule: Any, a: Vec3, b: Vec3) -> Vec3:  # noqa: ANN401 (int, int → int)
    return rule(a[0], b[0]), rule(a[1], b[1]), rule(a[2], b[2])
