"""Receipts: one per finished shard, written after its output and before its cascade and ack.

A receipt is superseded by one of a higher redo, or made from other inputs; a duplicate changes
nothing, and an older redo never supersedes a newer one. (Two writers in the same instant might
still cross; then the shard counts as not done and is made again.)
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from delivery.ledger.fields import Count, Seconds
from delivery.ledger.record_store import RecordStore
from delivery.messages import Hop, Kind
from runtime.storage import Storage

EMPTY: Final = "empty"  # stands for the checksum of a shard of zeros, which has no file
FOLDER: Final = "receipts"
_PHASES: Final = {"unzip": "decompress"}  # as formerly stored: as named now


class BadChunk(BaseModel):
    """A chunk that the shard lacks, since a row that it is made of does not decode.

    Attributes:
        chunk: grid coordinates x, y, z at the shard's scale.
        file: path or URL of the export file.
        row: number in that file.
        reason: why it does not decode.
    """

    model_config = ConfigDict(frozen=True)

    chunk: tuple[int, int, int]
    file: str
    row: int
    reason: str

    @property
    def text(self) -> str:
        """One line: coordinates, file, row and reason."""
        return f"chunk {self.chunk} of {self.file}, row {self.row}: {self.reason}"


class ReceiptSummary(BaseModel):
    """The part of a receipt that a listing yields.

    Attributes:
        key: `s0/0fe9`.
        redo: the redo request that it answers; 0: the first making.
        crc32c: base64, as GCS prints it; None for a shard of zeros, which has no file.
        inputs: of a downsampled shard: key → crc32c or "empty", as they were read.
        source_digest: of a converted shard: digest of its source files' stamps as they were opened;
            None in receipts of version 0.1.0.
        bad_chunk_count: chunks that the shard lacks, since they do not decode.
        chunks: stored in the shard.
        seconds: wall time of the work; `cpu_s` its processor time where measured.
        labels: distinct labels, summed over the chunks that were read.
        run_token: of the run that it belongs to; empty in receipts of version 0.1.0.
        worker: its id; None in listings of a bucket where version 0.1.0 wrote the receipt, which
            yield no rows that were skipped and no tiers that were tried either.
        skipped_outside: rows outside the volume.
        tiers_tried: each once, the last is the one that made the shard.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    kind: Kind
    tier: str
    redo: Count = 0
    empty: bool = False
    crc32c: str | None = None
    inputs: dict[str, str] = Field(default_factory=dict)
    source_digest: str | None = None
    bad_chunk_count: Count = 0
    chunks: Count = 0
    bytes_in: Count = 0
    bytes_out: Count = 0
    labels: Count = 0
    seconds: Seconds = 0.0
    cpu_s: Seconds | None = None
    peak_bytes: Count | None = None
    estimated_bytes: Count | None = None
    started: AwareDatetime
    finished: AwareDatetime
    run_token: str = ""
    worker: str | None = None
    skipped_outside: Count = 0
    tiers_tried: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """What dependents compare: the checksum, or "empty"."""
        return self.crc32c or EMPTY

    @model_validator(mode="after")
    def _file_or_empty(self) -> Self:
        if self.empty == (self.crc32c is not None):
            raise ValueError("crc32c must be given, but for an empty shard")
        return self


class Receipt(ReceiptSummary):
    """Record of a finished shard.

    Attributes:
        attempt: delivery attempt on the last tier.
        history: the tiers it went through before.
        code_path: of the conversion; formerly stored as `route`.
        phases: seconds of work by phase; `decompress` was formerly stored as `unzip`.
        bad_chunks: the first of those that the shard lacks, by ascending chunk id.
    """

    attempt: int = 1
    history: tuple[Hop, ...] = ()
    reads: int = 0
    skipped_elsewhere: int = 0
    absent_inputs: int = 0
    threads: Annotated[Count, Field(ge=1)] = 1
    code_path: str = Field(default="", validation_alias=AliasChoices("code_path", "route"))
    phases: dict[str, Seconds] = Field(default_factory=dict)
    bad_chunks: tuple[BadChunk, ...] = ()
    worker: str
    version: str

    @field_validator("phases", mode="before")
    @classmethod
    def _renamed_phase(cls, phases: Any) -> Any:  # noqa: ANN401 - not validated yet
        if isinstance(phases, dict) and "unzip" in phases:
            return {_PHASES.get(name, name): seconds for name, seconds in phases.items()}
        return phases


AnyReceipt = TypeVar("AnyReceipt", bound=ReceiptSummary)


class ReceiptStore(RecordStore[Receipt, ReceiptSummary]):
    """The receipts of one run, by shard key; those of an earlier run of its id are left out.

    Args:
        storage: rooted at the run.
        run_token: returns the run's; called only where a receipt has one.
    """

    def __init__(self, storage: Storage, run_token: Callable[[], str] = str) -> None:
        self._run_token = run_token
        self._seen: set[str] = set()
        super().__init__(storage, FOLDER, Receipt, ReceiptSummary, name_field="key")

    def get(self, name: str) -> Receipt | None:
        """The receipt, or None."""
        return self._own(super().get(name))

    def summary(self, name: str) -> ReceiptSummary | None:
        """The receipt's summary, or None."""
        found = self._own(super().summary(name))
        if found is not None:
            self._seen.add(name)
        return found

    def list(self, bounds: Sequence[str] = ()) -> dict[str, ReceiptSummary]:
        """Every receipt's summary by key."""
        return {name: one for name, one in super().list(bounds).items() if self._own(one)}

    def some(self, names: Iterable[str]) -> dict[str, ReceiptSummary]:
        """The summaries of those of these receipts that there are; see `RecordStore.some`."""
        found = {name: one for name, one in super().some(names).items() if self._own(one)}
        self._seen.update(found)
        return found

    def seen(self, name: str) -> bool:
        """Whether this process saw a receipt of this shard; it may be gone, or out of date."""
        return name in self._seen

    def _own(self, receipt: AnyReceipt | None) -> AnyReceipt | None:
        """The receipt, unless a worker of an earlier run wrote it late."""
        if receipt is not None and receipt.run_token and receipt.run_token != self._run_token():
            return None
        return receipt

    def put(self, receipt: Receipt) -> bool:
        """Write the receipt unless one as good or newer is there; whether it was written."""
        self._seen.add(receipt.key)
        return self.write_if(receipt.key, receipt, _supersedes)


def _supersedes(new: Receipt, present: Receipt) -> bool:
    if new.redo != present.redo:
        return new.redo > present.redo
    return _made_from(new) != _made_from(present)


def _made_from(receipt: Receipt) -> tuple[object, ...]:
    """What a duplicate of the work leaves as it is."""
    return receipt.content, receipt.inputs, receipt.source_digest, receipt.bad_chunk_count
