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

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, TypeVar

from delivery.ledger.failures import FailureSummary
from delivery.ledger.plan import Plan, PlanRow, Relation
from delivery.ledger.receipts import EMPTY, ReceiptSummary
from delivery.ledger.run import Run
from delivery.messages import parse_key
from runtime.text import join_first
from runtime.urls import is_remote


class ShardState(StrEnum):
    """State of a shard; the table above says what each means."""

    DONE = "done"
    FAILED = "failed"
    GIVEN_UP = "given up"
    BLOCKED = "blocked"
    READY = "ready"
    WAITING = "waiting"


T = TypeVar("T")

OPEN: Final = frozenset({ShardState.READY, ShardState.WAITING})  # what keeps a run from ending
STUCK: Final = frozenset(  # what blocks dependents
    {ShardState.FAILED, ShardState.GIVEN_UP, ShardState.BLOCKED}
)

_ANYTHING: Final = "anything"  # content of a present shard without a receipt; equals any other
MOST_READS: Final = 2
"""Receipts that are read one by one: a listing costs as much as twelve reads, and waits once."""

_MOST_LISTED: Final = 900  # shards from the first to the last; a page of a listing holds 1,000
_NAMED: Final = 5  # shards in a line
_NOTHING: Final = "nothing"  # content of a shard that was not made yet; equals no receipt's


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
        contents[key] = _content(relation, receipt)
        if _is_done(relation, receipt, requested, contents):
            states[key] = ShardState.DONE
        elif _is_failed(failures.get(key), receipt, requested):
            states[key] = ShardState.GIVEN_UP if failures[key].dropped else ShardState.FAILED
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
    requested: int,
    contents: Mapping[str, str],
) -> bool:
    if relation.state == "empty":
        return True
    if receipt is None:
        return relation.state == "present" and requested == 0
    return receipt.redo >= requested and _same_inputs(relation, receipt, contents)


def _same_inputs(relation: Relation, receipt: ReceiptSummary, contents: Mapping[str, str]) -> bool:
    for key in relation.inputs:
        content = contents.get(key, EMPTY)
        if content not in (_ANYTHING, receipt.inputs.get(key, EMPTY)):
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


@dataclass(frozen=True)
class RunStatus:
    """The ledger of a whole run as it was read, and the states that follow from it.

    Attributes:
        receipts: of shards of the plan, by key; likewise the others.
        unplanned: records of shards that the plan lacks, such as `failed/s0/beef`; they count for
            nothing.
    """

    plan: Plan
    receipts: Mapping[str, ReceiptSummary]
    failures: Mapping[str, FailureSummary]
    redo: Mapping[str, int]
    unplanned: Sequence[str] = ()

    @cached_property
    def states(self) -> dict[str, ShardState]:
        """The state of every shard of the plan, by key."""
        return derive(self.plan.relations, self.receipts, self.failures, self.redo)

    @cached_property
    def counts(self) -> dict[int, Counter[ShardState]]:
        """Shards by scale and state."""
        found = {scale: Counter[ShardState]() for scale in self.plan.scales}
        for key, state in self.states.items():
            found[parse_key(key)[0]][state] += 1
        return found

    @property
    def ended(self) -> bool:
        """Whether every shard is done, failed, given up or blocked."""
        return OPEN.isdisjoint(self.states.values())

    @cached_property
    def incomplete(self) -> dict[str, int]:
        """Done shards that lack chunks, because they do not decode: how many, by key."""
        found = self.plan.bad_chunks | {
            key: receipt.bad_chunk_count for key, receipt in self.receipts.items()
        }
        done = self.keys(ShardState.DONE)
        return {key: found[key] for key in done if found.get(key)}

    @property
    def succeeded(self) -> bool:
        """Whether every shard is done, and none lacks a chunk."""
        return not self.incomplete and all(
            state is ShardState.DONE for state in self.states.values()
        )

    def keys(self, *states: ShardState) -> list[str]:
        """The shards in any of these states, in the plan's order."""
        return [key for key, state in self.states.items() if state in states]

    def blocked_by(self, key: str) -> tuple[str, ...]:
        """The inputs that block a shard; none if it is not blocked."""
        if self.states[key] is not ShardState.BLOCKED:
            return ()
        return tuple(name for name in self._inputs[key] if self.states.get(name) in STUCK)

    def causes(self, key: str) -> tuple[str, ...]:
        """The failed and given up shards that block this one, at any distance."""
        found: dict[str, None] = {}
        open_keys, seen = list(self.blocked_by(key)), {key}
        while open_keys:
            cause = open_keys.pop()
            if cause not in seen:
                seen.add(cause)
                further = self.blocked_by(cause)
                open_keys.extend(further)
                found.update({} if further else {cause: None})
        return tuple(sorted(found))

    @cached_property
    def _inputs(self) -> dict[str, tuple[str, ...]]:
        return {relation.key: relation.inputs for relation in self.plan.relations}

    def input_receipts(self, row: PlanRow) -> list[ReceiptSummary]:
        """The present receipts of a shard's inputs; those empty or present may have none."""
        return [self.receipts[key] for key in row.inputs if key in self.receipts]

    def inputs_digest(self, row: PlanRow) -> str:
        """Digest of the shard's present inputs; see the function."""
        return inputs_digest(self.redo.get(row.key, 0), self.input_receipts(row))


