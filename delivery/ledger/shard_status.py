"""What became of each shard: derived here, in one place, from plan and ledger alone.

done      a receipt whose redo is the highest asked for, and whose inputs equal the inputs'
          present receipts; or present from before the run; or known to be all zeros
failed    a failure record and no newer receipt; given up, if it was dropped
blocked   an input is failed, given up or blocked
ready     all inputs are done (a converted shard has none)
waiting   else
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple

from delivery.ledger import failures as failure_records
from delivery.ledger import receipts as receipt_records
from delivery.ledger.failures import FailureSummary
from delivery.ledger.plan import Plan, PlanRow, Relation
from delivery.ledger.receipts import EMPTY, ReceiptSummary
from delivery.ledger.run import Run
from delivery.messages import parse_key


class State(StrEnum):
    """Where a shard stands."""

    DONE = "done"
    FAILED = "failed"
    GIVEN_UP = "given up"
    BLOCKED = "blocked"
    READY = "ready"
    WAITING = "waiting"


OPEN: Final = frozenset({State.READY, State.WAITING})  # while there are any, a run has not ended
STUCK: Final = frozenset({State.FAILED, State.GIVEN_UP, State.BLOCKED})  # these block dependents


class ShardState(NamedTuple):
    """Where one shard stands.

    Attributes:
        state: where.
        blocked_by: the inputs that block it.
    """

    state: State
    blocked_by: tuple[str, ...] = ()


_DONE: Final = ShardState(State.DONE)
_READY: Final = ShardState(State.READY)
_WAITING: Final = ShardState(State.WAITING)
_FAILED: Final = ShardState(State.FAILED)
_GIVEN_UP: Final = ShardState(State.GIVEN_UP)

_ANYTHING: Final = "anything"  # content of a shard that is there, but never had a receipt here
_NOTHING: Final = "nothing"  # content of a shard that nobody made yet; equals no receipt's


def derive(
    relations: Iterable[Relation],
    receipts: Mapping[str, ReceiptSummary],
    failures: Mapping[str, FailureSummary],
    redo: Mapping[str, int],
) -> dict[str, ShardState]:
    """Where every shard stands.

    Args:
        relations: of the plan, each after those of its inputs. An input without one is empty.
        receipts: by key.
        failures: by key.
        redo: the highest asked for, by key.
    """
    states: dict[str, ShardState] = {}
    contents: dict[str, str] = {}
    for relation in relations:
        key = relation.key
        receipt, asked = receipts.get(key), redo.get(key, 0)
        contents[key] = _content(relation, receipt)
        if _is_done(relation, receipt, asked, contents):
            states[key] = _DONE
        elif _is_failed(failures.get(key), receipt, asked):
            states[key] = _GIVEN_UP if failures[key].dropped else _FAILED
        else:
            states[key] = _by_inputs(relation, states)
    return states


def _content(relation: Relation, receipt: ReceiptSummary | None) -> str:
    if relation.state == "empty":
        return EMPTY
    if receipt is not None:
        return receipt.content
    return _ANYTHING if relation.state == "present" else _NOTHING


def _is_done(
    relation: Relation,
    receipt: ReceiptSummary | None,
    asked: int,
    contents: Mapping[str, str],
) -> bool:
    if relation.state == "empty":
        return True
    if receipt is None:
        return relation.state == "present" and asked == 0
    return receipt.redo >= asked and _same_inputs(relation, receipt, contents)


def _same_inputs(relation: Relation, receipt: ReceiptSummary, contents: Mapping[str, str]) -> bool:
    for key in relation.inputs:
        content = contents.get(key, EMPTY)
        if content not in (_ANYTHING, receipt.inputs.get(key, EMPTY)):
            return False
    return True


def _is_failed(failure: FailureSummary | None, receipt: ReceiptSummary | None, asked: int) -> bool:
    if failure is None or failure.redo < asked:
        return False
    if receipt is None:
        return True
    return (failure.redo, failure.at) > (receipt.redo, receipt.finished)


def _by_inputs(relation: Relation, states: Mapping[str, ShardState]) -> ShardState:
    inputs = [(key, states.get(key, _DONE).state) for key in relation.inputs]
    stuck = tuple(key for key, state in inputs if state in STUCK)
    if stuck:
        return ShardState(State.BLOCKED, stuck)
    return _READY if all(state is State.DONE for _, state in inputs) else _WAITING


@dataclass(frozen=True)
class RunStatus:
    """Where a whole run stands: the ledger as it was read, and what follows from it."""

    plan: Plan
    receipts: Mapping[str, ReceiptSummary]
    failures: Mapping[str, FailureSummary]
    redo: Mapping[str, int]

    @cached_property
    def states(self) -> dict[str, ShardState]:
        """Where every shard of the plan stands, by key."""
        return derive(self.plan.relations, self.receipts, self.failures, self.redo)

    @cached_property
    def counts(self) -> dict[int, Counter[State]]:
        """Shards by scale and state."""
        found = {scale: Counter[State]() for scale in self.plan.scales}
        for key, shard in self.states.items():
            found[parse_key(key)[0]][shard.state] += 1
        return found

    @property
    def ended(self) -> bool:
        """Whether every shard is done, failed, given up or blocked."""
        return not any(shard.state in OPEN for shard in self.states.values())

    @property
    def succeeded(self) -> bool:
        """Whether every shard is done."""
        return all(shard.state is State.DONE for shard in self.states.values())

    def keys(self, state: State) -> list[str]:
        """The shards that stand there, in the plan's order."""
        return [key for key, shard in self.states.items() if shard.state is state]

    def causes(self, key: str) -> tuple[str, ...]:
        """The failed and given up shards that block this one, however far below."""
        found: dict[str, None] = {}
        open_keys, seen = list(self.states[key].blocked_by), {key}
        while open_keys:
            cause = open_keys.pop()
            if cause not in seen:
                seen.add(cause)
                further = self.states[cause].blocked_by
                open_keys.extend(further)
                found.update({} if further else {cause: None})
        return tuple(sorted(found))

    def input_receipts(self, row: PlanRow) -> list[ReceiptSummary]:
        """The present receipts of a shard's inputs; those empty or present may have none."""
        return [self.receipts[key] for key in row.inputs if key in self.receipts]

    def inputs_digest(self, row: PlanRow) -> str:
        """What the shard would be made from now; see `inputs_digest`."""
        return inputs_digest(self.redo.get(row.key, 0), self.input_receipts(row))


