"""Drain of the dead letters: each is written to the ledger of its run first and acked afterwards.

Any of `status`, `--wait`, fleet, autoscale and `dead-letters` drains; at the same time, too.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from delivery.broker.base import DEAD, DEAD_LETTER_SOURCE, MAX_DELIVERIES, Broker, Delivery
from delivery.ledger import failures, quarantine
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run
from delivery.messages import Hop, NewerSchema, ShardMessage, UnreadableMessage, decode, now
from delivery.state_roots import StateRoots, can_be_run, describe_foreign
from runtime.errors import UnreachableError
from runtime.storage import Storage

_COUNT: Final = re.compile(r"[0-9]{1,6}")


@dataclass
class DrainResult:
    """Outcome of a drain.

    Attributes:
        keys: run URI and shard key of each letter that became a failure record.
        unreadable: paths of quarantined letters: broken, or of a run that is gone.
        left: reasons of letters that stay in the queue for now.
    """

    keys: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def drain(
    broker: Broker, state: Storage, wait_s: float = 0.0, *, roots: StateRoots | None = None
) -> DrainResult:
    """Take every dead letter, write it to the ledger of its own run, ack it.

    Args:
        broker: of the dead letters.
        state: the state root, for the quarantine of letters that name no known run.
        wait_s: how long to wait for the first letter, and after each for the next.
        roots: all state roots whose runs are in these queues. None: `state` and those that the
            queues name; where they name none, letters of other roots stay, for who knows these.
    """
    all_known = roots is not None or broker.names_state_roots
    roots = roots or StateRoots(broker, [state.url])
    done = DrainResult()
    later: list[Delivery] = []
    while (letter := broker.lease(DEAD, wait_s)) is not None:
        try:
            _record(letter, state, roots, done, all_known=all_known)
        except (NewerSchema, UnreachableError, LedgerDamaged) as error:
            done.left.append(str(error))
            later.append(letter)  # released at the end: before, it would be delivered again at once
        else:
            broker.ack(letter)
    for letter in later:
        broker.nack(letter)
    return done


def _record(
    letter: Delivery, state: Storage, roots: StateRoots, done: DrainResult, *, all_known: bool
) -> None:
    try:
        message = decode(letter.data)
    except UnreadableMessage as error:
        done.unreadable.append(quarantine.store(state, error.data, error.why))
        return
    if not roots.hold(message.run):
        why = describe_foreign(message.run)
        if not all_known and can_be_run(message.run):
            raise UnreachableError(why)
        done.unreadable.append(quarantine.store(state, letter.data, why))
        return
    run = Run(message.run)
    if not run.planned():
        why = f"its run {message.run} is gone"
        done.unreadable.append(quarantine.store(state, letter.data, why))
        return
    if message.run_token not in {None, run.info.token}:
        why = f"it belongs to an earlier run of the id {run.run_id}"
        done.unreadable.append(quarantine.store(state, letter.data, why))
        return
    run.failures.put(_trusted(_failure(message, letter), run))
    done.keys.append((run.uri, message.key))


def _trusted(failure: failures.Failure, run: Run) -> failures.Failure:
    """The record with kind and redo as plan and ledger have them, and no time to come.

    A letter with a redo or a time beyond these would outlast any receipt.
    """
    redo = min(failure.redo, run.redo().get(failure.key, 0))
    kind = run.plan.row(failure.key).kind if failure.key in run.plan else failure.kind
    return failure.model_copy(update={"redo": redo, "kind": kind, "at": min(failure.at, now())})


def _failure(message: ShardMessage, letter: Delivery) -> failures.Failure:
    """The record; a letter that the broker itself moved here has its deliveries for a reason."""
    if message.reason is not None:
        return failures.from_letter(message, message.reason)
    tier = letter.attributes.get(f"{DEAD_LETTER_SOURCE}Subscription", "unknown")
    count = letter.attributes.get(f"{DEAD_LETTER_SOURCE}DeliveryCount", "")
    attempts = int(count) if _COUNT.fullmatch(count) else MAX_DELIVERIES
    reason = f"delivered {attempts} times on tier {tier} and never answered: its workers died"
    hop = Hop(tier=tier, reason=reason, at=now(), attempt=attempts)
    return failures.from_letter(message.after(hop), reason)
