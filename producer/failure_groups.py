"""Failure groups: failed shards by the class of their reason, each shard in exactly one group.

The class is the reason with everything that names one shard, file, place or number left out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from delivery.ledger.failures import FailureSummary
from delivery.ledger.shard_status import RunStatus, ShardState

OMITTED: Final = "…"

_FILE: Final = r"\.(?:arrow|csv|shard|json)\b"
_OMISSIONS: Final = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        # Names first, because they hold numbers; an absolute name may hold blanks.
        (rf"(?<![\w.~])(?:gs://|/)[^:;]*?{_FILE}", "FILE"),
        (rf"[^\s:;,'\"()\[\]]+{_FILE}", "FILE"),
        (r"FILE(?:(?:, | and )FILE)+", "FILE"),
        (r"(?<!\w)'[^']*'(?!\w)", f"'{OMITTED}'"),
        (rf"'{OMITTED}'(?:, '{OMITTED}')+", f"'{OMITTED}'"),
        (r'(?<!\w)"[^"]*"(?!\w)', f'"{OMITTED}"'),
        (r"\bs\d+/[0-9a-f]+\b", "SHARD"),
        (r"SHARD(?:, SHARD)+", "SHARD"),
        (r"(?<![\w+/])[A-Za-z0-9+/]{5,6}==?", OMITTED),  # crc32c
        (r"\(-?\d[\d., -]*\)|\[-?\d[\d., -]*\]", f"({OMITTED})"),  # coordinates
        (r"\b0x[0-9a-f]+\b", OMITTED),
        (r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b", OMITTED),
        (r"\b\d+(?:x\d+)+\b", OMITTED),
        (r"\b\d+(?:\.\d+)?(?:gi|mi)\b", "TIER"),
        (r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)", OMITTED),
    )
)
_SUBJECT: Final = re.compile(r"^(?:FILE|SHARD): ")


@dataclass(frozen=True)
class FailureGroup:
    """Failed shards whose reasons are of one class.

    Attributes:
        failure_class: the common reason, without the file that the first shard's begins with.
        advice: what to do next, as the reason says; may be empty.
        failures: of the shards, in the order given.
    """

    failure_class: str
    advice: str
    failures: Sequence[FailureSummary]

    @property
    def keys(self) -> list[str]:
        """Keys of the shards."""
        return [failure.key for failure in self.failures]

    @property
    def example(self) -> str:
        """The first shard's reason, without the advice."""
        return split_advice(self.failures[0].reason)[0]


def failure_class(reason: str) -> str:
    """The reason with names, numbers and coordinates left out; equal for failures of one kind."""
    for pattern, text in _OMISSIONS:
        reason = pattern.sub(text, reason)
    return _SUBJECT.sub("", reason)


def split_advice(reason: str) -> tuple[str, str]:
    """What happened, and the last sentence, which says what to do; that may be empty."""
    what, _, advice = reason.rpartition(". ")
    return (what, advice) if what else (reason, "")


def group_failures(failures: Iterable[FailureSummary]) -> list[FailureGroup]:
    """Groups by class and advice, the largest first; given up shards are apart from failed ones."""
    found: dict[tuple[bool, str, str], list[FailureSummary]] = {}
    for failure in failures:
        what, advice = split_advice(failure.reason)
        # The advice's own names and numbers are left out for comparing, and shown in full.
        kind = (failure.dropped, failure_class(what), failure_class(advice))
        found.setdefault(kind, []).append(failure)
    groups = [
        FailureGroup(_named(kind, dropped=dropped), split_advice(own[0].reason)[1], own)
        for (dropped, kind, _), own in found.items()
    ]
    return sorted(groups, key=lambda group: -len(group.failures))


def failures_of(status: RunStatus) -> list[FailureSummary]:
    """Failure records of all shards that failed or were given up, in the plan's order."""
    return [status.failures[key] for key in status.keys(ShardState.FAILED, ShardState.GIVEN_UP)]


def _named(kind: str, *, dropped: bool) -> str:
    return f"given up: {kind}" if dropped else kind
