"""Which scales of a volume hold anything: by number, in words, as an `info` without others."""

import json
from collections.abc import Sequence
from itertools import groupby

from braid.exceptions import SpecError
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from producer.info import plain_info
from producer.planner import has_shards
from runtime.storage import Storage


def existing_scales(dest: Storage, volume: VolumeSpec) -> tuple[int, ...]:
    """Indices of the scales that hold anything."""
    return tuple(scale.index for scale in volume.scales if _exists(dest, scale))


def describe_scales(found: Sequence[int], total: int) -> str:
    """Describe which scales hold anything: `scales 1-3 of 10 exist`.

    Args:
        found: their indices, ascending.
        total: number of scales of the volume.
    """
    if not found:
        return f"no scale of {total} exists"
    runs = [
        [index for _, index in run]
        for _, run in groupby(enumerate(found), lambda place: place[1] - place[0])
    ]
    named = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    if len(found) == 1:
        return f"scale {named} of {total} exists"
    return f"scales {named} of {total} exist"


def existing_scales_info(dest: Storage, data: bytes) -> bytes:
    """Leave out of an `info` the scales without shards, which the viewer would draw as nothing.

    An `info` without any such scale, or with nothing else, stays as it is, in plain UTF-8.

    Args:
        dest: the volume.
        data: its `info`.
    """
    try:
        volume = VolumeSpec.parse(data)
    except SpecError:
        return data
    kept = {scale.key for scale in volume.scales if _exists(dest, scale)}
    if not kept or len(kept) == len(volume.scales):
        return plain_info(data)
    info = json.loads(data)
    info["scales"] = [scale for scale in info["scales"] if scale["key"] in kept]
    return json.dumps(info).encode()


def _exists(dest: Storage, scale: ScaleSpec) -> bool:
    """Whether there is anything of a scale; other programs made those that are not served."""
    if scale.unserved:
        return any(True for _ in dest.list(f"{scale.key}/"))
    return has_shards(dest, scale)
