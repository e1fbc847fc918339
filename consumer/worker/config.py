"""Configuration of a worker."""

import os
import secrets
import socket
from dataclasses import dataclass, field

from memmodel.tiers import Tier


def worker_id() -> str:
    """A unique worker id, fit for a file name.

    In a container, host name and process id may be the same everywhere, so chance makes it unique.
    """
    host = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())
    return f"{host[:40]}-{os.getpid()}-{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Configuration of one worker: tier, memory limit, threads, identity.

    Attributes:
        tier: whose queue it serves.
        limit_bytes: memory of its executor: the tier's, or what a smaller machine has; None where
            the machine is too small for the tier's shards.
        threads: per shard, at most.
        slots: messages that it handles at once; half of their shards are in work, the others wait
            for an executor, or for the ledger.
        machine_bytes: the most that any worker of this queue can have; None: no such bound.
        roots: URLs of the state roots that it was given.
        worker: its id.
    """

    tier: Tier
    limit_bytes: int | None
    threads: int = 1
    machine_bytes: int | None = None
    roots: tuple[str, ...] = ()
    slots: int = 1
    worker: str = field(default_factory=worker_id)
