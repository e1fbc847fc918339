"""JSON documents of the memory model's commands."""

from pydantic import Field

from runtime.document import Document, DocumentPart


class EstimateDocument(Document):
    """Memory that a shard will need.

    Attributes:
        terms: bytes by term of the estimate.
        total_bytes: of all terms.
        tier: the smallest that holds it; null: none does.
        why: no tier does, if so.
        seconds: of one worker.
    """

    terms: dict[str, int | float]
    total_bytes: int
    tier: str | None
    why: str | None = None
    seconds: float


class LabelsDocument(Document):
    """Labels of the inputs of a scale, and the tiers that its shards will need.

    Attributes:
        scale: to be made.
        shards: of this scale in the plan; `known` of them have all their inputs' receipts.
        inputs: finished shards of the scale before, with `chunks` and `labels` in them.
        median: labels per chunk over those shards.
        ninth: 90 % have fewer labels per chunk.
        most: labels per chunk of the densest.
        densest: the densest shards, with labels per chunk.
        expected: labels per chunk at most, on average.
        tiers: number of shards by the tier of their estimate.
        largest_bytes: the largest estimate.
    """

    scale: int
    shards: int
    known: int
    inputs: int
    chunks: int
    labels: int
    median: float
    ninth: float
    most: float
    densest: tuple[tuple[str, float], ...]
    expected: float
    tiers: dict[str, int]
    largest_bytes: int


class ResidualsPart(DocumentPart):
    """Estimate by measured peak, over the shards of one tier: below 1 is too little."""

    tier: str
    shards: int
    peak_bytes: int
    least: float
    mean: float
    most: float


class FitDocument(Document):
    """Coefficients that were fitted to receipts.

    Attributes:
        out: path of the file.
        coefficients: by term.
        before: residuals of the coefficients in use, per tier.
        after: of the fitted ones.
    """

    out: str
    coefficients: dict[str, float] = Field(default_factory=dict)
    before: tuple[ResidualsPart, ...]
    after: tuple[ResidualsPart, ...]
