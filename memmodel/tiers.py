"""Memory tiers: each is a queue, named after the memory its workers have; memory sizes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import UsageError

MIB = 1 << 20
GIB = 1 << 30

_UNITS = {"mi": MIB, "gi": GIB}

_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([KMGT])(?:iB|i|B)?", re.IGNORECASE)
_SIZE_UNITS = {"K": 1 << 10, "M": MIB, "G": GIB, "T": GIB << 10}

# Cloud Run couples CPU to memory: (memory up to this many GiB, fewest vCPUs).
_VCPUS = ((4, 1), (8, 2), (16, 4), (24, 6), (32, 8))


@dataclass(frozen=True, slots=True)
class Tier:
    """One queue and the memory limit of the workers that take from it."""

    name: str
    limit_bytes: int

    @property
    def vcpus(self) -> int:
        """Number of vCPUs that Cloud Run gives with this much memory; 8 beyond its largest size."""
        return next((cpus for gib, cpus in _VCPUS if self.limit_bytes <= gib * GIB), 8)


def tier_name(limit_bytes: int) -> str:
    """`2gi` for whole GiB, `512mi` otherwise; the name is also the queue's."""
    if limit_bytes % GIB == 0:
        return f"{limit_bytes // GIB}gi"
    return f"{limit_bytes // MIB}mi"


def parse_size(text: str) -> int:
    """Parse a size with its unit, such as `16GiB` or `512MiB`, into bytes.

    Raises:
        UsageError: the text is not a size, lacks a unit, or is less than a MiB.
    """
    text = text.strip()
    match = _SIZE.fullmatch(text)
    size = float(match[1]) * _SIZE_UNITS[match[2].upper()] if match else 0.0
    if MIB <= size < float("inf"):
        return int(size)
    plain = text.isascii() and text.replace(".", "", 1).isdigit() and float(text) > 0
    hint = f"it lacks a unit: {text}GiB or {text}MiB?" if plain else "such as 16GiB or 512MiB"
    raise UsageError(f"{text!r} is not a memory size", hint=hint)


def parse_tiers(text: str) -> tuple[Tier, ...]:
    """Parse tiers from a list of GiB such as `0.3,2,4`, ascending; cut to whole MiB.

    Raises:
        UsageError: a part is less than a MiB or not a number, or one is named twice.
    """
    limits = sorted(_limit_bytes(part, text) for part in text.split(","))
    if len(set(limits)) != len(limits):
        raise UsageError(f"tiers {text!r} name one size twice")
    return tuple(Tier(tier_name(limit), limit) for limit in limits)


def tier_of(name: str) -> Tier:
    """Tier of a name that a run's ledger uses."""
    number, unit = name[:-2], name[-2:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit():
        raise UsageError(f"{name!r} is not a tier", hint="a tier is named like 512mi or 4gi")
    return Tier(name, int(number) * _UNITS[unit])


def tier_named(name: str, tiers: Sequence[Tier]) -> Tier:
    """Find the tier of this name; UsageError lists those that exist."""
    for tier in tiers:
        if tier.name == name:
            return tier
    known = ", ".join(tier.name for tier in tiers)
    raise UsageError(f"no tier is named {name!r}; the tiers are {known}")


def _limit_bytes(part: str, text: str) -> int:
    try:
        mib = float(part) * (GIB // MIB)
    except ValueError:
        mib = 0.0
    if not 1 <= mib < 1 << 30:  # also refuses nan and inf
        raise UsageError(f"tiers {text!r}: {part.strip()!r} is not a size in GiB, such as 0.5 or 4")
    return int(mib) * MIB
