"""Bytes that a large file without byte offsets costs in a bucket, counted by its server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from braid.transcode.block_assignment import assign_blocks
from consumer.executor import source_files
from consumer.executor.source_files import SourceFiles
from producer.export_writer import Dialect, ExportFormat
from producer.synthetic_export import write_large
from runtime.storage import open_storage
from tests.support.gcs_server import Answer, GcsServer, Request
from tests.support.specs import made_scale

ROWS = 256  # of 22 KB
LARGE_ROWS = 256  # as many are a batch of more than 4 MiB


@contextmanager
def counted(server: GcsServer) -> Iterator[list[int]]:
    """Lengths of all parts of objects that are read meanwhile."""
    lengths: list[int] = []
    answer = server.service.answer

    def answered(request: Request) -> Answer:
        found = answer(request)
        if request.query.get("alt") == "media":
            lengths.append(len(found.body))
        return found

    with mock.patch.object(server.service, "answer", answered):
        yield lengths


@pytest.mark.parametrize("batch_rows", [1, 16, 64, 128, 256])
def test_bytes_read_of_a_file_that_is_not_fetched_whole(
    gcs: GcsServer,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_rows: int,
) -> None:
    """Small batches are read in one pass, of large ones the beginnings and then the rows."""
    monkeypatch.setattr(source_files, "WHOLE_BYTES", 0)
    form = ExportFormat(Dialect.OLD, batch_rows=batch_rows)
    scale = made_scale((512, 512, 256), bits=(6, 6, 0))
    arrow = write_large(tmp_path, scale, ROWS, pitch=6, pool=6, form=form)
    storage = open_storage(f"gs://{bucket}/export")
    for path in (arrow, arrow.with_suffix(".csv")):
        storage.write(path.name, path.read_bytes())
    index_bytes = arrow.with_suffix(".csv").stat().st_size
    with counted(gcs) as lengths, SourceFiles(storage, [arrow.name]) as files:
        windows = list(files.windows(assign_blocks(files.coords, scale, 0)))
        assert (files.files[0].passed is not None) == (batch_rows < LARGE_ROWS)
    assert sum(len(window.rows) for window in windows) == ROWS
    assert sum(lengths) >= arrow.stat().st_size
    assert sum(lengths) - index_bytes <= 1.2 * arrow.stat().st_size
