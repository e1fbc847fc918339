"""The raw fields of a Neuroglancer `info`, checked one by one by pydantic.

Only types and ranges of single fields live here; what fields mean together is in `volume`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RawInfo", "RawScale", "RawSharding"]

# DVID stores chunk coordinates as int32, and doubles hold every integer below 2**53.
_Size = Annotated[int, Field(strict=True, gt=0, lt=2**53)]
_Offset = Annotated[int, Field(strict=True)]
_Spacing = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_Edge = Annotated[int, Field(strict=True, gt=0, le=2**20)]
# 2**24 minishards would need a shard index of 256 MiB.
_MinishardBits = Annotated[int, Field(strict=True, ge=0, le=24)]
_Bits = Annotated[int, Field(strict=True, ge=0, le=64)]
_DataEncoding = Literal["raw", "gzip"]


class _Raw(BaseModel):
    """Unknown keys are kept: they belong to others and pass through."""

    model_config = ConfigDict(extra="allow", frozen=True)


class RawSharding(BaseModel):
    """`sharding` of one scale; readers refuse keys they do not know in here, and so do we."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type_: Literal["neuroglancer_uint64_sharded_v1"] = Field(alias="@type")
    hash: str
    preshift_bits: _Bits
    minishard_bits: _MinishardBits
    shard_bits: _Bits
    data_encoding: _DataEncoding = "raw"
    minishard_index_encoding: _DataEncoding = "raw"


class RawScale(_Raw):
    """One entry of `scales`."""

    key: str
    size: tuple[_Size, _Size, _Size]
    resolution: tuple[_Spacing, _Spacing, _Spacing]
    voxel_offset: tuple[_Offset, _Offset, _Offset] = (0, 0, 0)
    chunk_sizes: tuple[tuple[_Edge, _Edge, _Edge], ...] = Field(min_length=1)
    encoding: str
    compressed_segmentation_block_size: tuple[_Edge, _Edge, _Edge] | None = None
    sharding: RawSharding | None = None


class RawInfo(_Raw):
    """The whole document."""

    type_at: Literal["neuroglancer_multiscale_volume"] = Field(
        default="neuroglancer_multiscale_volume", alias="@type"
    )
    type: Literal["segmentation"] = "segmentation"
    data_type: Literal["uint64", "uint32"]
    num_channels: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    scales: tuple[RawScale, ...] = Field(min_length=1)
