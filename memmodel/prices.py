"""Cost of a run on Google Cloud, at list prices (us-central1, Cloud Run worker pools)."""

from dataclasses import dataclass
from typing import Final

from braid.precomputed.volume_spec import ScaleSpec
from memmodel.tiers import GIB, Tier

PRICES_OF: Final = "2026-11-22"  # when they were read; they change
VCPU_SECOND: Final = 0.0000112
GIB_SECOND: Final = 0.0000012
PUBSUB_TIB: Final = 40.0  # each way
CLASS_A: Final = 0.005 / 1000  # writes, lists, composes
CLASS_B: Final = 0.0004 / 1000  # reads
STORAGE_GB_MONTH: Final = 0.020
RAW_OVER_GZIP: Final = 4.7  # stored bytes of compressed_segmentation chunks, on a real dataset

_TIB: Final = 1 << 40
_GB: Final = 10**9
_WAYS: Final = 2  # published and delivered
# Requests of a shard on GCS, apart from reading its inputs.
_SHARD_READS: Final = 4  # run.json, ledger, index
_SHARD_WRITES: Final = 5  # body, head, compose, receipt, publish marker
_READ_AT_ONCE: Final = 256 << 20
_MESSAGE_LEAST_BYTES: Final = 1000  # the least that Pub/Sub bills


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that a shard, a tier or a run uses.

    Attributes:
        seconds: of a worker of some tier.
        reads: requests of class B.
        writes: requests of class A.
        messages: sent through the queue.
        bytes_out: stored at the destination.
    """

    seconds: float = 0.0
    reads: int = 0
    writes: int = 0
    messages: int = 0
    bytes_out: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.seconds + other.seconds,
            self.reads + other.reads,
            self.writes + other.writes,
            self.messages + other.messages,
            self.bytes_out + other.bytes_out,
        )


def encoding_ratio(scale: ScaleSpec) -> float:
    """Stored bytes of a scale over those with gzip, by its data encoding."""
    return 1.0 if scale.sharding.data_encoding == "gzip" else RAW_OVER_GZIP


def shard_usage(seconds: float, inputs: int, bytes_in: int, bytes_out: int) -> Usage:
    """Resources that one shard uses on Google Cloud.

    Args:
        seconds: of one worker.
        inputs: number of source files or input shards.
        bytes_in: of all inputs.
        bytes_out: of the shard.
    """
    requests = -(-bytes_in // _READ_AT_ONCE)
    return Usage(
        seconds=seconds,
        reads=_SHARD_READS + 2 * inputs + requests,
        writes=_SHARD_WRITES,
        messages=1,
        bytes_out=bytes_out,
    )


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


def dollars_per_second(tier: Tier) -> float:
    """Price of one instance of a tier while it runs, whether it works or waits."""
    return tier.vcpus * VCPU_SECOND + tier.limit_bytes / GIB * GIB_SECOND


def cost(usage: Usage, tier: Tier) -> Cost:
    """Cost of what workers of one tier use."""
    sent = usage.messages * _MESSAGE_LEAST_BYTES * _WAYS
    return Cost(
        compute=usage.seconds * dollars_per_second(tier),
        requests=usage.reads * CLASS_B + usage.writes * CLASS_A,
        queue=sent / _TIB * PUBSUB_TIB,
        storage_month=usage.bytes_out / _GB * STORAGE_GB_MONTH,
    )
