"""Readers that open gs:// URLs with Google's client."""

import os
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from braid.exceptions import SourceNotFoundError
from braid.io.byte_source import GcsSource, open_source, read_exactly
from braid.reader import ShardRangeReader, ShardReader
from tests.support.arrow_exports import made_export, made_rows
from tests.support.gcs_server import GcsServer


@pytest.fixture
def home(gcs: GcsServer, bucket: str) -> Any:  # noqa: ANN401 (Google publishes no types)
    """Google's handle of an empty bucket."""
    client = storage.Client(project="local", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    assert os.environ["STORAGE_EMULATOR_HOST"] == gcs.url
    return client.bucket(bucket)


def test_ranges_of_an_object(home: Any) -> None:  # noqa: ANN401 (Google publishes no types)
    """Size and ranges come from the object; every range is one request."""
    home.blob("a/b.bin").upload_from_string(bytes(range(256)))
    source = open_source(f"gs://{home.name}/a/b.bin")
    assert isinstance(source, GcsSource)
    assert source.size == 256
    assert bytes(read_exactly(source, 250, 6)) == bytes(range(250, 256))
    assert bytes(read_exactly(source, 3, 0)) == b""
    assert source.requests == 1
    assert source.name == f"gs://{home.name}/a/b.bin"


def test_no_such_object(home: Any) -> None:  # noqa: ANN401 (Google publishes no types)
    """A missing object is the same error as a missing file."""
    with pytest.raises(SourceNotFoundError, match=r"File not found: .*/absent"):
        open_source(f"gs://{home.name}/absent")


@pytest.mark.parametrize("reader", [ShardReader, ShardRangeReader])
@pytest.mark.parametrize("dialect", ["current", "beside", "none"])
def test_a_shard_in_a_bucket(home: Any, reader: type[ShardReader], dialect: str) -> None:  # noqa: ANN401 (Google publishes no types)
    """A shard and its index files, found from its URL alone."""
    rows = made_rows(6)
    export = made_export(rows, dialect, batch_size=2)
    home.blob("s0/0_0_0.arrow").upload_from_string(export.arrow)
    if export.csv is not None:
        home.blob("s0/0_0_0.csv").upload_from_string(export.csv)
    if export.offsets is not None:
        home.blob("s0/0_0_0-offsets.csv").upload_from_string(export.offsets)
    shard = reader(f"gs://{home.name}/s0/0_0_0.arrow")
    found = shard.read_rows([5, 0])
    assert found.coords.tolist() == [list(rows[5].coords), list(rows[0].coords)]
    assert found.block(1).tobytes() == rows[0].block
