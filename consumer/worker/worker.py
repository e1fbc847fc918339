"""Worker: handles messages, each from its lease over executor, receipt and cascade to its ack.

Several slots may call it at once, each with a message of its own.

`_settle_or_work` and `_settle` are the failure table of `docs/delivery.md`, a case for each row.
The order is always output, receipt, cascade, ack. After a crash at any point the message is
delivered again, and the next worker finds the receipt or makes the same bytes again.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

from braid.exceptions import BraidError
from consumer.protocol.events import Done, Failed, StopCommand
from consumer.signals import ShutdownFlags
from consumer.worker.config import WorkerConfig
from consumer.worker.disposition import Disposition
from consumer.worker.executor_client import ExecutorClient, ExecutorError
from consumer.worker.executor_pool import ExecutorPool, MakeExecutor
from consumer.worker.fork_server import ForkServer
from consumer.worker.held_messages import HeldMessages
from consumer.worker.known_runs import KnownRuns
from consumer.worker.lease import Lease
from consumer.worker.leased_shard import LeasedShard
from consumer.worker.name_locks import NameLocks
from consumer.worker.parallelism import estimated_bytes
from consumer.worker.receipt import build_receipt
from consumer.worker.shard_work import ShardWork
from consumer.worker.slots import executors_aim, executors_for
from delivery.broker.base import Broker, Delivery
from delivery.cascade import cascade
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.lost_leases import LostLeases
from delivery.ledger.output_revision import check_revision
from delivery.ledger.run import Run, log_damage
from delivery.ledger.shard_status import is_current
from delivery.ledger.trouble import Trouble, write_trouble
from delivery.messages import NewerSchema, ShardMessage, UnreadableMessage, decode, now
from delivery.publishing import Publication
from delivery.state_roots import StateRoots, describe_foreign
from memmodel.tiers import GIB, MIB
from runtime import log, log_context, log_events
from runtime.errors import MachineError, ShardliftError, UnreachableError, UsageError
from runtime.machine import translate_machine_errors

SILENT_DEATHS: Final = 2
"""Workers of one tier that crashed silently over a shard, after which it is escalated untried."""

INPUT_PAUSE_S: Final = 2.0  # for the receipt of an input that was just made again

EXTERNAL_ERRORS: Final = (UnreachableError, UsageError, ExecutorError)
"""Errors not caused by the shard; its message is released and the worker backs off."""

_log = log.get()


class Worker:
    """Handles the deliveries of one tier.

    Args:
        broker: of the deliveries.
        config: of this worker.
        flags: requests to shut down.
        on_run_discovered: called once for each run that a message names.
        on_published: called with each tier that a message was published to.
        executor: makes a client of an executor; another one in tests.
        forks: launches executors, if there are several; None: a fork server of its own.

    Attributes:
        slots: messages that it handles at once, at most.
    """

    def __init__(
        self,
        broker: Broker,
        config: WorkerConfig,
        flags: ShutdownFlags,
        *,
        on_run_discovered: Callable[[Run], None] = lambda _: None,
        on_published: Callable[[str], None] = lambda _: None,
        executor: MakeExecutor = ExecutorClient,
        forks: ForkServer | None = None,
    ) -> None:
        self._broker = broker
        self._config = config
        self._flags = flags
        self._on_published = on_published
        self._roots = StateRoots(broker, config.roots)
        self._disposition = Disposition(broker, config, self._roots, on_published)
        self.slots = config.slots
        executors, aim_bytes = executors_for(config.slots), executors_aim(config.slots)
        self._executors = ExecutorPool(
            config.limit_bytes, executors, executor, aim_bytes=aim_bytes, forks=forks
        )
        self._work = ShardWork(broker, config, flags, self._executors)
        self._runs = KnownRuns(on_run_discovered)
        self._held = HeldMessages(broker)
        self._shards = NameLocks()  # of which a slot has a message; another waits for its receipt
        self._dependents = NameLocks()  # that a slot may publish; another then finds its marker

    @property
    def waiting(self) -> int:
        """Number of shards that wait for an executor."""
        return self._executors.waiting

    def prepare(self) -> None:
        """Start the executor before a message is leased: its imports would cost lease time."""
        if self._config.limit_bytes is not None:
            self._executors.prepare()

    def handle(self, delivery: Delivery) -> None:
        """Do what one message requests, and settle it.

        Raises:
            NewerSchema: this program is older than the run; the message was given back.
            OtherRevision: this program makes other bytes than the run; likewise.
            UnreachableError, UsageError, ExecutorError: not caused by the shard; the message was
                released, or is delivered again when its lease ends.
        """
        self._held.add(delivery)
        on_lost = partial(self._note_lost_lease, delivery)
        try:
            with (
                translate_machine_errors(),
                log_context.bound(tier=delivery.tier, attempt=delivery.attempt),
                Lease(self._broker, delivery, self._broker.lease_s, on_lost=on_lost) as lease,
            ):
                self._handle_leased(delivery, lease)
        except MachineError:
            self._held.give_back(delivery)
            raise
        finally:
            self._held.remove(delivery)

    def give_back(self) -> None:
        """Release all messages that are not settled; for a thread of its own.

        For a worker that cannot go on, since storage never answers.
        """
        self._held.give_back_all()

    def decline(self, delivery: Delivery) -> None:
        """Release a message before anything was done about it."""
        self._held.add(delivery)
        self._held.give_back(delivery)

    def _handle_leased(self, delivery: Delivery, lease: Lease) -> None:
        try:
            message = decode(delivery.data)
        except UnreadableMessage as error:
            self._disposition.quarantine(delivery, error.why)
        except NewerSchema as error:
            self._handle_newer(delivery, error)
        else:
            self._follow(delivery, lease, message)

    def report_idle(self) -> None:
        """Write one heartbeat without a shard; further ones would hide that a run is stalled."""
        self._work.report_idle()

    def close(self) -> None:
        """Stop the executors, remove the heartbeats."""
        self._executors.close()
        for run in self._runs:
            with contextlib.suppress(ShardliftError):
                run.remove_heartbeat(self._config.worker)

    def _follow(self, delivery: Delivery, lease: Lease, message: ShardMessage) -> None:
        """Follow a message to its ledger, if that lies below a state root of this worker."""
        if self._roots.hold(message.run):
            self._handle_shard(LeasedShard(delivery, lease, message, self._runs.named(message)))
        else:
            self._disposition.quarantine(delivery, describe_foreign(message.run), message)

    def _handle_newer(self, delivery: Delivery, error: NewerSchema) -> None:
        """Give a message of a newer schema back and end, unless it leads to no run served here."""
        if error.run is not None and not self._roots.hold(error.run):
            self._disposition.quarantine(delivery, describe_foreign(error.run))
            return
        self._broker.nack(delivery)
        raise error

    def _handle_shard(self, shard: LeasedShard) -> None:
        delivery = shard.delivery
        log_context.add(run=shard.run.run_id, shard=shard.key)
        _log.info(
            log_events.SHARD_LEASED, shard=shard.key, tier=delivery.tier, attempt=delivery.attempt
        )
        try:
            with self._shards.hold({f"{shard.run.uri}/{shard.key}"}):
                self._settle_or_work(shard)
        except EXTERNAL_ERRORS as error:
            self._disposition.release(shard, str(error))
            self._held.remove(shard.delivery)
            self._note_trouble(shard, error)
            raise
        except LedgerDamaged as error:
            # No fault of the shard. The ledger still has it to be done: `replay --missing`, or the
            # same enqueue, publishes it again once the ledger is mended.
            log_damage(shard.run, error)
            self._broker.ack(delivery)
        except (ShardliftError, BraidError) as error:
            self._disposition.dead_letter(shard, str(error))

    def _settle_or_work(self, shard: LeasedShard) -> None:
        """Settle the message without work where possible, else after it; the first case counts."""
        if not self._runs.check_planned(shard.context):
            self._disposition.quarantine(shard.delivery, f"its run {shard.run.uri} is gone")
        elif shard.message.run_token not in {None, shard.run.info.token}:
            self._disposition.ack(shard, log_events.SHARD_OF_EARLIER_RUN)
        elif shard.run.cancelled(shard.overview):
            self._disposition.ack(shard, log_events.SHARD_CANCELLED)
        elif shard.key not in self._runs.plan(shard.run):
            self._disposition.dead_letter(shard, "the plan of its run has no such shard")
        elif shard.status.answers(shard.message.redo):
            self._already_done(shard)
        elif not shard.inputs_done:
            # The cascade of the last input publishes it.
            self._disposition.ack(shard, log_events.SHARD_NOT_READY)
        elif shard.delivery.attempt > SILENT_DEATHS:
            self._escalate_after_deaths(shard)
        elif self._config.limit_bytes is None:
            self._disposition.dead_letter(shard, self._beyond_machine(shard))
        else:
            check_revision(shard.run)
            self._settle(shard, self._work.run(shard, self._check_wanted))

    def _settle(self, shard: LeasedShard, result: Done | Failed) -> None:
        """Settle the message by the executor's result."""
        match result:
            case Done():
                self._finish(shard, result)
            case Failed() if shard.lease.lost():
                _log.warning(log_events.LEASE_LOST, shard=shard.key, tier=shard.delivery.tier)
            case Failed(kind="memory"):
                self._disposition.escalate(shard, self._over_limit(result))
            case Failed(kind="permanent"):
                self._give_up(shard, result.reason)
            case Failed(kind="changed"):
                self._input_changed(shard, result.reason)
            case Failed(kind="cancelled"):
                self._disposition.ack(shard, log_events.SHARD_CANCELLED)
            case Failed(kind="stopped"):
                self._disposition.release(shard, result.reason)
            case Failed(kind="usage"):
                raise UsageError(f"{shard.key}: {result.reason}")
            case Failed():
                raise UnreachableError(f"{shard.key}: {result.reason}")

    def _finish(self, shard: LeasedShard, done: Done) -> None:
        """Receipt, cascade and ack after the output appeared."""
        estimated = estimated_bytes(shard, done.outcome.threads)
        receipt = build_receipt(shard, done, self._config.worker, estimated)
        shard.run.receipts.put(receipt)
        if receipt.bad_chunks:
            example, chunks = receipt.bad_chunks[0].text, receipt.bad_chunk_count
            _log.warning(
                log_events.CHUNKS_LEFT_OUT, shard=shard.key, chunks=chunks, example=example
            )
        published = self._cascade(shard)
        self._disposition.ack(
            shard,
            log_events.SHARD_DONE,
            chunks=receipt.chunks,
            seconds=receipt.seconds,
            peak_mib=(receipt.peak_bytes or 0) // MIB,
            published=len(published),
        )

    def _give_up(self, shard: LeasedShard, reason: str) -> None:
        """Dead-letter, unless it is requested without bad chunks since the work began."""
        if shard.may_lack_chunks_now():
            self._disposition.release(shard, "it was requested without bad chunks meanwhile")
        else:
            self._disposition.dead_letter(shard, reason)

    def _input_changed(self, shard: LeasedShard, reason: str) -> None:
        """Retry once: the receipt of a remade input may be a moment late. Then dead-letter."""
        self._flags.immediate.wait(INPUT_PAUSE_S)
        if not self._disposition.retry_once(shard, "an input is not what its receipt says"):
            self._disposition.dead_letter(shard, reason)

    def _already_done(self, shard: LeasedShard) -> None:
        """Cascade again, since a worker may have died between receipt and cascade; ack."""
        published = self._cascade(shard)
        self._disposition.ack(shard, log_events.SHARD_ALREADY_DONE, published=len(published))

    def _cascade(self, shard: LeasedShard) -> list[Publication]:
        choose_tier = shard.context.choose_tier
        names = {f"{shard.run.uri}/{name}" for name in shard.run.plan.dependents(shard.key)}
        with self._dependents.hold(names):
            published = cascade(shard.run, self._broker, shard.key, choose_tier)
        for publication in published:
            self._on_published(publication.tier)
        return published

    def _check_wanted(self, shard: LeasedShard) -> StopCommand | None:
        """Check once more, just before the output appears, that it is still wanted."""
        overview = shard.run.overviews.take()
        if shard.run.replaced(overview):
            self._runs.forget(shard.run)
            return StopCommand(kind="stopped", reason="its run is gone, or its id was used again")
        cancelled = shard.run.cancelled(overview)
        if cancelled is not None:
            return StopCommand(kind="cancelled", reason=f"the run was cancelled: {cancelled.why}")
        # Else old bytes would replace new ones.
        if not is_current(shard.run, shard.status, shard.run.redo(overview)):
            return StopCommand(
                kind="stopped", reason="a redo of the shard or an input was requested"
            )
        return None

    def _escalate_after_deaths(self, shard: LeasedShard) -> None:
        """Escalate after silent deaths; a worker that lost its lease and lives did not die."""
        notes = LostLeases(shard.run.storage)
        deaths = shard.delivery.attempt - 1 - notes.count(shard.key)
        if deaths < SILENT_DEATHS:
            self._disposition.release(shard, "its workers lost their leases, and live")
            notes.clear(shard.key)
            return
        tier = shard.delivery.tier
        reason = f"{deaths} workers of tier {tier} died over it without a report"
        self._disposition.escalate(shard, reason)

    def _note_lost_lease(self, delivery: Delivery) -> None:
        """Note, on the lease's thread, that this worker lives although its lease ran out."""
        with contextlib.suppress(ShardliftError):  # else the delivery counts as a death
            message = decode(delivery.data)
            if (run := self._runs.find(message)) is not None:
                LostLeases(run.storage).add(message.key, self._config.worker)

    def _note_trouble(self, shard: LeasedShard, error: ShardliftError) -> None:
        """Note, where people look, what no failure record tells."""
        if self._flags.immediate.is_set() or not self._runs.check_planned(shard.context):
            return
        reason = ". ".join(filter(None, (str(error), error.hint)))
        trouble = Trouble(key=shard.key, worker=self._config.worker, at=now(), reason=reason)
        with contextlib.suppress(ShardliftError):  # the same trouble, mostly
            write_trouble(shard.run.storage, trouble)

    def _over_limit(self, failed: Failed) -> str:
        """The reason with both numbers: memory used and limit."""
        used_bytes, limit_bytes = failed.peak_bytes, self._config.limit_bytes
        used = "an unknown amount" if used_bytes is None else f"{used_bytes / MIB:.0f} MiB"
        had = "no limit" if limit_bytes is None else f"{limit_bytes / MIB:.0f} MiB"
        return f"{failed.reason}: used {used} of {had}"

    def _beyond_machine(self, shard: LeasedShard) -> str:
        needed_bytes = estimated_bytes(shard, 1)
        needs = "" if needed_bytes is None else f", an estimate of {needed_bytes / GIB:.2f} GiB"
        has_bytes = self._config.machine_bytes or 0
        return (
            f"needs a worker of tier {self._config.tier.name}{needs}; "
            f"this machine has {has_bytes / GIB:.2f} GiB for work"
        )
