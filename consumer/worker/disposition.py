"""What a worker can answer to a delivery: ack, hand back, next tier, dead, keep the bytes."""

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from consumer.worker.leased_shard import LeasedShard
from delivery.broker.base import DEAD, Broker, Delivery
from delivery.ledger import quarantine
from memmodel.tiers import GIB, Tier, tier_of
from runtime import log
from runtime.storage import open_storage

_log = log.get()


def worker_id() -> str:
    """A name that no other worker has, fit for a file."""
    host = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())
    return f"{host[:40]}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is and has.

    Attributes:
        tier: whose queue it serves.
        limit_bytes: memory for its work process: the tier's, or what a smaller machine has;
            None where the machine is too small for what that tier's shards need.
        machine_bytes: the most that any worker of this queue could have; None: no such bound.
        state: URL of the state root, where it is known.
        worker: its id.
    """

    tier: Tier
    limit_bytes: int | None
    threads: int = 1
    machine_bytes: int | None = None
    state: str | None = None
    worker: str = field(default_factory=worker_id)


class Disposition:
    """Every way a delivery can end, each with its line in the log.

    Args:
        broker: where the delivery came from.
        post: what the worker is and has.
        published: told each other tier that a message went to.
    """

    def __init__(
        self, broker: Broker, post: WorkerConfig, published: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._post = post
        self._published = published

    def ack(self, job: LeasedShard, event: str, **fields: object) -> None:
        """The message is done with."""
        self._broker.ack(job.delivery)
        _log.info(event, shard=job.key, tier=job.delivery.tier, **fields)

    def release(self, job: LeasedShard, reason: str) -> None:
        """Publish it again to the same tier, then ack: that counts as no attempt."""
        self._broker.hand_over(job.delivery, job.delivery.tier, job.message)
        _log.info(log.SHARD_RELEASED, shard=job.key, tier=job.delivery.tier, reason=reason)

    def retry_once(self, job: LeasedShard, reason: str) -> bool:
        """Back to the same tier with the reason in the history; False if it was there before."""
        if any(hop.reason == reason for hop in job.message.history):
            return False
        message = job.message.after(job.hop(reason, self._post.worker))
        self._broker.hand_over(job.delivery, job.delivery.tier, message)
        _log.info(log.SHARD_RELEASED, shard=job.key, tier=job.delivery.tier, reason=reason)
        return True

    def escalate(self, job: LeasedShard, reason: str) -> None:
        """To the next tier with the history; from the last one to the dead letters."""
        larger = self._larger(job)
        if larger is None:
            self.dead_letter(job, f"{reason}; {self._no_larger()}")
            return
        message = job.message.after(job.hop(reason, self._post.worker))
        self._broker.hand_over(job.delivery, larger.name, message)
        self._published(larger.name)
        _log.warning(
            log.SHARD_ESCALATED,
            shard=job.key,
            tier=job.delivery.tier,
            to=larger.name,
            reason=reason,
        )

    def dead_letter(self, job: LeasedShard, reason: str) -> None:
        """To the dead letters, with the reason in the message."""
        message = job.message.after(job.hop(reason, self._post.worker), reason)
        self._broker.hand_over(job.delivery, DEAD, message)
        _log.error(log.SHARD_DEAD_LETTERED, shard=job.key, tier=job.delivery.tier, reason=reason)

    def keep(self, delivery: Delivery, why: str) -> None:
        """Put bytes that lead to no shard beside the runs, then ack.

        Without any state root they go back, and after five deliveries to the dead letters.
        """
        state = self._post.state or delivery.attributes.get("run", "").rpartition("/")[0]
        if not state:
            self._broker.nack(delivery)
            return
        quarantine.keep(open_storage(state), delivery.data, why)
        self._broker.ack(delivery)

    def _larger(self, job: LeasedShard) -> Tier | None:
        own, machine_bytes = self._post.tier, self._post.machine_bytes
        if machine_bytes is not None and own.limit_bytes >= machine_bytes:
            return None
        tiers = [tier_of(name) for name in job.run.info.tiers]
        larger = [tier for tier in tiers if tier.limit_bytes > own.limit_bytes]
        return min(larger, key=lambda tier: tier.limit_bytes, default=None)

    def _no_larger(self) -> str:
        own, machine_bytes = self._post.tier, self._post.machine_bytes
        if machine_bytes is not None and own.limit_bytes >= machine_bytes:
            return f"this machine has {machine_bytes / GIB:.2f} GiB for work"
        return f"{own.name} ({own.limit_bytes / GIB:.2f} GiB) is the largest tier"
