"""Provenance: what each shard of a destination was made from, over all its runs.

A shard counts as present only if its file is the one that its newest receipt describes, and if it
was made from what it would be made from now: the same source files, or the present input shards.
Otherwise it is to be made, with the reason in words.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from sys import intern
from typing import Final

from delivery.ledger.plan import PlanRow, PlanState
from delivery.ledger.receipts import EMPTY, ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus
from delivery.messages import Kind, parse_key
from runtime.storage import ObjectInfo
from runtime.text import join_first

NOT_MADE: Final = "not made yet"
_NAMED: Final = 3  # source files in a reason
_CHUNKS_NAMED: Final = 50


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a shard that exists: its newest receipt in short, or its adoption.

    Attributes:
        run_id: of the run that made or adopted it.
        content: checksum, or "empty"; None where it is not known.
        size: bytes of its file; None if adopted.
        inputs: of a downsampled shard: key → content; None if adopted.
        redo_due: another making was requested and has not been done.
        bad_chunks: that it lacks, because they did not decode.
    """

    run_id: str
    kind: Kind
    content: str | None
    size: int | None
    source_digest: str | None
    inputs: Mapping[str, str] | None
    chunks: int
    finished: datetime
    redo_due: bool = False
    bad_chunks: int = 0

    @property
    def empty(self) -> bool:
        """Whether the shard is all zeros and has no file."""
        return self.content == EMPTY


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a shard is to be made.

    Attributes:
        reason: of one to be made, in words.
        follows: it is to be made only because an input is.
        content: of one that stays; None where it is not known.
        known: whether a run is known that made it.
        bad_chunks: that one which stays lacks.
    """

    state: PlanState
    reason: str = ""
    follows: bool = False
    content: str | None = None
    known: bool = True
    bad_chunks: int = 0


@dataclass
class Provenance:
    """The newest receipts of a destination, folded run by run, the oldest first.

    Attributes:
        origins: of its shards, by key.
        unplanned: records of shards that the plans of their runs lack, such as
            `RUN/failed/s0/beef`.
    """

    origins: dict[str, Origin] = field(default_factory=dict)
    unplanned: list[str] = field(default_factory=list)
    _runs: dict[str, Run] = field(default_factory=dict)
    _attempts: dict[str, datetime] = field(default_factory=dict)  # planned to make, no receipt
    _cancelled: set[str] = field(default_factory=set)  # ids of runs

    def add(self, run: Run, status: RunStatus, *, cancelled: bool = False) -> None:
        """Fold in the ledger of a run that was planned after those before.

        A receipt of a cancelled run never outlasts that of a later run, whatever their clocks say:
        its worker may have written it when it learned too late of the cancellation.
        """
        info = run.info
        self._runs[run.run_id] = run
        if cancelled:
            self._cancelled.add(run.run_id)
        self.unplanned += [f"{run.run_id}/{path}" for path in status.unplanned]
        for key, receipt in status.receipts.items():
            known = self.origins.get(key)
            late = known is not None and known.run_id in self._cancelled
            if known is None or late or receipt.finished >= known.finished:
                self.origins[key] = _of_receipt(run, receipt, status.redo.get(key, 0))
        for key, state, _ in status.plan.relations:
            if state == "make" and key not in status.receipts:
                self._attempts[key] = info.created
        if info.adopted:
            for row in status.plan.rows():
                if row.state == "present" and row.key not in self.origins:
                    self.origins[row.key] = _of_adoption(run, row)

    def keys(self, scale: int) -> Iterator[str]:
        """Keys of one scale that have an origin."""
        return (key for key in self.origins if parse_key(key)[0] == scale)

    def run_ids(self, scale: int) -> set[str]:
        """Runs that made the present shards of one scale."""
        return {self.origins[key].run_id for key in self.keys(scale)}

    def judge(
        self,
        row: PlanRow,
        file: ObjectInfo | None,
        remade: Container[str],
        contents: Mapping[str, str | None],
    ) -> Verdict:
        """Judge a shard that a request makes.

        Args:
            row: with its present sources or inputs.
            file: its file at the destination.
            remade: keys of inputs that are to be made.
            contents: of the other inputs, by key; those that are not in it are empty.
        """
        origin = self.origins.get(row.key)
        if reason := self.file_reason(row.key, file):
            return Verdict("make", reason)
        if origin is None:
            return Verdict("present", content=file.crc32c if file else None, known=False)
        again = [key for key in row.inputs if key in remade]
        reason = self._source_reason(row, origin) or _input_reason(row, origin, contents, remade)
        if reason or again:
            text = reason or f"made again because its input {again[0]} is"
            return Verdict("make", text, follows=not reason)
        content = origin.content or (file.crc32c if file else None)
        state: PlanState = "empty" if origin.empty else "present"
        return Verdict(state, content=content, bad_chunks=origin.bad_chunks)

    def file_reason(self, key: str, file: ObjectInfo | None) -> str:
        """Why a shard's file cannot stay as it is, by its receipt; empty if it can."""
        origin = self.origins.get(key)
        if origin is not None and origin.redo_due:
            return "another making of it was requested"
        if file is None:
            if origin is None:
                return NOT_MADE
            return "" if origin.empty else "its file is gone"
        tried = self._attempts.get(key)
        known = origin.finished if origin is not None else None
        if tried is not None and tried <= file.updated and (known is None or known < tried):
            return "the run that was making it left no receipt"
        return "" if origin is None else _file_differs(origin, file)

    def bad_chunks_reason(self, key: str) -> str:
        """What a shard lacks, with the coordinates of each chunk; empty if it is whole."""
        origin = self.origins.get(key)
        if origin is None or not origin.bad_chunks:
            return ""
        receipt = self._runs[origin.run_id].receipts.get(key)
        chunks = [str(bad.chunk) for bad in receipt.bad_chunks] if receipt else []
        one = origin.bad_chunks == 1
        return (
            f"made without {origin.bad_chunks:,} chunk{'' if one else 's'} that "
            f"{'does' if one else 'do'} not decode: {join_first(chunks, _CHUNKS_NAMED)}"
        )

    def planned(self, key: str) -> PlanRow | None:
        """The shard's row in the plan of the run that made it."""
        origin = self.origins.get(key)
        plan = self._runs[origin.run_id].plan if origin is not None else None
        return plan.row(key) if plan is not None and key in plan else None

    def _source_reason(self, row: PlanRow, origin: Origin) -> str:
        """How the source files differ from those that the shard was made from."""
        if row.kind != "convert" or origin.source_digest == row.source_digest is not None:
            return ""
        planned = self.planned(row.key)
        if planned is None:
            return "" if origin.source_digest is None else changed_sources((), row.sources)
        known = origin.source_digest or planned.source_digest
        same = row.source_digest in (known, None) if known else planned.bytes_in == row.bytes_in
        if same and planned.sources == row.sources:
            return ""
        return changed_sources(planned.sources, row.sources)


