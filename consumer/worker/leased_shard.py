"""One leased message with everything its worker knows about it."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from consumer.protocol.tasks import ConvertTask, DownsampleTask
from consumer.worker.lease import Lease
from delivery.broker.base import Delivery
from delivery.ledger.plan import PlanRow
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardStatus, State, read_shard_status
from delivery.messages import Hop, ShardMessage, now
from runtime.errors import PermanentError


@dataclass(frozen=True)
class LeasedShard:
    """A shard to be made, as far as one delivery is concerned.

    Attributes:
        started: when the message came.
    """

    delivery: Delivery
    lease: Lease
    message: ShardMessage
    run: Run
    started: datetime = field(default_factory=now)

    @property
    def key(self) -> str:
        """The shard's key."""
        return self.message.key

    @cached_property
    def standing(self) -> ShardStatus:
        """Where the shard stands in the ledger; read once, before the work."""
        return read_shard_status(self.run, self.key)

    @property
    def row(self) -> PlanRow:
        """The shard's row of the plan."""
        return self.standing.row

    @property
    def redo(self) -> int:
        """What the receipt will answer: an old message must not make an old receipt."""
        return max(self.message.redo, self.standing.asked)

    @property
    def inputs_done(self) -> bool:
        """Whether everything that the shard is made from is there."""
        if self.standing.state is State.WAITING:
            return False
        unknown = (key for key, content in self.standing.inputs.items() if content is None)
        return all(self.run.plan.row(key).state == "present" for key in unknown)

    def hop(self, reason: str, worker: str) -> Hop:
        """The history's entry for this tier."""
        tier, attempt = self.delivery.tier, self.delivery.attempt
        return Hop(tier=tier, reason=reason, at=now(), worker=worker, attempt=attempt)

    def task(self, threads: int, limit_bytes: int | None) -> ConvertTask | DownsampleTask:
        """What the work process is told.

        Raises:
            PermanentError: the run has no source to convert from.
        """
        info, row = self.run.info, self.row
        common = {
            "run": self.run.uri,
            "key": self.key,
            "volume": info.volume,
            "scale": row.scale,
            "shard": row.shard,
            "dest": info.dest,
            "gzip_level": info.gzip_level,
            "threads": threads,
            "tier_limit_bytes": limit_bytes,
        }
        if self.message.kind == "downsample":
            own = {"inputs": dict(self.standing.inputs), "rule": info.rule}
            return DownsampleTask.model_validate(common | own)
        return ConvertTask.model_validate(common | self._sources())

    def _sources(self) -> dict[str, object]:
        info, named = self.run.info, self.message.sources
        if info.source is None:
            raise PermanentError(f"{self.key} is to be converted, but its run has no source")
        return {
            "source": info.source,
            "sources": self.row.sources if named is None else named,
            "label_type": info.label_type,
            "z_compress": info.z_compress if self.row.scale == 0 else 0,
        }
