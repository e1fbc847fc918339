"""What becomes of one message: lease → work process → receipt → cascade → ack.

`_decide` and `_after` are the failure table of the documentation, a line for each of its rows.
Whatever happens, the order is output, receipt, cascade, ack. A crash at any point leaves a message
that comes back, and whoever gets it finds the receipt or makes the same bytes again.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

from braid.exceptions import BraidError
from consumer.protocol.events import Done, Failed, StopCommand
from consumer.signals import ShutdownFlags
from consumer.worker.disposition import Disposition, WorkerConfig
from consumer.worker.executor_client import ExecutorClient, ExecutorError, Watch
from consumer.worker.heartbeat import HeartbeatThread
from consumer.worker.lease import Lease
from consumer.worker.leased_shard import LeasedShard
from consumer.worker.parallelism import estimated_bytes, threads_for
from consumer.worker.receipt import build_receipt
from delivery.broker.base import Broker, Delivery
from delivery.cascade import cascade
from delivery.ledger import receipts
from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import is_current
from delivery.messages import ShardMessage, UnreadableMessage, decode, now
from memmodel.tier_choice import chooser
from memmodel.tiers import GIB, MIB
from runtime import log
from runtime.errors import ShardliftError, UnreachableError, UsageError

SILENT_DELIVERIES: Final = 3  # on one tier: two workers died over it without a word

INPUT_PAUSE_S: Final = 2.0  # for the receipt of an input that was just made again

TROUBLE: Final = (UnreachableError, UsageError, ExecutorError)
"""What no shard can help: its message goes back, and the worker waits before the next one."""

_log = log.get()


class Worker:
    """Answers the deliveries of one tier.

    Args:
        broker: where they come from.
        post: what the worker is and has.
        flags: whether to stop.
        learned: told of each run that a message leads to, once.
        published: told each tier that a message was published to.
        child: the work process; by default one that makes shards.
    """

    def __init__(
        self,
        broker: Broker,
        post: WorkerConfig,
        flags: ShutdownFlags,
        *,
        learned: Callable[[Run], None] = lambda _: None,
        published: Callable[[str], None] = lambda _: None,
        child: ExecutorClient | None = None,
    ) -> None:
        self._broker = broker
        self._post = post
        self._flags = flags
        self._learned = learned
        self._published = published
        self._answers = Disposition(broker, post, published)
        self._child = child or ExecutorClient(post.limit_bytes)
        self._runs: dict[str, Run] = {}
        self._beating: dict[str, Run] = {}  # where our last heartbeat names a shard
        self._chunks = 0  # of the shard in work

    def prepare(self) -> None:
        """Have a work process before there is a message: imports should not cost lease time."""
        if self._post.limit_bytes is not None:
            self._child.start()

    def handle(self, delivery: Delivery) -> None:
        """Do what one message asks for, and answer it.

        Raises:
            NewerSchema: this program is older than the run; the message went back.
            UnreachableError, UsageError, ExecutorError: trouble; the message went back, or
                will, when its lease ends.
        """
        with Lease(self._broker, delivery, self._broker.lease_s) as lease:
            try:
                message = decode(delivery.data)
            except UnreadableMessage as error:
                self._answers.keep(delivery, error.why)
            except UsageError:
                self._broker.nack(delivery)
                raise
            else:
                self._try(LeasedShard(delivery, lease, message, self._run(message)))

    def rest(self) -> None:
        """Nothing to do: say so once. An idle worker is silent, or a lost run would seem alive."""
        for run in self._beating.values():
            with contextlib.suppress(ShardliftError):
                run.write_heartbeat(self._heartbeat())
        self._beating.clear()

    def close(self) -> None:
        """Stop the work process, leave no heartbeat."""
        self._child.stop()
        for run in self._runs.values():
            with contextlib.suppress(ShardliftError):
                run.remove_heartbeat(self._post.worker)

    def _try(self, job: LeasedShard) -> None:
        delivery = job.delivery
        _log.info(log.SHARD_LEASED, shard=job.key, tier=delivery.tier, attempt=delivery.attempt)
        try:
            self._decide(job)
        except TROUBLE as error:
            self._answers.release(job, str(error))
            raise
        except (ShardliftError, BraidError) as error:  # a damaged ledger: somebody has to look
            self._answers.dead_letter(job, str(error))

    def _decide(self, job: LeasedShard) -> None:
        """What can be answered without work; the first row that applies."""
        if not self._known(job.run):
            self._answers.keep(job.delivery, f"its run {job.run.uri} is gone")
        elif job.run.cancelled():
            self._answers.ack(job, log.SHARD_CANCELLED)
        elif job.key not in job.run.plan:
            self._answers.dead_letter(job, "the plan of its run has no such shard")
        elif job.standing.answers(job.message.redo):
            self._already_done(job)
        elif not job.inputs_done:
            self._answers.ack(job, log.SHARD_NOT_READY)  # whoever makes the last one publishes it
        elif job.delivery.attempt >= SILENT_DELIVERIES:
            self._answers.escalate(job, self._silent(job))
        elif self._post.limit_bytes is None:
            self._answers.dead_letter(job, self._too_large(job))
        else:
            self._after(job, self._work(job))

    def _after(self, job: LeasedShard, result: Done | Failed) -> None:
        """What the work's end means for its message."""
        match result:
            case Done():
                self._finish(job, result)
            case Failed() if job.lease.lost():
                _log.warning(log.LEASE_LOST, shard=job.key, tier=job.delivery.tier)
            case Failed(kind="memory"):
                self._answers.escalate(job, self._too_big(result))
            case Failed(kind="permanent"):
                self._answers.dead_letter(job, result.reason)
            case Failed(kind="changed"):
                self._input_changed(job, result.reason)
            case Failed(kind="cancelled"):
                self._answers.ack(job, log.SHARD_CANCELLED)
            case Failed(kind="stopped"):
                self._answers.release(job, result.reason)
            case Failed(kind="usage"):
                raise UsageError(f"{job.key}: {result.reason}")
            case Failed():
                raise UnreachableError(f"{job.key}: {result.reason}")

    def _finish(self, job: LeasedShard, done: Done) -> None:
        """The output is there: receipt, cascade, ack."""
        estimated = estimated_bytes(job, done.outcome.threads)
        receipt = build_receipt(job, done, self._post.worker, estimated)
        receipts.write(job.run, receipt)
        published = self._cascade(job)
        self._answers.ack(
            job,
            log.SHARD_DONE,
            chunks=receipt.chunks,
            seconds=receipt.seconds,
            peak_mib=(receipt.peak_bytes or 0) // MIB,
            published=len(published),
        )

    def _input_changed(self, job: LeasedShard, reason: str) -> None:
        """Its receipt may be a moment behind an input that is remade; else the input is damaged."""
        self._flags.immediate.wait(INPUT_PAUSE_S)
        if not self._answers.retry_once(job, "an input is not what its receipt says"):
            self._answers.dead_letter(job, reason)

    def _already_done(self, job: LeasedShard) -> None:
        """Somebody may have died between the receipt and the cascade: cascade again."""
        published = self._cascade(job)
        self._answers.ack(job, log.SHARD_ALREADY_DONE, published=len(published))

    def _cascade(self, job: LeasedShard) -> list[str]:
        published = cascade(job.run, self._broker, job.key, chooser(job.run))
        for mark in filter(None, map(job.run.mark, published)):
            self._published(mark.tier)
        return published

    def _work(self, job: LeasedShard) -> Done | Failed:
        """Have the shard made, with a heartbeat, for as long as the lease is ours."""
        self._chunks = 0
        self._beating[job.run.uri] = job.run
        watch = Watch(
            progress=self._progress,
            may_publish=partial(self._may_publish, job),
            interrupt=partial(self._interrupt, job),
        )
        task = job.task(threads_for(job, self._post, self._broker), self._post.limit_bytes)
        with HeartbeatThread(job.run, partial(self._heartbeat, job), self._broker.lease_s):
            return self._child.run(task, watch)

    def _progress(self, chunks: int) -> None:
        self._chunks = chunks

    def _interrupt(self, job: LeasedShard) -> StopCommand | None:
        if job.lease.lost():
            return StopCommand(kind="lease", reason="the lease is lost")
        if self._flags.immediate.is_set():
            return StopCommand(kind="stopped", reason="the worker was told to stop")
        return None

    def _may_publish(self, job: LeasedShard) -> StopCommand | None:
        """Look again just before the output appears."""
        cancelled = job.run.cancelled()
        if cancelled is not None:
            return StopCommand(kind="cancelled", reason=f"the run was cancelled: {cancelled.why}")
        if not is_current(job.run, job.standing):  # else old bytes would replace new ones
            return StopCommand(kind="stopped", reason="the shard or an input was asked for again")
        return self._interrupt(job)

    def _heartbeat(self, job: LeasedShard | None = None) -> Heartbeat:
        return Heartbeat(
            worker=self._post.worker,
            tier=self._post.tier.name,
            key=job.key if job else None,
            chunks=self._chunks if job else 0,
            rss_bytes=self._child.rss_bytes,
            limit_bytes=self._post.limit_bytes,
            at=now(),
            since=job.started if job else None,
        )

    def _run(self, message: ShardMessage) -> Run:
        return self._runs.get(message.run) or Run(message.run)

    def _known(self, run: Run) -> bool:
        """Whether the run has a ledger; from then on its plan is kept."""
        if run.uri not in self._runs:
            if not run.planned():
                return False
            self._runs[run.uri] = run
            self._learned(run)
        return True

    def _silent(self, job: LeasedShard) -> str:
        times = job.delivery.attempt - 1
        return f"{times} workers of tier {job.delivery.tier} died over it without a word"

    def _too_big(self, failed: Failed) -> str:
        """Both numbers: what was used, and what there was."""
        used_bytes, limit_bytes = failed.peak_bytes, self._post.limit_bytes
        used = "an unknown amount" if used_bytes is None else f"{used_bytes / MIB:.0f} MiB"
        had = "no limit" if limit_bytes is None else f"{limit_bytes / MIB:.0f} MiB"
        return f"{failed.reason}: used {used} of {had}"

    def _too_large(self, job: LeasedShard) -> str:
        needed_bytes = estimated_bytes(job, 1)
        needs = "" if needed_bytes is None else f", an estimate of {needed_bytes / GIB:.2f} GiB"
        has_bytes = self._post.machine_bytes or 0
        return (
            f"needs a worker of tier {self._post.tier.name}{needs}; "
            f"this machine has {has_bytes / GIB:.2f} GiB for work"
        )
