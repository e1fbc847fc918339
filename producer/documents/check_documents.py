"""Documents of checks: `init`, `validate`, `offsets`, `verify`."""

from collections.abc import Sequence

from pydantic import Field

from producer.documents.run_documents import RunDocument
from producer.documents.volume_documents import ScalePathPart
from producer.validation import ScaleReport
from producer.verify import Finding
from runtime.document import Document, DocumentPart


class InitDocument(Document):
    """Outcome of `init`.

    Attributes:
        info: URL of the file.
        written: false where it was there already, and stays.
        notes: what to know of the spec.
    """

    info: str
    written: bool
    scales: tuple[ScalePathPart, ...]
    notes: tuple[str, ...]


class ScaleReportPart(DocumentPart):
    """Findings in one scale of an export.

    Attributes:
        files: listed.
        read: files that were read.
        bytes: of all files.
        rows: listed by the indices.
        outside: rows wholly outside the volume.
        sampled: rows decoded.
        without_index: files without any CSV index.
        without_rows: files whose index lists no row.
        findings: what is wrong; each names its file.
    """

    scale: int
    files: int
    read: int
    bytes: int
    rows: int
    outside: int
    sampled: int
    without_index: int
    without_rows: int
    findings: tuple[str, ...]

    @classmethod
    def of(cls, report: ScaleReport) -> "ScaleReportPart":
        """The object of a report."""
        return cls.model_validate({**vars(report), "findings": tuple(report.findings)})


class ValidateDocument(Document):
    """Findings of `validate`; the command ends with exit code 1 if there are any."""

    source: str
    scales: tuple[ScaleReportPart, ...]


class ScaleOffsetsPart(DocumentPart):
    """Indices of one scale of an export.

    Attributes:
        lacking: files without byte offsets.
        written: paths of indices that were written.
        damaged: what is wrong with files that cannot be read.
    """

    scale: int
    lacking: int
    written: tuple[str, ...]
    damaged: tuple[str, ...]


class OffsetsDocument(Document):
    """Outcome of `offsets`."""

    source: str
    scales: tuple[ScaleOffsetsPart, ...]


class CheckedPart(DocumentPart):
    """What `verify` looked at.

    Attributes:
        shards: compared with receipts and source.
        files_read: shard files that were read whole.
        values: chunks that were compared voxel for voxel.
        points: voxels that were compared with a DVID server.
    """

    shards: int
    files_read: int
    values: int
    points: int | None = None


class FindingPart(DocumentPart):
    """One deviation.

    Attributes:
        key: of a shard, a path, or `info`.
        what: is wrong.
    """

    key: str
    what: str


class VerifyDocument(RunDocument):
    """Findings of `verify`; the command ends with exit code 1 if there are any.

    Attributes:
        run: the newest of the volume; null without a ledger.
        scales: that were checked.
        left_out: shards of each scale that selections left to a run of the whole.
    """

    scales: tuple[int, ...]
    checked: CheckedPart
    left_out: dict[int, int] = Field(default_factory=dict)
    findings: tuple[FindingPart, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.findings


def finding_parts(findings: Sequence[Finding]) -> tuple[FindingPart, ...]:
    """The objects of findings."""
    return tuple(FindingPart(key=one.key, what=one.what) for one in findings)
