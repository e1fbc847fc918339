"""Documents about shards that failed: `errors`, `dead-letters`, `replay`."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from delivery.ledger.failures import Failure, FailureSummary
from delivery.ledger.receipts import BadChunk
from delivery.ledger.run import Run
from delivery.ledger.trouble import Trouble
from delivery.messages import Hop
from producer.documents.run_documents import RunDocument
from producer.failure_groups import FailureGroup
from runtime.document import DocumentPart


class FailureGroupPart(DocumentPart):
    """Failed shards of one class of reasons.

    Attributes:
        class: of the reason: the text without names and numbers.
        advice: what to do.
        example: one reason in full.
        keys: of the shards.
    """

    failure_class: str = Field(alias="class")
    advice: str
    example: str
    keys: tuple[str, ...]

    @classmethod
    def of(cls, group: FailureGroup) -> "FailureGroupPart":
        """The object of a group."""
        facts = {"advice": group.advice, "example": group.example, "keys": group.keys}
        return cls.model_validate({"class": group.failure_class, **facts})


class ErrorsDocument(RunDocument):
    """Why shards failed.

    Attributes:
        groups: failed shards by class of their reason; each shard in one.
        failed: the whole records.
        blocked: keys of shards that an input blocks.
        incomplete: chunks that done shards lack, by key.
        trouble: the last error that no shard caused.
    """

    groups: tuple[FailureGroupPart, ...]
    failed: tuple[Failure, ...]
    blocked: tuple[str, ...]
    incomplete: dict[str, tuple[BadChunk, ...]]
    trouble: Trouble | None


class DeadLettersDocument(RunDocument):
    """The dead shards of a run, as `dead-letters list` chose them."""

    dead_letters: tuple[FailureSummary, ...]


class DeadLetterDocument(RunDocument):
    """One dead shard.

    Attributes:
        key: of the shard.
        redo: the redo request that it failed for.
        tier: the last tier it was tried on.
        attempts: deliveries over all tiers.
        at: when it became a dead letter.
        dropped: given up for good by `dead-letters drop`.
        history: the tiers that it left without being done.
        sources: files that it is made from.
        inputs: shards that it is made from.
    """

    key: str
    kind: str
    redo: int
    tier: str
    attempts: int
    at: datetime
    reason: str
    dropped: bool
    tiers_tried: tuple[str, ...]
    history: tuple[Hop, ...]
    worker: str | None
    sources: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run, letter: Failure) -> "DeadLetterDocument":
        """The document of a failure record."""
        row = run.plan.row(letter.key) if letter.key in run.plan else None
        made_from = {"sources": row.sources, "inputs": row.inputs} if row else {}
        facts = {"run": run.uri, "run_id": run.run_id, **dict(letter), **made_from}
        return cls.model_validate(facts)


class PublishedDocument(RunDocument):
    """Shards that `replay` or `dead-letters requeue` published again.

    Attributes:
        published: their keys.
        left: why each other shard that was named was not published.
    """

    published: tuple[str, ...]
    left: dict[str, str] = Field(default_factory=dict)


class DroppedDocument(RunDocument):
    """Shards that `dead-letters drop` gave up."""

    dropped: tuple[str, ...]


def published_document(
    run: Run, published: Sequence[str], left: dict[str, str] | None = None
) -> PublishedDocument:
    """The document of shards that were published again."""
    return PublishedDocument(
        run=run.uri, run_id=run.run_id, published=tuple(published), left=left or {}
    )
