"""What a listing of an export tells, and which voxels a file's name stands for."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.volume import VolumeSpec
from producer.dvid_export import file_edge
from producer.scan import cell_edges, cell_of, origin_of, read_listing, scan
from runtime.errors import UsageError
from runtime.storage import ObjectInfo, open_storage
from tests.made_specs import made_scale


def entry(path: str, size: int = 7) -> ObjectInfo:
    """A line of a listing."""
    return ObjectInfo(path, size, None, datetime(2026, 1, 1, tzinfo=UTC), None)


def test_shards_are_arrow_files_with_the_sizes_of_their_indices() -> None:
    """CSV files count for the shard of their name, -offsets too; others are nobody's."""
    names = ["0_0_0.arrow", "0_0_0.csv", "0_0_0-offsets.csv", "0_0_0-labels.csv", "notes.txt"]
    found = read_listing([entry(f"s0/{name}") for name in [*names, "64_0_0.arrow"]], 0)
    assert [(f.path, f.origin, f.size_bytes, f.index_bytes) for f in found.files] == [
        ("s0/0_0_0.arrow", (0, 0, 0), 7, 14),
        ("s0/64_0_0.arrow", (64, 0, 0), 7, 0),
    ]
    assert found.without_index == ("s0/64_0_0.arrow",)
    assert found.size_bytes == 14


def test_hidden_files_and_deeper_folders_are_no_shards() -> None:
    """What an operating system leaves beside files stops nobody."""
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
        scan(open_storage(str(tmp_path)), 0)
    assert "export-shards" in (error.value.hint or "")


def test_real_scales_have_cubic_cells(shared: Path) -> None:
    """2048 voxels by both rules, as the real file's name 30720_24576_28672 agrees."""
    spec = VolumeSpec.parse((shared / "specs/mcns-export-specs.json").read_bytes())
    assert cell_edges(spec.scales[1]) == (2048, 2048)
    begin, end = cell_of((30720, 24576, 28672), cell_edges(spec.scales[1]))
    assert (begin, end) == ((30720, 24576, 28672), (32768, 26624, 30720))


def test_boxes_that_are_no_cubes_have_two_edges() -> None:
    """16 low bits: 64 x 32 x 32 chunks; newer DVID names by 4096, older by 2048."""
    scale = made_scale((1 << 17, 1 << 17, 1 << 17), bits=(10, 6, 17))
    assert cell_edges(scale) == (4096, 2048)
    assert cell_edges(scale)[0] == file_edge(scale) * 64


def test_a_name_tells_its_cell_where_it_can() -> None:
    """Not a multiple of the larger edge: the smaller one; a multiple of neither: the larger."""
    edges = (4096, 2048)
    assert cell_of((2048, 0, 0), edges)[1] == (4096, 2048, 2048)
    assert cell_of((4096, 0, 0), edges)[1] == (8192, 4096, 4096)
    assert cell_of((64, 0, 0), edges)[1] == (4160, 4096, 4096)


def test_decimated_slices_make_the_source_deeper() -> None:
    """The source of a volume with every second slice has one more bit in z."""
    scale = made_scale((256, 256, 2048), bits=(2, 4, 6))
    assert cell_edges(scale) == (64 << 2, 256)
    flat = made_scale((64, 64, 2048), bits=(3, 3, 0))
    assert cell_edges(flat, 1) == (64 << 6, 256)


@given(
    size=st.tuples(*[st.integers(1, 20_000)] * 3),
    bits=st.tuples(st.integers(0, 9), st.integers(0, 6)),
    chunk=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3),
)
def test_every_chunk_lies_in_the_cell_that_names_its_file(
    size: tuple[int, int, int], bits: tuple[int, int], chunk: tuple[float, float, float]
) -> None:
    """Whichever DVID wrote the export, the cell read from the name holds the chunk."""
    scale = made_scale(size, bits=(*bits, 64 - sum(bits)))
    at = [int(share * n) for share, n in zip(chunk, scale.grid, strict=True)]
    for edge in cell_edges(scale):
        x, y, z = (c * 64 // edge * edge for c in at)
        begin, end = cell_of((x, y, z), cell_edges(scale))
        inside = zip(begin, (c * 64 for c in at), end, strict=True)
        assert all(b <= v < e for b, v, e in inside)