def describe_incomplete(incomplete: Mapping[str, int]) -> str:
    """One line on shards that lack chunks, and how to mend them.

    Args:
        incomplete: chunks that each lacks, by key.
    """
    chunks = sum(incomplete.values())
    return (
        f"{len(incomplete):,} shard{'' if len(incomplete) == 1 else 's'} made without "
        f"{chunks:,} chunk{'' if chunks == 1 else 's'} that did not decode: "
        f"{join_first(list(incomplete), _NAMED)}. Export their files again; the same enqueue then "
        "makes them again"
    )


def describe_unplanned(unplanned: Sequence[str]) -> str:
    """One line on records of shards that the plan lacks."""
    one = len(unplanned) == 1
    return (
        f"{len(unplanned):,} record{'' if one else 's'} of {'a shard' if one else 'shards'} that "
        f"the plan lacks, passed over: {join_first(list(unplanned), _NAMED)}"
    )


def read_status(run: Run) -> RunStatus:
    """Read the ledger of a run: three listings, and the plan if it was not read before."""
    # Receipts last, so that a failure is never seen without the receipt that outlived it. What
    # changes meanwhile can make a shard look open that is not, which costs a duplicate.
    redo = run.redo()
    failures = run.failures.list()
    receipts = run.receipts.list(run.plan.bounds)
    return RunStatus(
        run.plan,
        _planned(run.plan, receipts),
        _planned(run.plan, failures),
        _planned(run.plan, redo),
        [
            f"{folder}/{key}"
            for folder, keys in (("receipts", receipts), ("failed", failures), ("redo", redo))
            for key in keys
            if key not in run.plan
        ],
    )


def _planned(plan: Plan, records: Mapping[str, T]) -> Mapping[str, T]:
    """The records of shards of the plan: a message can have brought others."""
    return {key: record for key, record in records.items() if key in plan}


@dataclass(frozen=True)
class ShardStatus:
    """Status of one shard, read from its part of the ledger alone.

    Attributes:
        state: its state, but WAITING also where it is blocked.
        redo: the highest redo requested.
        receipt: its present receipt, current or not.
        inputs: key → crc32c, "empty", or None where the ledger does not know (present before).
        input_receipts: of its inputs, where all are done.
        inputs_match: whether the receipt's inputs equal the inputs' present receipts.
    """

    row: PlanRow
    state: ShardState
    redo: int
    receipt: ReceiptSummary | None
    inputs: Mapping[str, str | None]
    input_receipts: Sequence[ReceiptSummary]
    inputs_match: bool

    def answers(self, redo: int) -> bool:
        """Whether what a message with this redo requests is made already."""
        if self.state is ShardState.DONE:
            return True
        return self.receipt is not None and self.inputs_match and self.receipt.redo >= redo

    @property
    def inputs_digest(self) -> str:
        """Digest of the shard's present inputs; see the function."""
        return inputs_digest(self.redo, self.input_receipts)


