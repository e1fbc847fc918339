"""Settles a delivery: ack, release, retry, escalate, dead-letter or quarantine."""

from collections.abc import Callable

from consumer.worker.config import WorkerConfig
from consumer.worker.leased_shard import LeasedShard
from delivery.broker.base import DEAD, Broker, Delivery
from delivery.ledger import quarantine
from delivery.messages import Hop, ShardMessage, now
from delivery.state_roots import StateRoots
from memmodel.tiers import GIB, Tier
from runtime import log, log_events
from runtime.storage import open_storage

_log = log.get()


class Disposition:
    """The ways to settle a delivery; each logs one event.

    Args:
        broker: of the delivery.
        config: of the worker.
        roots: the first keeps what is quarantined.
        on_published: called with each other tier that a message was published to.
    """

    def __init__(
        self,
        broker: Broker,
        config: WorkerConfig,
        roots: StateRoots,
        on_published: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._config = config
        self._roots = roots
        self._on_published = on_published

    def ack(self, shard: LeasedShard, event: str, **fields: object) -> None:
        """Ack the message and log the event."""
        self._broker.ack(shard.delivery)
        _log.info(event, shard=shard.key, tier=shard.delivery.tier, **fields)

    def release(self, shard: LeasedShard, reason: str) -> None:
        """Publish the message again to the same tier, then ack; does not count as an attempt."""
        self._broker.hand_over(shard.delivery, shard.delivery.tier, shard.message)
        _log.info(
            log_events.SHARD_RELEASED, shard=shard.key, tier=shard.delivery.tier, reason=reason
        )

    def retry_once(self, shard: LeasedShard, reason: str) -> bool:
        """Publish to the same tier with the reason in the history; False if the history has it."""
        if any(hop.reason == reason for hop in shard.message.history):
            return False
        message = shard.message.after(shard.hop(reason, self._config.worker))
        self._broker.hand_over(shard.delivery, shard.delivery.tier, message)
        _log.info(
            log_events.SHARD_RELEASED, shard=shard.key, tier=shard.delivery.tier, reason=reason
        )
        return True

    def escalate(self, shard: LeasedShard, reason: str) -> None:
        """Publish to the next tier with the history; on the last tier, dead-letter."""
        larger = self._larger_tier(shard)
        if larger is None:
            self.dead_letter(shard, f"{reason}; {self._why_no_larger()}")
            return
        message = shard.message.after(shard.hop(reason, self._config.worker))
        # Before the message: by this note workers are started for the larger tier.
        shard.run.placements.note(shard.key, larger.name, shard.status.inputs_digest)
        self._broker.hand_over(shard.delivery, larger.name, message)
        self._on_published(larger.name)
        _log.warning(
            log_events.SHARD_ESCALATED,
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
        _log.error(log_events.SHARD_DEAD_LETTERED, shard=shard.key, tier=tier, reason=reason)

    def quarantine(
        self, delivery: Delivery, reason: str, message: ShardMessage | None = None
    ) -> None:
        """Store the bytes of a message that names no known shard, under a state root; then ack.

        Never below a folder that the message names. A worker that knows no state root moves it to
        the dead letters at once, for a program that knows one; never back to its own queue, where
        it would come again and again.

        Args:
            delivery: the message's.
            reason: why.
            message: what it says, if it can be read.
        """
        root = self._roots.first
        if root is not None:
            quarantine.store(open_storage(root), delivery.data, reason)
            self._broker.ack(delivery)
        elif message is not None:
            worker, attempt = self._config.worker, delivery.attempt
            hop = Hop(tier=delivery.tier, reason=reason, at=now(), worker=worker, attempt=attempt)
            self._broker.hand_over(delivery, DEAD, message.after(hop, reason))
            _log.error(
                log_events.SHARD_DEAD_LETTERED, shard=message.key, tier=delivery.tier, reason=reason
            )
        else:
            self._broker.set_aside(delivery)
            _log.warning(log_events.MESSAGE_SET_ASIDE, tier=delivery.tier, reason=reason)

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
