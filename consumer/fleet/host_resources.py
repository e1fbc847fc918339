"""Resources of this machine: memory and CPUs for workers, and the tiers they can serve."""

import math
import os
from collections.abc import Sequence

import psutil

from memmodel import cgroups, process_memory
from memmodel.tiers import Tier


def free_bytes() -> int:
    """Memory available now, in this container or on this machine."""
    return min(int(psutil.virtual_memory().available), process_memory.memory_limit().limit_bytes)


def cpus() -> int:
    """CPUs that this process may use: those it is bound to, or fewer by its container's quota.

    A part of one counts as one, so that a quota is used up.
    """
    try:
        bound = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # only Linux has it
        bound = os.cpu_count() or 1
    quota = cgroups.cpu_quota()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def work_limit_bytes(tier: Tier, given_bytes: int) -> int:
    """Memory limit of a tier's executor: the tier's, or less where the machine has less.

    A container's limit counts without the memory of the worker itself.
    """
    limits = [tier.limit_bytes, given_bytes]
    container = process_memory.cgroup_limit()
    if container is not None:
        limits.append(container.limit_bytes - process_memory.rss_bytes())
    return min(limits)


def served_tiers(tiers: Sequence[Tier], machine_bytes: int) -> tuple[Tier, ...]:
    """Tiers that one machine can serve, ascending.

    The first tier beyond the machine's memory is served with what the machine has, since many of
    its shards need only a little more than the tier before. Larger tiers are left out.
    """
    served: list[Tier] = []
    for tier in sorted(tiers, key=lambda tier: tier.limit_bytes):
        if served and served[-1].limit_bytes >= machine_bytes:
            break
        served.append(Tier(tier.name, min(tier.limit_bytes, machine_bytes)))
    return tuple(served)
