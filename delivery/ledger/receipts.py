"""Receipts: one per finished shard, written after its output and before its cascade and ack.

A receipt may be replaced by one of a higher redo, or made from other inputs; a duplicate changes
nothing, and an older redo never replaces a newer one. (Two writers in the same instant might
still cross; then the shard counts as not done and is made again.)
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from delivery.messages import Hop, Kind

if TYPE_CHECKING:
    from delivery.ledger.run import Run

EMPTY: Final = "empty"  # stands for the checksum of a shard of zeros, which has no file
FOLDER: Final = "receipts"


class ReceiptSummary(BaseModel):
    """What is known of a finished shard without reading its receipt.

    Attributes:
        key: `s0/0fe9`.
        redo: which asking for the shard this answers.
        crc32c: base64, as GCS prints it; None for a shard of zeros, which has no file.
        inputs: of a downsampled shard: key → crc32c or "empty", as they were read.
        chunks: stored in the shard.
        seconds: wall time of the work; `cpu_s` its processor time where measured.
        labels: distinct labels, summed over the chunks that were read.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    kind: Kind
    tier: str
    redo: int = 0
    empty: bool = False
    crc32c: str | None = None
    inputs: dict[str, str] = Field(default_factory=dict)
    chunks: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    labels: int = 0
    seconds: float = 0.0
    cpu_s: float | None = None
    peak_bytes: int | None = None
    estimated_bytes: int | None = None
    started: datetime
    finished: datetime

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
    """Everything that is known of a finished shard."""

    attempt: int = 1
    tiers_tried: tuple[str, ...] = ()
    history: tuple[Hop, ...] = ()
    reads: int = 0
    skipped_outside: int = 0
    skipped_elsewhere: int = 0
    absent_inputs: int = 0
    threads: int = 1
    route: str = ""
    phases: dict[str, float] = Field(default_factory=dict)
    worker: str
    version: str


def write(run: "Run", receipt: Receipt) -> bool:
    """Write the receipt unless one as good or newer is there; whether it was written."""
    return run.receipts.offer(receipt.key, receipt, _keeps)


def read(run: "Run", key: str) -> Receipt | None:
    """The shard's receipt, or None."""
    return run.receipts.read(key)


def list_all(run: "Run") -> dict[str, ReceiptSummary]:
    """The summary of every receipt, by key."""
    return run.receipts.list()


def _keeps(present: Receipt, new: Receipt) -> bool:
    if present.redo != new.redo:
        return present.redo > new.redo
    return (present.content, present.inputs) == (new.content, new.inputs)
