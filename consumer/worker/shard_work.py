"""The work on a shard: an executor makes it, with heartbeats, while its lease is held."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from consumer.protocol.events import Done, Failed, StopCommand
from consumer.signals import ShutdownFlags
from consumer.worker.config import WorkerConfig
from consumer.worker.executor_client import Check, TaskCallbacks
from consumer.worker.executor_pool import ExecutorPool
from consumer.worker.heartbeat import Heartbeats
from consumer.worker.leased_shard import LeasedShard
from consumer.worker.parallelism import estimated_bytes, threads_for
from delivery.broker.base import Broker
from delivery.ledger.run import Heartbeat, HeartbeatShard
from delivery.messages import now


@dataclass(eq=False, slots=True)
class _Progress:
    """A shard in work or waiting for an executor, and its chunks done so far."""

    shard: LeasedShard
    chunks: int = 0

    def set(self, chunks: int) -> None:
        self.chunks = chunks

    def beat(self) -> HeartbeatShard:
        return HeartbeatShard(key=self.shard.key, chunks=self.chunks, since=self.shard.started)


class ShardWork:
    """Work on shards, of several slots at once.

    Args:
        broker: of the leases.
        config: of the worker.
        flags: requests to shut down.
        executors: make the shards.
    """

    def __init__(
        self, broker: Broker, config: WorkerConfig, flags: ShutdownFlags, executors: ExecutorPool
    ) -> None:
        self._broker = broker
        self._config = config
        self._flags = flags
        self._executors = executors
        self._lock = threading.Lock()
        self._begun: list[_Progress] = []
        self._heartbeats = Heartbeats(self._heartbeat, broker.lease_s)

    def run(
        self, shard: LeasedShard, check_wanted: Callable[[LeasedShard], StopCommand | None]
    ) -> Done | Failed:
        """Have a shard made; returns whatever happens.

        Args:
            shard: to be made.
            check_wanted: called just before its output appears; returns a reason to stop.
        """
        progress = _Progress(shard)
        with self._lock:
            self._begun.append(progress)
            begun = len(self._begun)
        try:
            self._heartbeats.begin(shard.run)
            try:
                callbacks = TaskCallbacks(
                    on_progress=progress.set,
                    check_publish=lambda: check_wanted(shard) or self._check_interrupt(shard),
                    check_interrupt=partial(self._check_interrupt, shard),
                )
                return self._execute(shard, callbacks, begun)
            finally:
                self._heartbeats.end(shard.run)
        finally:
            with self._lock:
                self._begun.remove(progress)

    def report_idle(self) -> None:
        """Write one heartbeat without a shard to each run that had one."""
        self._heartbeats.report_idle()

    def _execute(self, shard: LeasedShard, callbacks: TaskCallbacks, at_once: int) -> Done | Failed:
        threads = threads_for(shard, self._config, self._broker, at_once)
        task = shard.task(threads, self._config.limit_bytes)
        needs_bytes = estimated_bytes(shard, threads) if self._executors.size > 1 else None
        waiting: Check = partial(self._check_waiting, shard)
        return self._executors.run(task, callbacks, needs_bytes, waiting)

    def _check_interrupt(self, shard: LeasedShard) -> StopCommand | None:
        if shard.lease.lost():
            return StopCommand(kind="lease", reason="the lease is lost")
        if self._flags.immediate.is_set():
            return StopCommand(kind="stopped", reason="the worker shuts down")
        return None

    def _check_waiting(self, shard: LeasedShard) -> StopCommand | None:
        """A shard that waits is no shard in work: also a graceful shutdown releases it."""
        if self._flags.graceful.is_set() and not shard.lease.lost():
            return StopCommand(kind="stopped", reason="the worker shuts down")
        return self._check_interrupt(shard)

    def _heartbeat(self, run: str | None) -> Heartbeat:
        with self._lock:
            beats = [one.beat() for one in self._begun if one.shard.run.uri == run]
        first = beats[0] if beats else None
        return Heartbeat(
            worker=self._config.worker,
            tier=self._config.tier.name,
            key=first.key if first else None,
            chunks=first.chunks if first else 0,
            rss_bytes=self._executors.rss_bytes,
            limit_bytes=self._config.limit_bytes,
            at=now(),
            since=first.since if first else None,
            shards=tuple(beats) if len(beats) > 1 else None,
        )