def changed_sources(before: Sequence[str], now: Sequence[str]) -> str:
    """Difference between two lists of source files, in words."""
    parts = []
    if came := sorted(set(now) - set(before)):
        parts.append(f"source files came: {join_first(came, _NAMED)}")
    if went := sorted(set(before) - set(now)):
        parts.append(f"source files went: {join_first(went, _NAMED)}")
    return "; ".join(parts) or f"source files changed: {join_first(now, _NAMED)}"


def _of_receipt(run: Run, receipt: ReceiptSummary, redo: int) -> Origin:
    return Origin(
        run_id=run.run_id,
        kind=receipt.kind,
        content=receipt.content,
        size=receipt.bytes_out,
        source_digest=receipt.source_digest,
        inputs={intern(key): content for key, content in receipt.inputs.items()},
        chunks=receipt.chunks,
        finished=receipt.finished,
        redo_due=redo > receipt.redo,
        bad_chunks=receipt.bad_chunk_count,
    )


def _of_adoption(run: Run, row: PlanRow) -> Origin:
    return Origin(
        run_id=run.run_id,
        kind=row.kind,
        content=row.crc32c,
        size=None,
        source_digest=row.source_digest,
        inputs=None,
        chunks=0,
        finished=run.info.created,
    )


def _file_differs(origin: Origin, file: ObjectInfo) -> str:
    """How a file differs from its receipt, in words."""
    if origin.empty:
        return "it has a file, although its receipt says that it is empty"
    if origin.size not in (None, file.size):
        return f"its file is {file.size:,} bytes, its receipt says {origin.size:,}"
    if file.crc32c is not None and origin.content not in (None, file.crc32c):
        return f"its file's crc32c is {file.crc32c}, its receipt says {origin.content}"
    return ""


def _input_reason(
    row: PlanRow, origin: Origin, contents: Mapping[str, str | None], remade: Container[str]
) -> str:
    """How the input shards differ from those that the shard was made from."""
    if row.kind != "downsample" or origin.inputs is None:
        return ""
    for key in sorted({*row.inputs, *origin.inputs}):
        now, then = contents.get(key, EMPTY), origin.inputs.get(key, EMPTY)
        if key not in remade and now not in (None, then):
            return f"its input {key} was made again since"
    return ""
