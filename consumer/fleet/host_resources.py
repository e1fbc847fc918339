"""What this machine can give to workers."""

import os
import re
from collections.abc import Sequence
from typing import Final

import psutil

from memmodel import process_memory
from memmodel.tiers import GIB, MIB, Tier
from runtime.errors import UsageError

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) *(?:([KMGT])(?:iB|i|B)?)?", re.IGNORECASE)
_UNITS: Final = {"K": 1 << 10, "M": MIB, "G": GIB, "T": GIB << 10}


def parse_size(text: str) -> int:
    """Bytes of a size such as `16GiB` or `512MiB`; a bare number is GiB.

    Raises:
        UsageError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[(match[2] or "G").upper()]) if match else 0
    if size < MIB:
        raise UsageError(f"{text!r} is no size of memory", hint="say for instance 16GiB")
    return size


def free_bytes() -> int:
    """Memory that could be used now, in this container or on this machine."""
    return min(int(psutil.virtual_memory().available), process_memory.memory_limit().limit_bytes)


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def work_limit_bytes(tier: Tier, given_bytes: int) -> int:
    """Memory for a tier's work process: less than the tier's where there is less.

    In a container the worker itself counts too.
    """
    limits = [tier.limit_bytes, given_bytes]
    container = process_memory.cgroup_limit()
    if container is not None:
        limits.append(container.limit_bytes - process_memory.rss_bytes())
    return min(limits)


def served_tiers(tiers: Sequence[Tier], machine_bytes: int) -> tuple[Tier, ...]:
    """The tiers that one machine can serve alone, ascending.

    The first one beyond it is served with what there is: its shards need more than the tier
    before it, but not all of what its name says. What is larger still is out of reach.
    """
    served: list[Tier] = []
    for tier in sorted(tiers, key=lambda tier: tier.limit_bytes):
        if served and served[-1].limit_bytes >= machine_bytes:
            break
        served.append(Tier(tier.name, min(tier.limit_bytes, machine_bytes)))
    return tuple(served)
