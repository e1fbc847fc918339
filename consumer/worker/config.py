"""Configuration of a worker."""

import os
import secrets
import socket
from dataclasses import dataclass, field

from memmodel.tiers import Tier


def worker_id() -> str:
    """A unique worker id, fit for a file name."""
    host = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())
    return f"{host[:40]}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Configuration of one worker: tier, memory limit, threads, identity.

    Attributes:
        tier: whose queue it serves.
        limit_bytes: memory of its executor: the tier's, or what a smaller machine has; None where
            the machine is too small for the tier's shards.
        threads: per shard, at most.
        machine_bytes: the most that any worker of this queue can have; None: no such bound.
        state: URL of the state root, where it is known.
        worker: its id.
    """

    tier: Tier
    limit_bytes: int | None
    threads: int = 1
    machine_bytes: int | None = None
    state: str | None = None
    worker: str = field(default_factory=worker_id)
