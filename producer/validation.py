"""Validation of an export: what conversion would refuse, found before anything is spent on it.

Names, sizes and log are compared; every index is read and held against its Arrow file's size,
schema, end and name; record batches of an unusual number of rows are held against their metadata;
chunks of files whose boxes overlap are compared. Blocks are decoded for a sample of rows alone.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from braid.decompressor import DVIDDecompressor
from braid.dvid.csv_index import ShardIndex
from braid.dvid.rows import Rows
from braid.dvid.stream_scan import check_batches
from braid.exceptions import BraidError, DecompressionError
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import block_extent
from braid.transcode.file_extent import check_rows
from braid.typing import Int32Array, Int64Array
from producer import defaults
from producer.export_listing import ExportFile, ScaleListing, list_scale, outside_volume
from producer.export_log import compare_chunks, log_problems, read_log
from producer.export_reader import ExportReader, open_file, read_listings
from producer.file_pool import read_files
from runtime.errors import ShardliftError, UnreachableError
from runtime.storage import Storage
from runtime.storage.checked_reads import read_again
from runtime.text import counted

_ROWS_AT_ONCE: Final = 64  # read and decoded; about half a MB
_PAIRS_AT_ONCE: Final = 1 << 20  # of boxes that are compared

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class ValidationConfig:
    """What to read, and how.

    Attributes:
        sample: rows to decode in each file, neighbours from a random place on.
        files: number of files to read, chosen at random; None: all.
        seed: of the choice of rows and files.
        z_compress: slices of the scale left out after each one kept.
        workers: files to read at a time.
    """

    sample: int = 4
    files: int | None = None
    seed: int = 0
    z_compress: int = 0
    workers: int = defaults.READERS


@dataclass
class ScaleReport:
    """Findings in one scale of an export.

    Attributes:
        files: listed.
        read: files that were read.
        rows: listed by the indices.
        outside: rows wholly outside the volume.
        sampled: rows decoded.
        without_index: files without any CSV index.
        without_rows: files whose index lists no row.
        findings: what is wrong; each names its file.
    """

    scale: int
    files: int = 0
    read: int = 0
    bytes: int = 0
    rows: int = 0
    outside: int = 0
    sampled: int = 0
    without_index: int = 0
    without_rows: int = 0
    findings: list[str] = field(default_factory=list)


def validate_scale(source: Storage, scale: ScaleSpec, config: ValidationConfig) -> ScaleReport:
    """Check a scale of an export, file by file and as a whole.

    Args:
        source: the export.
        scale: of the volume.
        config: what to read.

    Raises:
        UsageError: the scale is not part of the export.
        UnreachableError: the export cannot be reached.
    """
    listed = list_scale(source, scale.index)
    report = ScaleReport(scale.index, len(listed.files), bytes=listed.size_bytes)
    report.without_index = len(listed.without_index)
    report.findings += _listing_findings(source, scale, listed, config)
    chosen = _choose(listed.files, config)
    boxes = Boxes()
    check = partial(_check_file, source, scale, config)
    for number, found in enumerate(read_files(check, chosen, config.workers, "reading")):
        _add(report, found)
        if found.low is not None and found.high is not None:
            boxes.add(number, found.low, found.high)
    report.findings += _repeats(source, chosen, boxes, config)
    complete = len(chosen) == len(listed.files) and not report.findings
    if complete and (differs := compare_chunks(read_log(source), scale.index, report.rows)):
        report.findings.append(differs.text)
    return report


def _listing_findings(
    source: Storage, scale: ScaleSpec, listed: ScaleListing, config: ValidationConfig
) -> Iterator[str]:
    outside = outside_volume(listed, scale, config.z_compress)
    for problem in (*listed.problems, *outside, *log_problems(read_log(source), [listed])):
        yield problem.text


def _choose(files: Sequence[ExportFile], config: ValidationConfig) -> Sequence[ExportFile]:
    if config.files is None or config.files >= len(files):
        return files
    chooser = random.Random(config.seed)  # noqa: S311 - a sample, no secret
    chosen = chooser.sample(range(len(files)), config.files)
    return [files[number] for number in sorted(chosen)]


@dataclass(slots=True)
class _FileReport:
    """What one file holds; `low` and `high` are the bounds of its chunks inside the volume."""

    rows: int = 0
    outside: int = 0
    sampled: int = 0
    low: Int32Array | None = None
    high: Int32Array | None = None
    findings: list[str] = field(default_factory=list)


def _add(report: ScaleReport, found: _FileReport) -> None:
    report.read += 1
    report.rows += found.rows
    report.outside += found.outside
    report.sampled += found.sampled
    report.without_rows += not found.rows and not found.findings
    report.findings += found.findings


def _check_file(
    source: Storage, scale: ScaleSpec, config: ValidationConfig, file: ExportFile
) -> _FileReport:
    """Check one file; what is wrong with it is a finding, what is wrong with the storage raises."""
    return read_again(partial(_check_once, source, scale, config, file))


def _check_once(
    source: Storage, scale: ScaleSpec, config: ValidationConfig, file: ExportFile
) -> _FileReport:
    report = _FileReport()
    try:
        with open_file(source, file) as reader:
            _count_rows(reader.index, scale, config.z_compress, report)
            check_rows(reader.index.coords, file.path, scale, config.z_compress)
            check_batches(reader.source, reader.index, _unusual(reader.index))
            chooser = random.Random(f"{config.seed} {file.path}")  # noqa: S311 - a sample
            _decode_sample(reader, config.sample, chooser, report)
    except UnreachableError:
        raise
    except (BraidError, ShardliftError) as error:
        report.findings.append(str(error))
    return report


def _count_rows(index: ShardIndex, scale: ScaleSpec, z_compress: int, report: _FileReport) -> None:
    report.rows = len(index)
    if not len(index):
        return
    coords = index.coords.astype(np.int64)
    begin = coords * block_extent(z_compress + 1)
    inside = ((coords >= 0) & (begin < scale.size)).all(axis=1)
    report.outside = int(len(coords) - inside.sum())
    if inside.any():
        # Rows outside are needed by no shard, and DVID's overflow puts some far from the others.
        kept = index.coords[inside]
        report.low, report.high = kept.min(axis=0), kept.max(axis=0)


def _unusual(index: ShardIndex) -> list[int]:
    """Record batches whose number of rows is not that of most: DVID fills all but the last.

    When it drops a batch, its rows stay in the index, as rows of the batch after it.
    """
    lengths = index.batch_lengths
    if not len(lengths):
        return []
    usual = Counter(lengths.tolist()).most_common(1)[0][0]
    return np.flatnonzero(lengths != usual).tolist()


def _decode_sample(
    reader: ExportReader, count: int, chooser: random.Random, report: _FileReport
) -> None:
    """Decode neighbouring rows from a random place on: most often they are one request."""
    total = len(reader.index)
    if not total or not count:
        return
    begin = chooser.randrange(max(total - count, 0) + 1)
    for first in range(begin, min(begin + count, total), _ROWS_AT_ONCE):
        wanted = range(first, min(first + _ROWS_AT_ONCE, begin + count, total))
        rows = reader.read_rows(list(wanted))
        for position, row in enumerate(wanted):
            _decode(reader, rows, position, row)
            report.sampled += 1


def _decode(reader: ExportReader, rows: Rows, position: int, row: int) -> None:
    try:
        DVIDDecompressor().decompress_block(
            rows.block(position).tobytes(),
            agglo_labels=rows.label_list(position),
            supervoxels=rows.supervoxel_list(position),
        )
    except DecompressionError as error:
        raise DecompressionError(f"{reader.describe_row(row)}: {error}") from None


class Boxes:
    """Bounds of the chunks of files, six integers each."""

    def __init__(self) -> None:
        self._files: list[int] = []
        self._bounds: list[tuple[int, ...]] = []

    def add(self, file: int, low: Int32Array, high: Int32Array) -> None:
        """Add a file with the smallest and largest chunk coordinates of its rows inside."""
        self._files.append(file)
        self._bounds.append((*low.tolist(), *high.tolist()))

    def overlapping(self) -> list[Pair]:
        """Pairs of files whose boxes overlap, the earlier file first."""
        if not self._files:
            return []
        bounds = np.array(self._bounds, np.int64)
        files = np.array(self._files)
        pairs = np.concatenate(list(_overlaps(bounds[:, :3], bounds[:, 3:])))
        both = np.sort(files[pairs], axis=1)
        return [(first, second) for first, second in both[np.lexsort(both.T[::-1])].tolist()]


def _overlaps(low: Int64Array, high: Int64Array) -> Iterator[Int64Array]:
    """Positions (p, 2) of boxes that overlap, some at a time.

    Boxes are sorted along the axis on which the fewest follow others that reach them, so that each
    is compared with few.
    """
    orders = [np.argsort(low[:, axis], kind="stable") for axis in range(3)]
    reached = [_reached(low[order, axis], high[order, axis]) for axis, order in enumerate(orders)]
    axis = min(range(3), key=lambda a: int(reached[a].sum()))
    order, counts = orders[axis], reached[axis]
    begin = 0
    before = np.concatenate([[0], np.cumsum(counts)])
    while begin < len(order):
        wanted = before[begin] + _PAIRS_AT_ONCE
        end = max(begin + 1, int(np.searchsorted(before, wanted, side="right")) - 1)
        here = counts[begin:end]
        first = np.repeat(np.arange(begin, end), here)
        step = np.arange(len(first)) - np.repeat(np.cumsum(here) - here, here)
        one, other = order[first], order[first + 1 + step]
        meet = ((low[one] <= high[other]) & (low[other] <= high[one])).all(axis=1)
        yield np.stack([one[meet], other[meet]], axis=1)
        begin = end


def _reached(low: Int64Array, high: Int64Array) -> Int64Array:
    """Number of intervals, sorted by their lows, that begin within each, after it."""
    return np.searchsorted(low, high, side="right") - np.arange(len(low)) - 1


def _repeats(
    source: Storage, files: Sequence[ExportFile], boxes: Boxes, config: ValidationConfig
) -> Iterator[str]:
    """Findings on chunks that two files hold; only files whose boxes overlap are read again."""
    pairs = boxes.overlapping()
    if pairs:
        compare = partial(_shared_chunks, source, files)
        found = read_files(compare, pairs, config.workers, "comparing")
        yield from (text for text in found if text)


def _shared_chunks(source: Storage, files: Sequence[ExportFile], pair: Pair) -> str | None:
    earlier, later = (_chunks(source, files[number]) for number in pair)
    shared = earlier & later
    if not shared:
        return None
    first, second = (files[number].path for number in pair)
    return f"{second}: shares {counted(len(shared), 'chunk')} with {first}, such as {min(shared)}"


def _chunks(source: Storage, file: ExportFile) -> set[tuple[int, ...]]:
    """Chunk coordinates of a file, from an index if it has one."""
    listings = read_listings(source, file)
    if listings:
        return set(map(tuple, listings[0].coords.tolist()))
    with open_file(source, file) as reader:
        return set(map(tuple, reader.index.coords.tolist()))
