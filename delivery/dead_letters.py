"""Drain of the dead letters: each is written to the ledger of its run first and acked afterwards.

Any of `status`, `--wait`, fleet, autoscale and `dead-letters` drains; at the same time, too.
"""

from dataclasses import dataclass, field

from delivery.broker.base import DEAD, DEAD_LETTER_SOURCE, MAX_DELIVERIES, Broker, Delivery
from delivery.ledger import failures, quarantine
from delivery.ledger.run import Run
from delivery.messages import Hop, NewerSchema, ShardMessage, UnreadableMessage, decode, now
from runtime.errors import UnreachableError
from runtime.storage import Storage


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


def drain(broker: Broker, state: Storage, wait_s: float = 0.0) -> DrainResult:
    """Take every dead letter, write it to the ledger of its own run, ack it.

    Args:
        broker: of the dead letters.
        state: the state root, for the quarantine of letters that name no known run.
        wait_s: how long to wait for the first letter, and after each for the next.
    """
    done = DrainResult()
    later: list[Delivery] = []
    while (letter := broker.lease(DEAD, wait_s)) is not None:
        try:
            _record(letter, state, done)
        except (NewerSchema, UnreachableError) as error:
            done.left.append(str(error))
            later.append(letter)  # released at the end: before, it would be delivered again at once
        else:
            broker.ack(letter)
    for letter in later:
        broker.nack(letter)
    return done


def _record(letter: Delivery, state: Storage, done: DrainResult) -> None:
    try:
        message = decode(letter.data)
    except UnreadableMessage as error:
        done.unreadable.append(quarantine.store(state, error.data, error.why))
        return
    run = Run(message.run)
    if not run.planned():
        why = f"its run {message.run} is gone"
        done.unreadable.append(quarantine.store(state, letter.data, why))
        return
    run.failures.put(_failure(message, letter))
    done.keys.append((message.run, message.key))


def _failure(message: ShardMessage, letter: Delivery) -> failures.Failure:
    """The record; a letter that the broker itself moved here has its deliveries for a reason."""
    if message.reason is not None:
        return failures.from_letter(message, message.reason)
    tier = letter.attributes.get(f"{DEAD_LETTER_SOURCE}Subscription", "unknown")
    count = letter.attributes.get(f"{DEAD_LETTER_SOURCE}DeliveryCount", "")
    attempts = int(count) if count.isdigit() else MAX_DELIVERIES
    reason = f"delivered {attempts} times on tier {tier} and never answered: its workers died"
    hop = Hop(tier=tier, reason=reason, at=now(), attempt=attempts)
    return failures.from_letter(message.after(hop), reason)
