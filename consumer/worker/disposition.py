"""Settles a delivery: ack, release, retry, escalate, dead-letter or quarantine."""

from collections.abc import Callable

from consumer.worker.config import WorkerConfig
from consumer.worker.leased_shard import LeasedShard
from delivery.broker.base import DEAD, Broker, Delivery
from delivery.ledger import quarantine
from memmodel.tiers import GIB, Tier
from runtime import log
from runtime.storage import open_storage

_log = log.get()


class Disposition:
    """The ways to settle a delivery; each logs one event.

    Args:
        broker: of the delivery.
        config: of the worker.
        on_published: called with each other tier that a message was published to.
    """

    def __init__(
        self, broker: Broker, config: WorkerConfig, on_published: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._config = config
        self._on_published = on_published

    def ack(self, shard: LeasedShard, event: str, **fields: object) -> None:
        """Ack the message and log the event."""
        self._broker.ack(shard.delivery)
        _log.info(event, shard=shard.key, tier=shard.delivery.tier, **fields)

    def release(self, shard: LeasedShard, reason: str) -> None:
        """Publish the message again to the same tier, then ack; does not count as an attempt."""
        self._broker.hand_over(shard.delivery, shard.delivery.tier, shard.message)
        _log.info(log.SHARD_RELEASED, shard=shard.key, tier=shard.delivery.tier, reason=reason)

    def retry_once(self, shard: LeasedShard, reason: str) -> bool:
        """Publish to the same tier with the reason in the history; False if the history has it."""
        if any(hop.reason == reason for hop in shard.message.history):
            return False
        message = shard.message.after(shard.hop(reason, self._config.worker))
        self._broker.hand_over(shard.delivery, shard.delivery.tier, message)
        _log.info(log.SHARD_RELEASED, shard=shard.key, tier=shard.delivery.tier, reason=reason)
        return True

    def escalate(self, shard: LeasedShard, reason: str) -> None:
        """Publish to the next tier with the history; on the last tier, dead-letter."""
        larger = self._larger_tier(shard)
        if larger is None:
            self.dead_letter(shard, f"{reason}; {self._why_no_larger()}")
            return
        message = shard.message.after(shard.hop(reason, self._config.worker))
        self._broker.hand_over(shard.delivery, larger.name, message)
        self._on_published(larger.name)
        _log.warning(
            log.SHARD_ESCALATED,
            shard=shard.key,
            tier=shard.delivery.tier,
            to=larger.name,
            reason=reason,
        )

    def dead_letter(self, shard: LeasedShard, reason: str) -> None:
        """Publish to the dead letters, with the reason in the message."""
        message = shard.message.after(shard.hop(reason, self._config.worker), reason)
        self._broker.hand_over(shard.delivery, DEAD, message)
        tier = shard.delivery.tier
        _log.error(log.SHARD_DEAD_LETTERED, shard=shard.key, tier=tier, reason=reason)

    def quarantine(self, delivery: Delivery, reason: str) -> None:
        """Store the bytes of a message that names no known shard, under the state root; then ack.

        Without a known state root: nack; the fifth delivery goes to the dead letters.
        """
        state = self._config.state or delivery.attributes.get("run", "").rpartition("/")[0]
        if not state:
            self._broker.nack(delivery)
            return
        quarantine.store(open_storage(state), delivery.data, reason)
        self._broker.ack(delivery)

    def _larger_tier(self, shard: LeasedShard) -> Tier | None:
        own, machine_bytes = self._config.tier, self._config.machine_bytes
        if machine_bytes is not None and own.limit_bytes >= machine_bytes:
            return None
        tiers = shard.context.tiers
        larger = [tier for tier in tiers if tier.limit_bytes > own.limit_bytes]
        return min(larger, key=lambda tier: tier.limit_bytes, default=None)

    def _why_no_larger(self) -> str:
        own, machine_bytes = self._config.tier, self._config.machine_bytes
        if machine_bytes is not None and own.limit_bytes >= machine_bytes:
            return f"this machine has {machine_bytes / GIB:.2f} GiB for work"
        return f"{own.name} ({own.limit_bytes / GIB:.2f} GiB) is the largest tier"
