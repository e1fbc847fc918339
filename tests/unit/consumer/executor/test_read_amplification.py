"""Bytes read for a shard, by the bytes of its file: each is read about once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import ShardReader
from braid.transcode.block_assignment import assign_blocks
from consumer.executor import (
    pass_reader,
    range_prefetch,
    source_files,
    whole_fetch,
    window_plan,
    window_reader,
)
from consumer.executor.source_files import SourceFiles
from memmodel.estimate import WINDOWS
from producer.export_writer import Dialect, ExportFormat
from producer.synthetic_export import write_large
from runtime.storage import checked_reads, open_storage
from runtime.storage.gcs_source import GcsSource
from runtime.storage.local_source import LocalSource
from tests.support.arrow_exports import DIALECTS, made_export
from tests.support.block_rows import block_rows
from tests.support.specs import made_scale

MOST = 1.2
CHUNKS = 1024
WINDOW_BYTES = 2 << 20
CASE_EDGE = 16  # of the cube of blocks in files of any form
CASE_WINDOW_BYTES = 128 << 10  # 32 a row, as windows of 8 MiB have for 262,144 rows
SCHEMA_BYTES = 48 << 10  # read of each file, however large


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, Dialect], Path]:
    """Arrow file of 1,024 dense rows with so many rows in each record batch."""
    root = tmp_path_factory.mktemp("exports")
    made: dict[tuple[int, Dialect], Path] = {}

    def write(batch_rows: int, dialect: Dialect) -> Path:
        if (batch_rows, dialect) not in made:
            form = ExportFormat(dialect, batch_rows=batch_rows)
            folder = root / f"{batch_rows}-{dialect.value}"
            scale = made_scale((1024,) * 3, bits=(6, 6, 0))
            made[batch_rows, dialect] = write_large(
                folder, scale, CHUNKS, pitch=6, pool=6, form=form
            )
        return made[batch_rows, dialect]

    return write


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of everything that is read of a disk or a bucket; no file is read whole at first."""
    lengths: list[int] = []

    def count(where: type[Any], name: str) -> None:
        read = getattr(where, name)

        def counting(self: Any, offset: int, length: int) -> bytes:  # noqa: ANN401 - a source
            lengths.append(length)
            found: bytes = read(self, offset, length)
            return found

        monkeypatch.setattr(where, name, counting)

    count(LocalSource, "_read")
    count(GcsSource, "_fetch")
    limit(monkeypatch, WINDOW_BYTES)
    return lengths


