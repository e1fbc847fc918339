"""Events of the log: each has a constant here, with its level, its fields and what it means.

Everything variable goes into fields.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class EventSpec:
    """Level, fields and meaning of one event; `docs/events.md` is the table of all."""

    level: str
    fields: tuple[str, ...]
    meaning: str


EVENTS: Final[dict[str, EventSpec]] = {}


def _event(name: str, level: str, fields: str, meaning: str) -> str:
    EVENTS[name] = EventSpec(level, tuple(fields.split()), meaning)
    return name


COMMAND_FAILED: Final = _event(
    "command_failed",
    "debug",
    "exc_info",
    "A command ended with an error; the traceback behind its one line.",
)
STORAGE_RETRIED: Final = _event(
    "storage_retried",
    "warning",
    "attempt error",
    "A storage request failed and is retried in place, with backoff.",
)
TEMPORARIES_SWEPT: Final = _event(
    "temporaries_swept",
    "info",
    "url objects",
    "Temporary objects of interrupted writes, older than a day, were deleted.",
)
BROKER_RETRIED: Final = _event(
    "broker_retried",
    "warning",
    "attempt error",
    "A queue request failed and is retried in place, with backoff.",
)
BACKLOG_UNKNOWN: Final = _event(
    "backlog_unknown",
    "debug",
    "reason",
    "The monitoring service did not report the length of a queue; it counts as unknown.",
)

RUN_CREATED: Final = _event(
    "run_created", "info", "run", "A run was planned and written to the ledger."
)
LAUNCHED_MEANWHILE: Final = _event(
    "launched_meanwhile",
    "info",
    "reason",
    "Another launch of the same destination came first; this one looks again.",
)
RUN_NOTE: Final = _event(
    "run_note",
    "warning",
    "text",
    "A note for people, of a run that a Python program waits for.",
)
RUN_CANCELLED: Final = _event(
    "run_cancelled",
    "info",
    "run by",
    "An unfinished run of the same destination was cancelled by a new run.",
)
RUN_DAMAGED: Final = _event(
    "run_damaged",
    "warning",
    "run reason hint",
    "An object of a run is damaged: the run is passed over, other runs go on.",
)
RUN_ENDED: Final = _event(
    "run_ended", "info", "run", "A supervised run has ended or was cancelled."
)
RUN_STALLED: Final = _event(
    "run_stalled",
    "error",
    "run reason",
    "No activity although shards were republished; the run is given up until there is activity.",
)
SHARDS_REPUBLISHED: Final = _event(
    "shards_republished",
    "warning",
    "run shards",
    "No activity for two leases: all ready shards of the run were published again.",
)
SUPERVISION_FAILED: Final = _event(
    "supervision_failed",
    "warning",
    "reason",
    "Ledger or queue could not be reached while runs were supervised; retried at the next tick.",
)
POOL_SCALED: Final = _event(
    "pool_scaled",
    "info",
    "pool before count",
    "The autoscaler, or a command that published work, set the instances of a worker pool.",
)
POOL_MISSING: Final = _event(
    "pool_missing",
    "warning",
    "tier queue",
    "Shards are left for a tier that has no worker pool.",
)
AUTOSCALER_MISSING: Final = _event(
    "autoscaler_missing",
    "warning",
    "queue reason",
    "The pool of the autoscaler could not be made: nothing sets the pools to 0 at the end.",
)
LEDGER_UNKNOWN: Final = _event(
    "ledger_unknown",
    "warning",
    "reason",
    "The autoscaler could not read a ledger, so it leaves all pools as they are.",
)
AUTOSCALING_FAILED: Final = _event(
    "autoscaling_failed",
    "warning",
    "reason",
    "The autoscaler could not reach Cloud Run; it leaves all pools as they are and looks again.",
)
DEAD_LETTER_DRAINED: Final = _event(
    "dead_letter_drained",
    "info",
    "shard",
    "A dead letter became a failure record in the ledger of its run.",
)
MESSAGE_QUARANTINED: Final = _event(
    "message_quarantined",
    "warning",
    "object reason",
    "A message that names no shard of a known run was stored under `unreadable/`.",
)
MESSAGE_SET_ASIDE: Final = _event(
    "message_set_aside",
    "warning",
    "tier reason",
    "Bytes that are not a message went to the dead letters: the worker knows no state root.",
)

SHARD_LEASED: Final = _event(
    "shard_leased", "info", "shard tier attempt", "A worker leased the message of a shard."
)
SHARD_DONE: Final = _event(
    "shard_done",
    "info",
    "shard tier chunks seconds peak_mib published",
    "Output and receipt are written, ready dependents published, the message acked.",
)
CHUNKS_LEFT_OUT: Final = _event(
    "chunks_left_out",
    "warning",
    "shard chunks example",
    "A shard was made without chunks that do not decode, as was requested; its receipt lists them.",
)
SHARD_ALREADY_DONE: Final = _event(
    "shard_already_done",
    "info",
    "shard tier published",
    "A receipt answers the message: dependents published where missing, the message acked.",
)
SHARD_NOT_READY: Final = _event(
    "shard_not_ready",
    "info",
    "shard tier",
    "An input is not done; the message was acked, the last input's cascade publishes another.",
)
SHARD_CANCELLED: Final = _event(
    "shard_cancelled", "info", "shard tier", "The run is cancelled; the message was acked."
)
SHARD_OF_EARLIER_RUN: Final = _event(
    "shard_of_earlier_run",
    "info",
    "shard tier",
    "The message belongs to an earlier run of the same id; it was acked.",
)
SHARD_RELEASED: Final = _event(
    "shard_released",
    "info",
    "shard tier reason",
    "The message went back to the same tier, without counting as a delivery.",
)
SHARD_ESCALATED: Final = _event(
    "shard_escalated", "warning", "shard tier to reason", "The message went to the next tier."
)
SHARD_DEAD_LETTERED: Final = _event(
    "shard_dead_lettered", "error", "shard tier reason", "The message went to the dead letters."
)
INPUTS_ABSENT: Final = _event(
    "inputs_absent",
    "warning",
    "shard inputs taken_as",
    "Inputs without receipt and without file, as in a volume made elsewhere, count as zeros.",
)
LEASE_EXTENSION_FAILED: Final = _event(
    "lease_extension_failed",
    "warning",
    "reason",
    "The queue did not confirm a lease extension; retried until the lease is lost.",
)
LEASE_LOST: Final = _event(
    "lease_lost",
    "warning",
    "shard tier",
    "The lease ran out by the worker's own clock; work was stopped, nothing published.",
)
EXECUTORS_NOT_FORKED: Final = _event(
    "executors_not_forked",
    "warning",
    "reason",
    "Executors of this worker do not share the memory of their imports; each is spawned alone.",
)
HEARTBEAT_FAILED: Final = _event(
    "heartbeat_failed",
    "warning",
    "run reason",
    "A heartbeat could not be written; work goes on.",
)

RUN_MISSING: Final = _event(
    "run_missing",
    "warning",
    "reason hint",
    "The state roots of a worker or fleet hold no run of its queue; it waits for one.",
)
WORKER_STARTED: Final = _event(
    "worker_started",
    "info",
    "worker tier queue roots slots memory_mib",
    "A worker begins to serve its tier, for the runs below its state roots.",
)
CANARY_ANSWERED: Final = _event(
    "canary_answered",
    "info",
    "worker problems",
    "A worker answered `infra check --canary`; problems name what it cannot read or write.",
)
WORKER_BACKOFF: Final = _event(
    "worker_backoff",
    "warning",
    "reason seconds",
    "A worker or fleet pauses after an error that no shard caused; longer each time in a row.",
)
WORKER_IDLE: Final = _event(
    "worker_idle",
    "info",
    "tier reason",
    "A worker has had no shard for a while: shards wait on other tiers alone, or no run is found.",
)
WORKER_STOPPED: Final = _event("worker_stopped", "info", "worker", "A worker ended in order.")
WORKER_DIED: Final = _event(
    "worker_died",
    "warning",
    "tier pid code",
    "A worker process of the fleet ended unexpectedly; another takes its place.",
)
SHUTDOWN_FORCED: Final = _event(
    "shutdown_forced",
    "warning",
    "seconds",
    "A worker or fleet that was asked to stop waits for storage that never answers: it gives its "
    "message back and ends without waiting.",
)
FLEET_STARTED: Final = _event(
    "fleet_started",
    "info",
    "queue roots cpus",
    "A fleet begins to start workers, for the runs below its state roots.",
)
FLEET_STOPPED: Final = _event("fleet_stopped", "info", "", "A fleet and all its workers ended.")
