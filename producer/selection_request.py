"""Parsing of a selection: the options that name some of the shards."""

import re
from typing import Final

from braid.typing import Box
from delivery.ledger.selection import Selection
from delivery.messages import parse_key
from runtime.errors import UsageError

_SIDE: Final = re.compile(r"\s*(\d{1,18}):(\d{1,18})\s*")
_AXES: Final = "xyz"


def parse_selection(bbox: str | None, shards: str | None, limit: int | None) -> Selection | None:
    """The selection of these options; None where none is given: the whole.

    Raises:
        UsageError: one cannot be read, or two contradict each other.
    """
    if bbox is None and shards is None and limit is None:
        return None
    if shards is None:
        return Selection(box=None if bbox is None else parse_box(bbox), limit=limit)
    if bbox is not None or limit is not None:
        other = "--bbox" if bbox is not None else "--limit"
        raise UsageError(
            f"--shards and {other} contradict each other: keys say which shards are made",
            hint="pass one of them",
        )
    return Selection(shards=parse_keys(shards))


def parse_box(text: str) -> Box:
    """Parse `x0:x1,y0:y1,z0:z1`: voxels of scale 0, without the last ones.

    Raises:
        UsageError: the text has another form, or the box is empty.
    """
    sides = [_SIDE.fullmatch(part) for part in text.split(",")]
    found = [(int(side[1]), int(side[2])) for side in sides if side is not None]
    if not len(found) == len(sides) == len(_AXES):
        raise UsageError(
            f"--bbox {text!r} is not a box",
            hint="write x0:x1,y0:y1,z0:z1 in voxels of scale 0, such as 0:4096,0:4096,2048:4096",
        )
    for axis, (begin, end) in zip(_AXES, found, strict=True):
        if begin >= end:
            raise UsageError(
                f"--bbox {text!r} is empty: {axis} begins at {begin} and ends before {end}",
                hint="the first number of each pair is the smaller one",
            )
    (x0, x1), (y0, y1), (z0, z1) = found
    return (x0, y0, z0), (x1, y1, z1)


def parse_keys(text: str) -> tuple[str, ...]:
    """Parse keys such as `s0/0a,s0/0b`; each once.

    Raises:
        UsageError: there is none, or one is not a key.
    """
    keys = tuple(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))
    if not keys:
        raise UsageError("--shards names no shard", hint="a key looks like s0/0fe9")
    for key in keys:
        parse_key(key)
    return keys
