"""Listing of an export: Arrow files and their indices."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from producer.export_listing import list_scale, origin_of, read_listing
from runtime.errors import UsageError
from runtime.storage import ObjectInfo, open_storage


def entry(path: str, size: int = 7) -> ObjectInfo:
    """A line of a listing."""
    return ObjectInfo(path, size, None, datetime(2026, 1, 1, tzinfo=UTC), None)


def test_shards_are_arrow_files_with_the_sizes_of_their_indices() -> None:
    """CSV files count for the Arrow file of their name, -offsets too; others are ignored."""
    names = ["0_0_0.arrow", "0_0_0.csv", "0_0_0-offsets.csv", "0_0_0-labels.csv", "notes.txt"]
    found = read_listing([entry(f"s0/{name}") for name in [*names, "64_0_0.arrow"]], 0)
    assert [(f.path, f.origin, f.size_bytes, f.index_bytes) for f in found.files] == [
        ("s0/0_0_0.arrow", (0, 0, 0), 7, 14),
        ("s0/64_0_0.arrow", (64, 0, 0), 7, 0),
    ]
    assert found.without_index == ("s0/64_0_0.arrow",)
    assert found.size_bytes == 14


def test_hidden_files_and_deeper_folders_are_ignored() -> None:
    """Files that an operating system adds cause no error."""
    found = read_listing([entry("s0/._0_0_0.arrow"), entry("s0/old/0_0_0.arrow")], 0)
    assert found.files == ()


@pytest.mark.parametrize(
    "name", ["a_b_c.arrow", "0_0.arrow", "0_0_0 (copy).arrow", ".5_0_0_.arrow"]
)
def test_a_name_without_an_origin_is_refused(name: str) -> None:
    """Its rows would silently be left out."""
    with pytest.raises(UsageError, match="voxel origin"):
        origin_of(f"s0/{name}")


def test_a_scale_without_files_is_refused(tmp_path: Path) -> None:
    """The error names the folder and says what --source should be."""
    (tmp_path / "s1").mkdir()
    with pytest.raises(UsageError, match="no s0/") as error:
        list_scale(open_storage(str(tmp_path)), 0)
    assert "export-shards" in (error.value.hint or "")
