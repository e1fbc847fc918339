"""Leased shard: a message, its lease, and the shard's status in the ledger."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from consumer.protocol.tasks import ConvertTask, DownsampleTask, Task
from consumer.worker.lease import Lease
from delivery.broker.base import Delivery
from delivery.ledger.plan import PlanRow
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, ShardStatus, read_shard_status
from delivery.messages import Hop, ShardMessage, now
from memmodel.run_context import RunContext
from runtime.errors import PermanentError


@dataclass(frozen=True)
class LeasedShard:
    """A shard to be made, as one delivery requests it.

    Attributes:
        started: when the message was leased.
    """

    delivery: Delivery
    lease: Lease
    message: ShardMessage
    context: RunContext
    started: datetime = field(default_factory=now)

    @property
    def run(self) -> Run:
        """The shard's run."""
        return self.context.run

    @property
    def key(self) -> str:
        """The shard's key."""
        return self.message.key

    @cached_property
    def status(self) -> ShardStatus:
        """The shard's status in the ledger; read once, before the work."""
        return read_shard_status(self.run, self.key)

    @property
    def row(self) -> PlanRow:
        """The shard's row of the plan."""
        return self.status.row

    @property
    def redo(self) -> int:
        """Redo number of the receipt: the ledger's, whatever the message says."""
        return self.status.redo

    @property
    def inputs_done(self) -> bool:
        """Whether every input is done."""
        if self.status.state is ShardState.WAITING:
            return False
        unknown = (key for key, content in self.status.inputs.items() if content is None)
        return all(self.run.plan.row(key).state == "present" for key in unknown)

    def hop(self, reason: str, worker: str) -> Hop:
        """History entry of this delivery."""
        tier, attempt = self.delivery.tier, self.delivery.attempt
        return Hop(tier=tier, reason=reason, at=now(), worker=worker, attempt=attempt)

    def task(self, threads: int, limit_bytes: int | None) -> Task:
        """The task for the executor.

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
        if row.kind == "downsample":  # never the message's: the plan decides
            own = {"inputs": dict(self.status.inputs), "rule": info.rule}
            return DownsampleTask.model_validate(common | own)
        return ConvertTask.model_validate(common | self._sources())

    def _sources(self) -> dict[str, object]:
        info = self.run.info
        if info.source is None:
            raise PermanentError(f"{self.key} is to be converted, but its run has no source")
        return {
            "source": info.source,
            "sources": self.row.sources,  # likewise
            "label_type": info.label_type,
            "z_compress": info.z_compress if self.row.scale == 0 else 0,
            "bad_chunks": "skip" if self.run.leaves_out_bad_chunks(self.key) else "fail",
        }
