"""Documents of `enqueue`: what it planned, published and, with `--wait`, made."""

from typing import Any, Literal

from pydantic import Field

from delivery.ledger.selection import Selection
from producer.documents.run_documents import RunDocument, StatusDocument
from producer.sample import SampleResult
from runtime.document import DocumentPart

Outcome = Literal["dry run", "nothing to do", "created", "continued"]


class TierPart(DocumentPart):
    """Shards of one tier.

    Attributes:
        tier: null: no tier holds them.
        bytes_in: of their sources or inputs.
        largest_estimate_bytes: largest estimate of the peak memory.
        worker_seconds: estimated time of one worker.
    """

    tier: str | None
    shards: int
    bytes_in: int
    largest_estimate_bytes: int
    worker_seconds: float


class ShardPart(DocumentPart):
    """A shard to be made, in a dry run.

    Attributes:
        kind: `convert` or `downsample`.
        tier: null: no tier holds it.
        reason: why it is to be made.
        bytes_in: of its sources or inputs, as far as known.
        estimated_bytes: peak memory.
        estimated_seconds: of one worker.
        estimated_bytes_out: size of the shard.
    """

    key: str
    kind: str
    tier: str | None
    reason: str
    bytes_in: int
    estimated_bytes: int
    estimated_seconds: float
    estimated_bytes_out: int


class EnqueueDocument(RunDocument):
    """Outcome of `enqueue`.

    Attributes:
        run: null in a dry run, and where there is nothing to do.
        outcome: what the command did.
        source: URL of the export; null if nothing is converted.
        dest: URL of the volume.
        scales: converted from the export.
        downres: made from the scale before each.
        fingerprint: equal for runs that make the same bytes.
        queue: URL; null where nothing is published.
        selection: null for the whole.
        notes: for people.
        partial: what the export lacks.
        outdated: runs that end here, with the reason.
        tiers: of the shards to be made; null where a run is continued, but not in a dry run.
        present: shards that exist and stay.
        adopted: of them, those that no known run made.
        incomplete: chunks that shards lack, because they do not decode.
        no_tier: shards that no tier holds, with the reason.
        shards: to be made; only in a dry run.
        code_paths: how chunks of each scale are made; only in a dry run.
        bill: what the run would cost; only in a dry run.
        published: number of shards that were published.
        status: of the run: as published, or at its end with `--wait`.
        sample: what `--sample` measured.
        changed: how the export changed while the run was under way; then exit code 1.
    """

    outcome: Outcome
    source: str | None
    dest: str
    scales: tuple[int, ...]
    downres: tuple[int, ...]
    fingerprint: str
    queue: str | None = None
    selection: Selection | None = None
    notes: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    outdated: dict[str, str] = Field(default_factory=dict)
    tiers: tuple[TierPart, ...] | None = None
    present: int = 0
    adopted: int = 0
    incomplete: dict[str, int] = Field(default_factory=dict)
    no_tier: dict[str, str] = Field(default_factory=dict)
    shards: tuple[ShardPart, ...] | None = None
    code_paths: dict[int, str] | None = None
    bill: dict[str, Any] | None = None
    published: int = 0
    status: StatusDocument | None = None
    sample: SampleResult | None = None
    changed: str | None = None