def inputs_digest(redo: int, input_receipts: Iterable[ReceiptSummary]) -> str:
    """Digest of a dependent's redo and inputs; changes with any remake of an input.

    A publish marker holds it, so that an old marker never suppresses a publication that is due.
    """
    made = [(r.key, r.redo, r.content, r.finished.isoformat()) for r in input_receipts]
    text = json.dumps([redo, sorted(made)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_shard_status(
    run: Run,
    key: str,
    redo: Mapping[str, int] | None = None,
    *,
    known: Mapping[str, ReceiptSummary] | None = None,
    by_failure: bool = True,
    most_reads: int = MOST_READS,
) -> ShardStatus:
    """Read the status of one shard: its receipt, its failure and its inputs' receipts.

    Reading stops at the first input that is missing. Only where a redo was ever requested can an
    input's receipt be stale; then the inputs' own inputs are read too.

    Args:
        run: the shard's run.
        key: of the shard.
        redo: the redo requests, if they were read a moment ago; None reads them.
        known: receipts that were read a moment ago, by key.
        by_failure: whether a failed shard is to be told from a ready one, which costs a request.
        most_reads: receipts of a scale to read one by one; more are listed, in a bucket.
    """
    row, redo = run.plan.row(key), run.redo() if redo is None else redo
    relations = _part(run.plan, key, deep=bool(redo))
    receipts = _read_receipts(run, relations, known or {}, most_reads)
    failure = run.failures.summary(key) if by_failure else None
    state = derive(relations, receipts, {key: failure} if failure else {}, redo)[key]
    contents = {r.key: _content(r, receipts.get(r.key)) for r in relations}
    receipt = receipts.get(key)
    return ShardStatus(
        row=row,
        state=state,
        redo=redo.get(key, 0),
        receipt=receipt,
        inputs={name: _known(contents.get(name, EMPTY)) for name in row.inputs},
        input_receipts=[receipts[name] for name in row.inputs if name in receipts],
        inputs_match=receipt is not None and _same_inputs(relations[-1], receipt, contents),
    )


def read_status_for_work(
    run: Run, key: str, redo: Mapping[str, int], asked: int, *, is_new: bool
) -> ShardStatus:
    """The status by which a message is settled, or work on its shard begins.

    Redo requests that are not known cost work at most, since the output is checked by new ones. So
    old ones do where there is work to do; they are read anew before a message is acked without.

    Args:
        run: the shard's run.
        key: of the shard.
        redo: the redo requests, as they were read some time ago.
        asked: the message's redo.
        is_new: whether they were read since the message was leased.
    """
    status = read_shard_status(run, key, redo, by_failure=False)
    settled = status.state in {ShardState.DONE, ShardState.WAITING} or status.redo < asked
    if is_new or not settled:
        return status
    return read_shard_status(run, key, run.redo(run.overviews.take()), by_failure=False)


def is_current(run: Run, status: ShardStatus, redo: Mapping[str, int] | None = None) -> bool:
    """Whether a shard would still be made from the inputs in `status`.

    False: a redo was requested or an input was remade since; the output must not be published,
    since old bytes would replace new ones, and the message is to be released.

    Args:
        run: the shard's run.
        status: of the shard before the work.
        redo: the redo requests, if they were read a moment ago; None reads them.
    """
    # Everything is read anew: a worker checks just before its output appears.
    row, redo = status.row, run.redo() if redo is None else redo
    if redo.get(row.key, 0) != status.redo:
        return False
    *inputs, _ = _part(run.plan, row.key, deep=False)
    receipts = _read_receipts(run, inputs, {}, MOST_READS)
    present = [receipts[name] for name in row.inputs if name in receipts]
    return inputs_digest(status.redo, present) == status.inputs_digest


def _known(content: str) -> str | None:
    return None if content in (_ANYTHING, _NOTHING) else content


def _part(plan: Plan, key: str, *, deep: bool) -> list[Relation]:
    """The relations that the state of `key` depends on, its own last."""
    own = _relation(plan.row(key))
    inputs = [_relation(plan.row(name)) for name in own.inputs if name in plan]
    if not deep:
        return [*(relation._replace(inputs=()) for relation in inputs), own]
    below = {name for relation in inputs for name in relation.inputs if name in plan}
    lowest = [_relation(plan.row(name))._replace(inputs=()) for name in sorted(below)]
    return [*lowest, *inputs, own]


def _relation(row: PlanRow) -> Relation:
    return Relation(row.key, row.state, row.inputs)


def _read_receipts(
    run: Run,
    relations: Sequence[Relation],
    known: Mapping[str, ReceiptSummary],
    most_reads: int,
) -> dict[str, ReceiptSummary]:
    """The receipts of these shards, read backwards up to a missing one that is to be made."""
    # Inputs come before those below them, so that a receipt that is not read makes no difference.
    found: dict[str, ReceiptSummary] = {}
    reader = _Reader(run, relations, known, most_reads)
    for number, relation in enumerate(reversed(relations)):
        receipt = None if relation.state == "empty" else reader.read(relation.key)
        if receipt is not None:
            found[relation.key] = receipt
        elif number and relation.state == "make":
            break
    return found


class _Reader:
    """Reads receipts one by one, or in a bucket those of a scale with one listing."""

    def __init__(
        self,
        run: Run,
        relations: Iterable[Relation],
        known: Mapping[str, ReceiptSummary],
        most_reads: int,
    ) -> None:
        self._run = run
        self._known = known
        self._most_reads = most_reads
        self._keys: dict[int, list[str]] = {}  # by scale
        self._listed: dict[int, dict[str, ReceiptSummary]] = {}
        for relation in relations if is_remote(run.uri) else ():
            if relation.state != "empty" and relation.key not in known:
                self._keys.setdefault(parse_key(relation.key)[0], []).append(relation.key)

    def read(self, key: str) -> ReceiptSummary | None:
        """The shard's receipt, or None."""
        if key in self._known:
            return self._known[key]
        scale = parse_key(key)[0]
        keys = self._keys.get(scale, ())
        if len(keys) <= self._most_reads or self._run.plan.span(keys) > _MOST_LISTED:
            return self._run.receipts.summary(key)
        if scale not in self._listed:
            self._listed[scale] = self._run.receipts.some(keys)
        return self._listed[scale].get(key)
