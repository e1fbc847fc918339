"""Status of a whole run: its ledger as it was read, and the states that follow from it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from delivery.ledger.failures import FailureSummary
from delivery.ledger.inputs_digest import inputs_digest
from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.shard_state import OPEN, STUCK, ShardState, derive
from delivery.ledger.stored_run import Run
from runtime.text import join_first

T = TypeVar("T")

_NAMED: Final = 5  # shards in a line


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
        for scale, state in zip(self.plan.row_scales, self.states.values(), strict=True):
            found[scale][state] += 1
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
