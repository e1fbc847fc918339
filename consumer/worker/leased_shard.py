"""Leased shard: a message, its lease, and the shard's status in the ledger."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from consumer.protocol.tasks import ConvertTask, DownsampleTask, Task
from consumer.worker.lease import Lease
from delivery.broker.base import Delivery
from delivery.ledger.overview import RunOverview
from delivery.ledger.plan import PlanRow
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, ShardStatus, read_status_for_work
from delivery.messages import Hop, ShardMessage, now
from memmodel.run_context import RunContext
from runtime.errors import PermanentError
from runtime.urls import is_remote

KEPT_S: Final = 10.0
"""Age of an overview, of a run in a bucket, by which work on a shard may begin.

What it hides costs work at most: no output appears, and no shard is done, not ready or failed,
but by a new one.
"""


@dataclass(frozen=True)
class LeasedShard:
    """A shard to be made, as one delivery requests it.

    Attributes:
        started: when the message was leased; `leased_s` by the clock of `time.monotonic`.
    """

    delivery: Delivery
    lease: Lease
    message: ShardMessage
    context: RunContext
    started: datetime = field(default_factory=now)
    leased_s: float = field(default_factory=time.monotonic)

    @property
    def run(self) -> Run:
        """The shard's run."""
        return self.context.run

    @property
    def key(self) -> str:
        """The shard's key."""
        return self.message.key

    @cached_property
    def overview(self) -> RunOverview:
        """The run's overview by which work may begin; may be some seconds old."""
        return self.run.overviews.take(KEPT_S if is_remote(self.run.uri) else 0.0)

    @cached_property
    def status(self) -> ShardStatus:
        """The shard's status in the ledger; read once, before the work."""
        redo, is_new = self.run.redo(self.overview), self.overview.taken_s >= self.leased_s
        return read_status_for_work(self.run, self.key, redo, self.message.redo, is_new=is_new)

    @cached_property
    def lacks_bad_chunks(self) -> bool:
        """Whether it is made without chunks that do not decode."""
        return self.run.leaves_out_bad_chunks(self.key, self.overview)

    def may_lack_chunks_now(self) -> bool:
        """Whether it is requested without bad chunks, which the overview did not show."""
        if self.row.kind != "convert" or self.lacks_bad_chunks:
            return False
        return self.run.leaves_out_bad_chunks(self.key, self.run.overviews.take())

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
            "is_new": not info.overwrite and not self.redo and self.status.receipt is None,
            "gzip_level": info.gzip_level,
            "threads": threads,
            "tier_limit_bytes": limit_bytes,
            "tier": self.delivery.tier,
            "attempt": self.delivery.attempt,
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
            "bad_chunks": "skip" if self.lacks_bad_chunks else "fail",
        }
