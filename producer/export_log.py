"""DVID's `export.log`: what an export wrote, per scale, to be compared with what is there.

DVID writes it beside the scales when an export ends, so one without totals is of an export that was
cut. It counts a shard file per writer and a chunk per row. An export need not have one: older DVIDs
write none, and copies often leave it behind.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from producer.export_listing import ListingProblem, ProblemKind, ScaleListing
from runtime.errors import ObjectNotFound
from runtime.storage import Storage

LOG_PATH: Final = "export.log"
_TITLE: Final = "DVID Export-Shards Report"
_MOST_BYTES: Final = 16 << 20  # a log of DVID's has some kilobytes per scale
_SECTION: Final = re.compile(r"---\s*(?:(?P<totals>Totals)|Scale\s+(?P<scale>\d+))\s*---")
_COUNT: Final = re.compile(r"(?P<what>Chunks exported|Chunks|Shard files):\s*(?P<count>\d[\d,]*)")
_HEADER: Final = re.compile(r"(?P<name>Data|UUID|Start|End):\s*(?P<value>.*)")

NO_LOG = "no export.log lies with the scales: nothing tells whether DVID finished the export"
"""For people; DVID writes the log last, and older versions write none."""


@dataclass(frozen=True, slots=True)
class LogCounts:
    """Counts of one scale, or of all; None where the log does not tell."""

    chunks: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class ExportLog:
    """What the log of an export tells.

    Attributes:
        header: values of `Data`, `UUID`, `Start` and `End`, as far as they are there.
        scales: counts by scale; DVID leaves out those without blocks.
        totals: counts of all scales; None if the log was cut or is still written.
    """

    header: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[int, LogCounts] = field(default_factory=dict)
    totals: LogCounts | None = None


def read_log(source: Storage) -> ExportLog | None:
    """Read the log beside the scales; None if there is none, or another program's."""
    try:
        data = source.read_at(LOG_PATH, 0, _MOST_BYTES)
    except ObjectNotFound:
        return None
    return parse_log(data.decode(errors="replace"))


def parse_log(text: str) -> ExportLog | None:
    """Parse a log; lines that are not known are skipped. None if it is not one of DVID's.

    An empty log is DVID's: it creates the file before it writes to it.
    """
    if text.strip() and _TITLE not in text:
        return None
    header: dict[str, str] = {}
    counts: dict[int | None, dict[str, int]] = {}  # None: the totals
    section: dict[str, int] | None = None
    for line in map(str.strip, text.splitlines()):
        if found := _SECTION.fullmatch(line):
            scale = found["scale"]
            section = counts.setdefault(int(scale) if scale else None, {})
        elif section is None and (found := _HEADER.fullmatch(line)):
            header[found["name"]] = found["value"]
        elif section is not None and (found := _COUNT.fullmatch(line)):
            what = "files" if found["what"] == "Shard files" else "chunks"
            section[what] = int(found["count"].replace(",", ""))
    scales = {at: LogCounts(**found) for at, found in counts.items() if at is not None}
    totals = LogCounts(**counts[None]) if None in counts else None
    return ExportLog(header, scales, totals)


def log_problems(
    log: ExportLog | None, listings: Iterable[ScaleListing]
) -> tuple[ListingProblem, ...]:
    """What a log tells against the listings of scales; nothing without a log."""
    if log is None:
        return ()
    if log.totals is None:
        return (_unfinished(),)
    return tuple(found for listed in listings if (found := _compare_files(log, listed)) is not None)


def compare_chunks(log: ExportLog | None, scale: int, rows: int) -> ListingProblem | None:
    """What a log tells against the number of rows that all indices of a scale list."""
    counted = log.scales.get(scale, LogCounts()).chunks if log and log.totals else None
    if counted is None or counted == rows:
        return None
    return _differs(ProblemKind.LOG_CHUNKS_DIFFER, scale, f"{counted} chunks", f"{rows} rows")


def _compare_files(log: ExportLog, listing: ScaleListing) -> ListingProblem | None:
    counted = log.scales.get(listing.scale, LogCounts(files=0)).files
    found = len(listing.files)
    if counted is None or counted == found:
        return None
    return _differs(
        ProblemKind.LOG_FILES_DIFFER,
        listing.scale,
        f"{counted} shard files",
        f"{found} Arrow files",
    )


def _differs(kind: ProblemKind, scale: int, counted: str, found: str) -> ListingProblem:
    return ListingProblem(
        kind,
        LOG_PATH,
        f"{LOG_PATH} counts {counted} of scale {scale}, and {found} are here: copy what is "
        "missing, or export again into an empty folder",
    )


def _unfinished() -> ListingProblem:
    return ListingProblem(
        ProblemKind.LOG_UNFINISHED,
        LOG_PATH,
        f"{LOG_PATH} has no totals, so the export was cut or still runs: wait until it has ended, "
        "copy the log again, or export again into an empty folder",
    )
