"""Existing `info` of a destination: compared and merged with a spec.

Keys that other programs added pass through.
"""

from collections.abc import Mapping
from typing import Any

from braid.exceptions import SpecError
from braid.precomputed.info_schema import RawInfo, RawScale
from braid.precomputed.volume_spec import CALL_KEYS, ScaleSpec, VolumeSpec


def compare_info(existing: str | bytes | Mapping[str, Any], spec: VolumeSpec) -> list[str]:
    """Differences in what voxels depend on, one line each; empty when outputs agree."""
    try:
        other = VolumeSpec.parse(existing, "info")
    except SpecError as error:
        return [str(error)]
    found = _differences("data_type", other.data_type, spec.data_type)
    found += _differences("number of scales", len(other.scales), len(spec.scales))
    for theirs, ours in zip(other.scales, spec.scales, strict=False):
        found += _compare_scales(theirs, ours)
    return found


def merge_info(existing: Mapping[str, Any], spec: VolumeSpec) -> dict[str, Any]:
    """Merge the spec's `info` with foreign keys that other programs added to an existing one."""
    info = spec.to_info()
    extras = _scale_extras(existing)
    scales = [_with_foreign(extras.get(scale["key"], {}), scale) for scale in info["scales"]]
    return {**_with_foreign(_foreign(existing, RawInfo), info), "scales": scales}


def _with_foreign(foreign: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Own keys, then foreign ones; where both have a key, the foreign value stays."""
    return {**own, **foreign}


def _foreign(document: Mapping[str, Any], model: type[RawInfo | RawScale]) -> dict[str, Any]:
    known = {f.alias or name for name, f in model.model_fields.items()}
    return {k: v for k, v in document.items() if k not in known and k not in CALL_KEYS}


def _scale_extras(existing: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    scales = existing.get("scales")
    if not isinstance(scales, list):
        return {}
    entries = [s for s in scales if isinstance(s, dict) and isinstance(s.get("key"), str)]
    return {s["key"]: _foreign(s, RawScale) for s in entries}


def _compare_scales(theirs: ScaleSpec, ours: ScaleSpec) -> list[str]:
    if theirs.unserved or ours.unserved:
        return _differences(f"scale {ours.index}", theirs.to_info(), ours.to_info())
    names = ("key", "size", "resolution", "chunk_size", "encoding", "block_size", "sharding")
    return [
        line
        for name in names
        for line in _differences(
            f"scale {ours.index} {name}", getattr(theirs, name), getattr(ours, name)
        )
    ]


def _differences(name: str, theirs: object, ours: object) -> list[str]:
    return [] if theirs == ours else [f"{name}: info has {theirs}, the spec {ours}"]
