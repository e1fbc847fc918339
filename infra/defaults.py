"""What options choose from, and their defaults, for help pages and all else; imports no module."""

from enum import StrEnum
from typing import Final

APIS: Final = "apis"
BUCKETS: Final = "buckets"
TOPICS: Final = "topics"
ACCOUNTS: Final = "accounts"
IMAGE: Final = "image"
POOLS: Final = "pools"
PARTS: Final = (APIS, BUCKETS, TOPICS, ACCOUNTS, IMAGE, POOLS)  # of the cloud, in their order
ALL_PARTS: Final = ",".join(PARTS)

PER_TIER: Final = 100  # instances, at most
IDLE_S: Final = 60  # without a message, before a job's worker ends
POLL_S: Final = 30.0  # between two looks of the autoscaler
CANARY_S: Final = 180.0  # in which a pool's instance is to give a sign of life


class Home(StrEnum):
    """What runs the workers; the value is what users call it."""

    POOLS = "pools"
    JOBS = "jobs"

    @property
    def collection(self) -> str:
        """As resource names have it."""
        return "workerPools" if self is Home.POOLS else "jobs"

    @property
    def kind(self) -> str:
        """One of them, in tables."""
        return "pool" if self is Home.POOLS else "job"


class Engine(StrEnum):
    """What `infra render` writes text for; the value is what users call it."""

    KUBERNETES = "kubernetes"
    SLURM = "slurm"
    TERRAFORM = "terraform"
    CREMA = "crema"
