"""Verification of a volume as a whole: every check that was chosen, and its findings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from producer import defaults
from producer.documents.check_documents import CheckedPart, VerifyDocument, finding_parts
from producer.dvid_client import DvidInstance
from producer.expected_volume import ExpectedVolume
from producer.point_check import PointCheck
from producer.verify import Finding, ValueCheck, Verifier
from runtime.errors import UsageError

T = TypeVar("T")


class Track(Protocol):
    """Iteration that shows how far it is."""

    def __call__(self, description: str, items: Sequence[T], /) -> Iterable[T]:
        """Iterate over the items."""


def untracked(_: str, items: Sequence[T]) -> Iterable[T]:
    """Iterate without a display of progress."""
    return items


@dataclass(frozen=True)
class Checks:
    """What to check beside the listings.

    Attributes:
        scales: None for all that runs make.
        values: number of random chunks to compare, every voxel; with a server, of voxels.
        deep: read every byte.
        seed: of the random choice.
        server: to compare voxels with.
    """

    scales: Sequence[int] | None = None
    values: int = 0
    deep: bool = False
    seed: int = 0
    server: DvidInstance | None = None


@dataclass
class Verification:
    """Outcome of the checks.

    Attributes:
        verifier: that made them.
        findings: so far.
        checked: what was looked at, by the name of its count.
    """

    verifier: Verifier
    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def document(self, uri: str | None) -> VerifyDocument:
        """The outcome as a document; `uri` of the newest run, None without a ledger."""
        return VerifyDocument(
            run=uri,
            run_id=uri.rpartition("/")[2] if uri else None,
            scales=tuple(self.verifier.scales),
            checked=CheckedPart(**self.checked),
            left_out=self.verifier.left_out,
            findings=finding_parts(self.findings),
        )


def verify_volume(
    expected: ExpectedVolume, checks: Checks, track: Track = untracked
) -> Verification:
    """Check a volume.

    Args:
        expected: what it should hold.
        checks: that were chosen.
        track: shows progress.

    Raises:
        UsageError: a scale is asked for that no run makes, or that DVID does not have.
    """
    chosen = checks.scales
    verifier = Verifier(expected, chosen, deep=checks.deep)
    if chosen is not None and (unknown := set(chosen) - set(expected.request.made)):
        raise UsageError(f"no run of {expected.request.dest} makes scale {min(unknown)}")
    points = None
    if checks.server is not None:
        points = PointCheck(verifier, checks.server, chosen, checks.seed)
    found = Verification(verifier, list(verifier.completeness()))
    found.checked = {"shards": len(verifier.rows()), "files_read": 0, "values": 0}
    if checks.deep:
        files = verifier.files()
        for row in track("reading files", files):
            found.findings += verifier.deep(row)
        found.checked["files_read"] = len(files)
    if points is not None:
        batches = points.batches(checks.values or defaults.POINTS)
        for batch in track("comparing with DVID", batches):
            found.findings += points.check(batch)
        found.checked["points"] = points.compared
    elif checks.values:
        values = ValueCheck(verifier, checks.seed)
        for row in track("comparing voxels", values.choose(checks.values)):
            found.findings += values.check(row)
        found.checked["values"] = values.compared
    return found
