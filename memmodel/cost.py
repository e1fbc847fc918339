"""Cost of workers, requests and messages, for each way to rent workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from memmodel import prices
from memmodel.prices import CLASS_A, CLASS_B, MESSAGES, STORED
from memmodel.tiers import GIB, Tier
from memmodel.usage import Usage

HOUR_S: Final = 3600
_TIB: Final = 1 << 40


class Offer(StrEnum):
    """What Google rents that a worker can run on."""

    POOL = "worker pool"
    JOB = "job"
    SPOT = "Spot VM"


UTILISATION: Final[Mapping[Offer, float]] = {Offer.POOL: 1.05, Offer.JOB: 1.04, Offer.SPOT: 1.05}
"""Billed seconds by seconds of work, in simulated runs of 2,000 and 8,000 shards, published
longest first (docs/scaling.md). Short and wide runs idle more: up to 1.39 in pools."""

_PER_SECOND: Final[Mapping[Offer, tuple[float, float]]] = {  # of a vCPU, and of a GiB
    Offer.POOL: (prices.POOL_VCPU.dollars, prices.POOL_GIB.dollars),
    Offer.JOB: (prices.JOB_VCPU.dollars, prices.JOB_GIB.dollars),
    Offer.SPOT: (prices.SPOT_VCPU.dollars / HOUR_S, prices.SPOT_GIB.dollars / HOUR_S),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost in dollars; `storage_month` recurs, so it is not part of the total."""

    compute: float = 0.0
    requests: float = 0.0
    queue: float = 0.0
    storage_month: float = 0.0

    @property
    def total(self) -> float:
        """Cost of the run itself, without storage."""
        return self.compute + self.requests + self.queue

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.compute + other.compute,
            self.requests + other.requests,
            self.queue + other.queue,
            self.storage_month + other.storage_month,
        )


def dollars_per_second(tier: Tier, offer: Offer = Offer.POOL) -> float:
    """Price of one instance of a tier while it runs, whether it works or waits."""
    vcpu, gib = _PER_SECOND[offer]
    return tier.vcpus * vcpu + tier.limit_bytes / GIB * gib


def cost(usage: Usage, tier: Tier, offer: Offer = Offer.POOL) -> Cost:
    """Cost of what workers of one tier use, while they work."""
    sent = usage.messages * prices.MESSAGE_LEAST_BYTES * prices.WAYS
    return Cost(
        compute=usage.seconds * dollars_per_second(tier, offer),
        requests=usage.reads * CLASS_B.dollars + usage.writes * CLASS_A.dollars,
        queue=sent / _TIB * MESSAGES.dollars,
        storage_month=usage.bytes_out / GIB * STORED.dollars,
    )
