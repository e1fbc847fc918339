"""Status of one shard, read from its part of the ledger alone; and the names of states and runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from delivery.ledger.inputs_digest import inputs_digest
from delivery.ledger.plan import Plan, PlanRow, Relation
from delivery.ledger.receipts import EMPTY, ReceiptSummary
from delivery.ledger.run_status import (
    RunStatus,
    describe_incomplete,
    describe_unplanned,
    read_status,
)
from delivery.ledger.shard_state import (
    ANYTHING,
    NOTHING,
    OPEN,
    STUCK,
    ShardState,
    content_of,
    derive,
    same_inputs,
)
from delivery.ledger.stored_run import Run
from delivery.messages import parse_key
from runtime.urls import is_remote

__all__ = [
    "MOST_READS",
    "OPEN",
    "STUCK",
    "RunStatus",
    "ShardState",
    "ShardStatus",
    "derive",
    "describe_incomplete",
    "describe_unplanned",
    "inputs_digest",
    "is_current",
    "read_shard_status",
    "read_status",
    "read_status_for_work",
]

MOST_READS: Final = 2
"""Receipts that are read one by one: a listing costs as much as twelve reads, and waits once."""

_MOST_LISTED: Final = 900  # shards from the first to the last; a page of a listing holds 1,000


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
    contents = {r.key: content_of(r, receipts.get(r.key)) for r in relations}
    receipt = receipts.get(key)
    return ShardStatus(
        row=row,
        state=state,
        redo=redo.get(key, 0),
        receipt=receipt,
        inputs={name: _known(contents.get(name, EMPTY)) for name in row.inputs},
        input_receipts=[receipts[name] for name in row.inputs if name in receipts],
        inputs_match=receipt is not None and same_inputs(relations[-1], receipt, contents),
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
    return None if content in (ANYTHING, NOTHING) else content


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
