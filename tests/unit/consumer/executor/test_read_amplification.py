"""Bytes read for a shard, by the bytes of its file: each is read about once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from braid.reader import ShardReader
from braid.transcode.block_assignment import assign_blocks
from consumer.executor import source_files
from consumer.executor.source_files import SourceFiles
from producer.export_writer import Dialect, ExportFormat
from producer.synthetic_export import write_large
from runtime.storage import open_storage
from runtime.storage.gcs_source import GcsSource
from runtime.storage.local import LocalSource
from tests.support.specs import made_scale

MOST = 1.2
CHUNKS = 1024
WINDOW_BYTES = 2 << 20


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
    """Lengths of everything that is read of a disk or a bucket."""
    lengths: list[int] = []
    read, fetch = LocalSource._read, GcsSource._fetch

    def local(self: LocalSource, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(self, offset, length)

    def remote(self: GcsSource, offset: int, length: int) -> bytes:
        lengths.append(length)
        return fetch(self, offset, length)

    monkeypatch.setattr(LocalSource, "_read", local)
    monkeypatch.setattr(GcsSource, "_fetch", remote)
    monkeypatch.setattr(source_files, "LOCAL_WINDOW_BYTES", WINDOW_BYTES)
    monkeypatch.setattr(source_files, "REMOTE_WINDOW_BYTES", WINDOW_BYTES)
    monkeypatch.setattr(source_files, "WHOLE_BYTES", 0)
    return lengths


def check(url: str, path: str, bits: tuple[int, int], arrow: Path) -> int:
    """Read the shard window by window; every row must be the file's. The largest window's bytes."""
    scale = made_scale((1024,) * 3, bits=(*bits, 0))
    with ShardReader(arrow) as whole:
        expected = whole.read_rows(range(CHUNKS))
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
    assert seen == CHUNKS
    return most


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
    most = check(str(arrow.parent), arrow.name, bits, arrow)
    assert sum(counted) <= MOST * arrow.stat().st_size
    assert most <= 1.5 * WINDOW_BYTES


@pytest.mark.parametrize("dialect", [d for d in Dialect if d is not Dialect.MARCH_2026])
def test_a_file_of_any_dialect_is_read_about_once(
    export: Callable[[int, Dialect], Path], counted: list[int], dialect: Dialect
) -> None:
    """Where the index lacks offsets, only the beginnings of large batches are read for them."""
    arrow = export(100, dialect)
    check(str(arrow.parent), arrow.name, (6, 6), arrow)
    assert sum(counted) <= MOST * arrow.stat().st_size


@pytest.mark.parametrize("batch_rows", [1, 16, 256])
def test_a_remote_file_is_read_about_once(
    export: Callable[[int, Dialect], Path], counted: list[int], bucket: str, batch_rows: int
) -> None:
    """By ranges, from a bucket."""
    arrow = export(batch_rows, Dialect.MARCH_2026)
    store = open_storage(f"gs://{bucket}/export")
    for path in arrow.parent.iterdir():
        store.write(path.name, path.read_bytes())
    check(f"gs://{bucket}/export", arrow.name, (6, 6), arrow)
    assert sum(counted) <= MOST * arrow.stat().st_size