def limit(monkeypatch: pytest.MonkeyPatch, window_bytes: int) -> None:
    """Set the limits of windows."""
    monkeypatch.setattr(window_reader, "LOCAL_WINDOW_BYTES", window_bytes)
    monkeypatch.setattr(window_reader, "REMOTE_WINDOW_BYTES", window_bytes)
    monkeypatch.setattr(source_files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(source_files, "LOCAL_WHOLE_BYTES", 0)
    monkeypatch.setattr(window_plan, "KEPT_BATCHES_BYTES", 2 * window_bytes)


def check(url: str, path: str, scale: ScaleSpec, arrow: Path) -> int:
    """Read the shard window by window; every row must be the file's. The largest window's bytes."""
    with ShardReader(arrow) as whole:
        expected = whole.read_rows(range(whole.chunk_count))
    place = {tuple(chunk): row for row, chunk in enumerate(expected.coords.tolist())}
    seen, most = 0, 0
    with SourceFiles(open_storage(url), [path]) as files:
        for window in files.windows(assign_blocks(files.coords, scale, 0)):
            seen += len(window.rows)
            most = max(most, len(window.rows.blocks) + 16 * len(window.rows.labels))
            for row in (0, len(window.rows) - 1):
                at = place[tuple(window.rows.coords[row].tolist())]
                assert np.array_equal(window.rows.block(row), expected.block(at))
                assert np.array_equal(window.rows.label_list(row), expected.label_list(at))
                assert np.array_equal(
                    window.rows.supervoxel_list(row), expected.supervoxel_list(at)
                )
    assert seen == len(expected)
    return most


def scale_of(edge: int, preshift: int, minishard: int) -> ScaleSpec:
    """Scale of one shard with so many chunks along each axis."""
    return made_scale((64 * edge,) * 3, bits=(preshift, minishard, 0))


@pytest.mark.parametrize("bits", [(6, 6), (9, 3), (0, 12), (3, 9)])
@pytest.mark.parametrize("batch_rows", [1, 7, 16, 100, 256, 1024])
def test_a_local_file_is_read_about_once(
    export: Callable[[int, Dialect], Path],
    counted: list[int],
    batch_rows: int,
    bits: tuple[int, int],
) -> None:
    """However many rows a record batch has, with windows that are no larger for it."""
    arrow = export(batch_rows, Dialect.MARCH_2026)
    most = check(str(arrow.parent), arrow.name, scale_of(16, *bits), arrow)
    assert sum(counted) <= MOST * arrow.stat().st_size
    assert most <= 1.5 * WINDOW_BYTES


@pytest.mark.parametrize("batch_rows", [1, 100])
@pytest.mark.parametrize("dialect", [d for d in Dialect if d is not Dialect.MARCH_2026])
def test_a_file_of_any_dialect_is_read_about_once(
    export: Callable[[int, Dialect], Path], counted: list[int], dialect: Dialect, batch_rows: int
) -> None:
    """Where the index lacks offsets, only the beginnings of batches are read for them."""
    arrow = export(batch_rows, dialect)
    check(str(arrow.parent), arrow.name, scale_of(16, 6, 6), arrow)
    assert sum(counted) <= MOST * arrow.stat().st_size


class Case(NamedTuple):
    """A file and the shard that is made of it."""

    dialect: str
    batch_rows: int
    block_bytes: int
    bits: tuple[int, int]
    seed: int


@given(
    case=st.builds(
        Case,
        st.sampled_from(DIALECTS),
        st.integers(1, 600),
        st.integers(0, 3000),
        st.sampled_from([(0, 12), (3, 9), (6, 6), (9, 3)]),
        st.integers(0, 99),
    )
)
@example(case=Case("none", 1, 60, (0, 12), 0))
@example(case=Case("old", 256, 500, (6, 6), 0))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bound_holds_for_all(
    counted: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: Case
) -> None:
    """Any dialect, rows in a batch, bytes of a row and order of chunks."""
    rows = block_rows(CASE_EDGE, case.seed, block_bytes=case.block_bytes)
    made = made_export(rows, case.dialect, batch_size=case.batch_rows)
    arrow = tmp_path / "0_0_0.arrow"
    arrow.write_bytes(made.arrow)
    for name, data in ((".csv", made.csv), ("-offsets.csv", made.offsets)):
        path = tmp_path / f"0_0_0{name}"
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
    window_bytes = max(CASE_WINDOW_BYTES, len(made.arrow) // 16)
    limit(monkeypatch, window_bytes)
    monkeypatch.setattr(source_files, "LOCAL_WHOLE_BYTES", WINDOWS * window_bytes)
    counted.clear()
    check(str(tmp_path), arrow.name, scale_of(CASE_EDGE, *case.bits), arrow)
    index_bytes = sum(len(data) for data in (made.csv, made.offsets) if data is not None)
    assert sum(counted) - index_bytes <= MOST * len(made.arrow) + SCHEMA_BYTES


def put(arrow: Path, bucket: str) -> str:
    """Copy an export's files to a bucket; the URL."""
    store = open_storage(f"gs://{bucket}/export")
    for path in arrow.parent.iterdir():
        store.write(path.name, path.read_bytes())
    return store.url


@pytest.mark.parametrize("dialect", [Dialect.MARCH_2026, Dialect.OLD])
@pytest.mark.parametrize("batch_rows", [1, 16, 100, 256])
def test_a_remote_file_is_read_about_once(  # noqa: PLR0917 - fixtures and parameters
    export: Callable[[int, Dialect], Path],
    counted: list[int],
    bucket: str,
    batch_rows: int,
    dialect: Dialect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By ranges of whole pages, or in one pass; windows and pages are smaller than real ones."""
    arrow = export(batch_rows, dialect)
    url = put(arrow, bucket)
    size = arrow.stat().st_size
    smaller = checked_reads.PAGE_BYTES // 4
    for module in (checked_reads, range_prefetch):
        monkeypatch.setattr(module, "PAGE_BYTES", smaller)
    monkeypatch.setattr(range_prefetch.RangePrefetch, "page_bytes", smaller)
    monkeypatch.setattr(pass_reader, "PASSED_ROWS_BYTES", int(0.7 * size))  # four flat layers
    monkeypatch.setattr(pass_reader, "_STEP_BYTES", size // 100)
    monkeypatch.setattr(pass_reader, "_AGAIN_BYTES", size // 10)
    monkeypatch.setattr(window_reader, "HELD_WINDOW_BYTES", size // 100)
    check(url, arrow.name, scale_of(16, 6, 6), arrow)
    assert sum(counted) <= MOST * size


@pytest.mark.parametrize("dialect", ["current", "old"])
@pytest.mark.parametrize("batch_rows", [1, 16, 64, 512])
def test_a_file_that_is_fetched_whole_is_read_once(
    counted: list[int],
    bucket: str,
    batch_rows: int,
    dialect: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where windows read rows of large batches, any part at any time."""
    rows = block_rows(CASE_EDGE, 7, block_bytes=3000)
    made = made_export(rows, dialect, batch_size=batch_rows)
    size = len(made.arrow)
    assert made.csv is not None
    storage = open_storage(f"gs://{bucket}/export")
    storage.write("0_0_0.arrow", made.arrow)
    storage.write("0_0_0.csv", made.csv)
    for module, name, value in (
        (source_files, "WHOLE_BYTES", size),
        (source_files, "SCANNED_BYTES", size),
        (window_reader, "SHARED_BYTES", size),
        (whole_fetch, "SHARED_SOURCE_BYTES", size),
        (whole_fetch, "FETCH_PART_BYTES", size // 20),
        (whole_fetch, "GRAIN_BYTES", size // 300),
        (window_reader, "HELD_WINDOW_BYTES", size // 20),
        (window_plan, "KEPT_BATCHES_BYTES", size // 5),
    ):
        monkeypatch.setattr(module, name, value)
    with SourceFiles(storage, ["0_0_0.arrow"]) as files:
        scale = scale_of(CASE_EDGE, 9, 3)
        windows = list(files.windows(assign_blocks(files.coords, scale, 0)))
    assert sum(len(window.rows) for window in windows) == len(rows)
    assert len(windows) > 10
    assert sum(counted) <= 1.02 * size