def read_status(run: Run) -> RunStatus:
    """Read the ledger of a run: three listings, and the plan if it is not known yet.

    Receipts are read last, so that a failure is never seen without the receipt that outlived it.
    What changes meanwhile can make a shard look open that is not, which costs a duplicate.
    """
    redo = run.redo()
    failures = failure_records.list_all(run)
    return RunStatus(run.plan, receipt_records.list_all(run), failures, redo)


@dataclass(frozen=True)
class ShardStatus:
    """Where one shard stands, read from its part of the ledger alone.

    Attributes:
        state: BLOCKED is not told from WAITING here.
        asked: the highest redo asked for.
        receipt: its present receipt, whatever it is worth.
        inputs: key → crc32c, "empty", or None where the ledger does not know (present before).
        input_receipts: of its inputs, where all are done.
        fits: whether the receipt's inputs equal the inputs' present receipts.
    """

    row: PlanRow
    state: State
    asked: int
    receipt: ReceiptSummary | None
    inputs: Mapping[str, str | None]
    input_receipts: Sequence[ReceiptSummary]
    fits: bool

    def answers(self, redo: int) -> bool:
        """Whether a message with this redo asks for something that is already there."""
        if self.state is State.DONE:
            return True
        return self.receipt is not None and self.fits and self.receipt.redo >= redo

    @property
    def inputs_digest(self) -> str:
        """What the shard would be made from now; see `inputs_digest`."""
        return inputs_digest(self.asked, self.input_receipts)


def inputs_digest(asked: int, input_receipts: Iterable[ReceiptSummary]) -> str:
    """Digest of what a dependent would be made from: another after any remake of an input.

    A mark holds it, so that an old mark never keeps a shard from being published again.
    """
    made = [(r.key, r.redo, r.content, r.finished.isoformat()) for r in input_receipts]
    text = json.dumps([asked, sorted(made)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_shard_status(run: Run, key: str) -> ShardStatus:
    """Where one shard stands, at the cost of reading its receipt, failure and inputs' receipts.

    Reading stops at the first input that is missing. Only where something was ever asked for
    again can an input's receipt be stale; then the inputs' own inputs are read too.
    """
    row, redo = run.plan.row(key), run.redo()
    relations = _part(run.plan, key, deep=bool(redo))
    receipts = _read_receipts(run, relations)
    failure = run.failures.brief(key)
    states = derive(relations, receipts, {key: failure} if failure else {}, redo)
    contents = {r.key: _content(r, receipts.get(r.key)) for r in relations}
    receipt = receipts.get(key)
    return ShardStatus(
        row=row,
        state=states[key].state,
        asked=redo.get(key, 0),
        receipt=receipt,
        inputs={name: _known(contents.get(name, EMPTY)) for name in row.inputs},
        input_receipts=[receipts[name] for name in row.inputs if name in receipts],
        fits=receipt is not None and _same_inputs(relations[-1], receipt, contents),
    )


def is_current(run: Run, standing: ShardStatus) -> bool:
    """Whether a shard would still be made from what it was examined for.

    A worker asks just before its output appears. False: it was asked for again, or an input was
    remade, since; whoever goes on would put old bytes over new ones. The message goes back.
    """
    now = read_shard_status(run, standing.row.key)
    return (now.asked, now.inputs_digest) == (standing.asked, standing.inputs_digest)


def _known(content: str) -> str | None:
    return None if content in (_ANYTHING, _NOTHING) else content


def _part(plan: Plan, key: str, *, deep: bool) -> list[Relation]:
    """The relations that the state of `key` depends on, its own the last."""
    own = _relation(plan.row(key))
    inputs = [_relation(plan.row(name)) for name in own.inputs if name in plan]
    if not deep:
        return [*(relation._replace(inputs=()) for relation in inputs), own]
    below = {name for relation in inputs for name in relation.inputs if name in plan}
    lowest = [_relation(plan.row(name))._replace(inputs=()) for name in sorted(below)]
    return [*lowest, *inputs, own]


def _relation(row: PlanRow) -> Relation:
    return Relation(row.key, row.state, row.inputs)


def _read_receipts(run: Run, relations: Sequence[Relation]) -> dict[str, ReceiptSummary]:
    """The receipts of these shards, the last one's first, up to a missing one that is to be made.

    Inputs stand before those below them, so that what is not read makes no difference.
    """
    found: dict[str, ReceiptSummary] = {}
    for number, relation in enumerate(reversed(relations)):
        receipt = None if relation.state == "empty" else run.receipts.brief(relation.key)
        if receipt is not None:
            found[relation.key] = receipt
        elif number and relation.state == "make":
            break
    return found
