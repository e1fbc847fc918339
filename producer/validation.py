"""Validation of an export: every file opened, indices checked, a sample of rows decoded."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from braid.exceptions import BraidError
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import ShardRangeReader
from braid.transcode.block_assignment import block_extent
from braid.transcode.file_extent import check_rows
from braid.typing import Int32Array
from producer.export_listing import ExportFile, list_scale
from producer.export_reader import open_shard
from runtime.storage import Storage

Track = Callable[[Sequence[ExportFile]], Iterable[ExportFile]]


@dataclass
class ScaleReport:
    """Findings in one scale of an export.

    Attributes:
        rows: listed by the indices.
        outside: rows wholly outside the volume.
        sampled: rows decoded.
        findings: what is wrong; each names its file.
    """

    scale: int
    files: int = 0
    bytes: int = 0
    rows: int = 0
    outside: int = 0
    sampled: int = 0
    without_index: int = 0
    findings: list[str] = field(default_factory=list)


def validate_scale(
    source: Storage, scale: ScaleSpec, sample: int, chooser: random.Random, track: Track = iter
) -> ScaleReport:
    """Open every file of a scale, check its index against it, decode a sample of its rows.

    Args:
        source: the export.
        scale: of the volume.
        sample: rows to decode per file.
        chooser: of the rows.
        track: wraps the files, for instance to show progress.
    """
    listed = list_scale(source, scale.index)
    report = ScaleReport(scale.index, len(listed.files), listed.size_bytes)
    report.without_index = len(listed.without_index)
    repeats = _RepeatDetector(source)
    for file in track(listed.files):
        try:
            with open_shard(source, file.path) as reader:
                _count_rows(reader, scale, report)
                report.findings += repeats.check(file.path, reader)
                _decode_sample(reader, min(sample, len(reader)), chooser, report)
                check_rows(reader.index.coords, file.path, scale)
        except BraidError as error:
            report.findings.append(str(error))
    return report


class _Bounds(NamedTuple):
    """A file with the smallest and largest chunk coordinates of its rows."""

    path: str
    low: Int32Array
    high: Int32Array


class _RepeatDetector:
    """Finds chunks that several files hold; compares only files whose bounds overlap."""

    def __init__(self, source: Storage) -> None:
        self._source = source
        self._bounds: list[_Bounds] = []

    def check(self, path: str, reader: ShardRangeReader) -> Iterator[str]:
        """Findings on chunks of a file that an earlier file holds too."""
        if not len(reader):
            return
        low, high = reader.index.coords.min(axis=0), reader.index.coords.max(axis=0)
        for other, first, last in self._bounds:
            if (low <= last).all() and (first <= high).all():
                with open_shard(self._source, other) as earlier:
                    shared = set(reader.available_chunks) & set(earlier.available_chunks)
                if shared:
                    yield f"{path}: {len(shared)} chunks are in {other} too, such as {min(shared)}"
        self._bounds.append(_Bounds(path, low, high))


def _count_rows(reader: ShardRangeReader, scale: ScaleSpec, report: ScaleReport) -> None:
    coords = reader.index.coords.astype(np.int64)
    inside = ((coords >= 0) & (coords * block_extent() < scale.size)).all(axis=1)
    report.rows += len(coords)
    report.outside += int(len(coords) - inside.sum())


def _decode_sample(
    reader: ShardRangeReader, count: int, chooser: random.Random, report: ScaleReport
) -> None:
    for row in chooser.sample(range(len(reader)), count):
        x, y, z = reader.index.coords[row].tolist()
        reader.read_chunk(x, y, z)
        report.sampled += 1
