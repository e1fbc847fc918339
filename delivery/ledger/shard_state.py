"""States of shards, derived here alone, from nothing but plan and ledger.

A receipt is current if its redo is the highest requested and its inputs equal the inputs' present
receipts. A present or empty shard of the plan counts as done without one.

state     what it means                       who moves it on, and when
waiting   an input is not done yet            the worker of its last input: ready; an input that
                                              dies: blocked
ready     every input is done; a converted    the worker that makes it: done; the drain of its dead
          shard has none                      letter: failed; a redo request for an input: waiting
done      a current receipt                   a redo request, or an input with other bytes: ready
failed    a failure record and no newer       `requeue` or a redo request: ready; `drop`: given up;
          receipt                             a late receipt: done
given up  a failure record that was dropped   a redo request: ready
blocked   an input is failed, given up or     what moves that input on: waiting or ready
          blocked

A run has ended when no shard is waiting or ready. It has succeeded when all are done and none is
incomplete: made without chunks that do not decode.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from delivery.ledger.failures import FailureSummary
from delivery.ledger.plan import Relation
from delivery.ledger.receipts import EMPTY, ReceiptSummary


class ShardState(StrEnum):
    """State of a shard; the table above says what each means."""

    DONE = "done"
    FAILED = "failed"
    GIVEN_UP = "given up"
    BLOCKED = "blocked"
    READY = "ready"
    WAITING = "waiting"


OPEN: Final = frozenset({ShardState.READY, ShardState.WAITING})  # what keeps a run from ending
STUCK: Final = frozenset(  # what blocks dependents
    {ShardState.FAILED, ShardState.GIVEN_UP, ShardState.BLOCKED}
)

ANYTHING: Final = "anything"  # content of a present shard without a receipt; equals any other
NOTHING: Final = "nothing"  # content of a shard that was not made yet; equals no receipt's


def derive(
    relations: Iterable[Relation],
    receipts: Mapping[str, ReceiptSummary],
    failures: Mapping[str, FailureSummary],
    redo: Mapping[str, int],
) -> dict[str, ShardState]:
    """The state of every shard.

    Args:
        relations: of the plan, each after those of its inputs. An input without one is empty.
        receipts: by key.
        failures: by key.
        redo: the highest requested, by key.
    """
    states: dict[str, ShardState] = {}
    contents: dict[str, str] = {}
    for relation in relations:
        key = relation.key
        receipt, requested = receipts.get(key), redo.get(key, 0)
        contents[key] = content_of(relation, receipt)
        if _is_done(relation, receipt, requested, contents):
            states[key] = ShardState.DONE
        elif _is_failed(failures.get(key), receipt, requested):
            states[key] = ShardState.GIVEN_UP if failures[key].dropped else ShardState.FAILED
        else:
            states[key] = _by_inputs(relation, states)
    return states


def content_of(relation: Relation, receipt: ReceiptSummary | None) -> str:
    """What dependents compare of a shard: its receipt's content, or what stands for it."""
    if relation.state == "empty":
        return EMPTY
    if receipt is not None:
        return receipt.content
    return ANYTHING if relation.state == "present" else NOTHING


def _is_done(
    relation: Relation,
    receipt: ReceiptSummary | None,
    requested: int,
    contents: Mapping[str, str],
) -> bool:
    if relation.state == "empty":
        return True
    if receipt is None:
        return relation.state == "present" and requested == 0
    return receipt.redo >= requested and same_inputs(relation, receipt, contents)


def same_inputs(relation: Relation, receipt: ReceiptSummary, contents: Mapping[str, str]) -> bool:
    """Whether the inputs that a receipt was made from are the present ones."""
    for key in relation.inputs:
        content = contents.get(key, EMPTY)
        if content not in (ANYTHING, receipt.inputs.get(key, EMPTY)):
            return False
    return True


def _is_failed(
    failure: FailureSummary | None, receipt: ReceiptSummary | None, requested: int
) -> bool:
    if failure is None or failure.redo < requested:
        return False
    if receipt is None:
        return True
    return (failure.redo, failure.at) > (receipt.redo, receipt.finished)


def _by_inputs(relation: Relation, states: Mapping[str, ShardState]) -> ShardState:
    inputs = {states.get(key, ShardState.DONE) for key in relation.inputs}
    if inputs & STUCK:
        return ShardState.BLOCKED
    return ShardState.READY if inputs <= {ShardState.DONE} else ShardState.WAITING
