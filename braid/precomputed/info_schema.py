"""Schema of a Neuroglancer `info`: strict JSON, single fields checked by pydantic, one-line faults.

What fields mean together is in `volume_spec`.
"""

import codecs
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from braid.exceptions import SpecError, one_line

__all__ = [
    "RawInfo",
    "RawScale",
    "RawSharding",
    "field_error",
    "load_info",
    "unusual_encoding",
]

_JSON_HINT = (
    "JSON has double quotes, no comments, and no comma before a closing bracket; "
    "`python -m json.tool FILE` finds the place"
)
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = "compressed with gzip"
_NOT_UTF_8 = "text in another encoding than UTF-8"
_ENCODING_HINT = "readers take plain UTF-8 only: `gunzip`, or `iconv -t UTF-8`, makes it so"
_FIELD_HINT = "`python -m producer spec --size X,Y,Z` designs a valid spec to compare with"


def _whole(value: object) -> object:
    """Integer of a whole float: JSON has one type of number, and some writers put `260.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WHOLE = BeforeValidator(_whole)
# DVID stores chunk coordinates as int32, and doubles hold every integer below 2**53.
_Size = Annotated[int, Field(strict=True, gt=0, lt=2**53), _WHOLE]
_Offset = Annotated[int, Field(strict=True), _WHOLE]
_Spacing = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_Edge = Annotated[int, Field(strict=True, gt=0, le=2**20), _WHOLE]
# 2**24 minishards would need a shard index of 256 MiB.
_MinishardBits = Annotated[int, Field(strict=True, ge=0, le=24), _WHOLE]
_Bits = Annotated[int, Field(strict=True, ge=0, le=64), _WHOLE]
_DataEncoding = Literal["raw", "gzip"]


class _Raw(BaseModel):
    """Base of models that keep unknown keys: they belong to other programs and pass through."""

    model_config = ConfigDict(extra="allow", frozen=True)


class RawSharding(BaseModel):
    """`sharding` of one scale; unknown keys are refused, as readers do."""

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
    """Schema of the whole document."""

    type_at: Literal["neuroglancer_multiscale_volume"] = Field(
        default="neuroglancer_multiscale_volume", alias="@type"
    )
    type: Literal["segmentation"] = "segmentation"
    data_type: Literal["uint64", "uint32"]
    num_channels: Annotated[int, Field(strict=True, ge=1, le=1), _WHOLE] = 1
    scales: tuple[RawScale, ...] = Field(min_length=1)


def load_info(data: str | bytes | Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read JSON strictly: an object, no key twice, no NaN.

    Raises:
        SpecError: it is not such JSON.
    """
    if isinstance(data, Mapping):
        return dict(data)
    encoding = unusual_encoding(data) if isinstance(data, bytes) else None
    if encoding in {_GZIP, _NOT_UTF_8}:
        raise _hinted(f"{where}: not JSON, but {encoding}", _ENCODING_HINT)
    try:
        document = json.loads(data, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _hinted(f"{where}: not valid JSON ({one_line(error)})", _JSON_HINT) from None
    if not isinstance(document, dict):
        raise _hinted(f"{where}: expected a JSON object with `scales`", _FIELD_HINT)
    return document


def unusual_encoding(data: bytes) -> str | None:
    """How JSON is stored, where it is not plain UTF-8, which alone all viewers read."""
    if data.startswith(_GZIP_MAGIC):
        return _GZIP
    if data.startswith(codecs.BOM_UTF8):
        return "text that begins with a byte order mark"
    encoding = json.detect_encoding(data)
    if encoding != "utf-8":
        return f"text in {encoding.upper()}"
    try:
        data.decode()
    except UnicodeDecodeError:
        return _NOT_UTF_8
    return None


def field_error(error: ValidationError, document: Mapping[str, Any], where: str) -> SpecError:
    """First error of pydantic in one line that names the scale, the field and what is wrong."""
    return _hinted(f"{where}: {_first_fault(error, document)}", _FIELD_HINT)


def _hinted(text: str, hint: str) -> SpecError:
    error = SpecError(text)
    error.hint = hint
    return error


def _first_fault(error: ValidationError, document: Mapping[str, Any]) -> str:
    fault = error.errors(include_url=False)[0]
    place = _place(fault["loc"], document)
    if fault["type"] == "missing":
        return f"{place} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{place} is not a field of sharding; readers refuse it"
    return f"{place}: {fault['msg']}, found {_short(fault['input'])}"


def _place(loc: tuple[int | str, ...], document: Mapping[str, Any]) -> str:
    if len(loc) >= 2 and loc[0] == "scales" and isinstance(loc[1], int):  # noqa: PLR2004 (scales, i)
        rest = ".".join(str(part) for part in loc[2:]) or "entry"
        return f"scale {loc[1]}{_key_of(loc[1], document)}: {rest}"
    return ".".join(str(part) for part in loc)


def _key_of(index: int, document: Mapping[str, Any]) -> str:
    scale = document["scales"][index]
    key = scale.get("key") if isinstance(scale, dict) else None
    return f" ({key})" if isinstance(key, str) and key.isprintable() else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 (fits one line)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} appears twice")
        found[key] = value
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
