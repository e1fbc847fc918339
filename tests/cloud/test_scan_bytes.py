"""Bytes that a large file without byte offsets costs in a bucket, counted by its server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from braid.reader import ShardRangeReader
from consumer.executor.range_prefetch import RangePrefetch
from producer.export_writer import Dialect, ExportFormat
from producer.synthetic_export import write_large
from runtime.storage import open_storage
from tests.support.gcs_server import Answer, GcsServer, Request
from tests.support.specs import made_scale

ROWS = 256  # of 22 KB


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


@pytest.mark.parametrize(("batch_rows", "most"), [(64, 1.2), (128, 1.2), (1, 2.1), (16, 2.1)])
def test_bytes_read_of_a_file_by_ranges(
    gcs: GcsServer, bucket: str, tmp_path: Path, batch_rows: int, most: float
) -> None:
    """Beginnings of batches of 1 MiB and more, and each row once; small ones are read to be found.

    One begins where the one before ends, so that beginnings cannot be requested side by side: of
    thousands of small batches that would take minutes.
    """
    form = ExportFormat(Dialect.OLD, batch_rows=batch_rows)
    scale = made_scale((512, 512, 256), bits=(6, 6, 0))
    arrow = write_large(tmp_path, scale, ROWS, pitch=6, pool=6, form=form)
    storage = open_storage(f"gs://{bucket}")
    storage.write("0_0_0.arrow", arrow.read_bytes())
    with counted(gcs) as lengths:
        reader = ShardRangeReader(RangePrefetch(storage.source("0_0_0.arrow")))
        rows = [reader.read_rows(range(at, at + 128)) for at in (0, 128)]
    assert sum(map(len, rows)) == ROWS
    assert sum(lengths) >= arrow.stat().st_size
    assert sum(lengths) <= most * arrow.stat().st_size
