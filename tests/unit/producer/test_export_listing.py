"""Listing of an export: Arrow files, their indices, and what cannot be read whole."""

from pathlib import Path

import pytest

from producer.export_listing import (
    ListingProblem,
    ProblemKind,
    ScaleListing,
    list_scale,
    origin_of,
    outside_volume,
    read_listing,
)
from runtime.errors import UsageError
from runtime.storage import open_storage
from tests.support.export_listings import export_file, listed
from tests.support.specs import made_scale


def problems_of(*names: str, empty: tuple[str, ...] = ()) -> tuple[ListingProblem, ...]:
    """Problems of a scale with these files."""
    entries = [listed(f"s0/{name}", 0 if name in empty else 7) for name in names]
    return read_listing(entries, 0).problems


def test_shards_are_arrow_files_with_their_indices() -> None:
    """CSV files belong to the Arrow file of their name, -offsets too; others are ignored."""
    names = ["0_0_0.arrow", "0_0_0.csv", "0_0_0-offsets.csv", "0_0_0-labels.csv", "notes.txt"]
    found = read_listing([listed(f"s0/{name}") for name in [*names, "64_0_0.arrow"]], 0)
    assert [(f.path, f.origin, f.size_bytes, f.index_bytes) for f in found.files] == [
        ("s0/0_0_0.arrow", (0, 0, 0), 7, 14),
        ("s0/64_0_0.arrow", (64, 0, 0), 7, 0),
    ]
    assert [info.path for info in found.files[0].indices] == [
        "s0/0_0_0-offsets.csv",
        "s0/0_0_0.csv",
    ]
    assert found.without_index == ("s0/64_0_0.arrow",)
    assert found.size_bytes == 14


def test_files_stored_as_gzip_are_problems_and_left_out() -> None:
    """The listing tells; an Arrow file without its index would be read whole, and slowly."""
    packed = [
        listed(f"s0/{name}")._replace(content_encoding="gzip")
        for name in ("0_0_0.arrow", "64_0_0.csv")
    ]
    plain = [
        listed(f"s0/{name}")
        for name in ("0_0_0.csv", "64_0_0.arrow", "128_0_0.arrow", "128_0_0.csv")
    ]
    # A mark of some clients.
    other = listed("s0/192_0_0.arrow")._replace(content_encoding="aws-chunked")
    found = read_listing([*packed, *plain, other, listed("s0/192_0_0.csv")], 0)
    assert [file.path for file in found.files] == ["s0/128_0_0.arrow", "s0/192_0_0.arrow"]
    assert [(p.kind, p.path) for p in found.problems] == [
        (ProblemKind.PACKED, "s0/0_0_0.arrow"),
        (ProblemKind.PACKED, "s0/64_0_0.csv"),
    ]
    assert "stored with Content-Encoding gzip" in found.problems[0].text


def test_a_file_has_the_stamps_of_all_that_it_is_read_from() -> None:
    """By path; another size, checksum or time of any of them is another stamp."""
    names = ["s0/0_0_0.arrow", "s0/0_0_0.csv", "s0/0_0_0-offsets.csv"]
    (file,) = read_listing([listed(name, 7, "AAAAAA==") for name in names], 0).files
    assert file.stamps == tuple((name, "7-AAAAAA==") for name in sorted(names))
    (changed,) = read_listing([listed(name, 7, "BAAAAA==") for name in names], 0).files
    assert not set(changed.stamps) & set(file.stamps)


@pytest.mark.parametrize(
    "name",
    [
        "._0_0_0.arrow",
        "._0_0_0.csv",
        "old/0_0_0.arrow",
        "0_0_0-labels.csv",
        "0_0_0-predicted.csv",
        "0_0_0.arrow.md5",
        "labels-summary.json",
        "labels.csv",
        ".DS_Store",
        "arrow.part",
    ],
)
def test_what_an_export_does_not_consist_of_is_ignored(name: str) -> None:
    """Files of an operating system or of other tools, and deeper folders, cause no error."""
    found = read_listing([listed(f"s0/{name}")], 0)
    assert (found.files, found.problems) == ((), ())


@pytest.mark.parametrize("index", ["0_0_0.csv", "0_0_0-offsets.csv"])
def test_an_index_without_its_arrow_file_is_told(index: str) -> None:
    """DVID writes it only beside one, so rows are missing."""
    (problem,) = problems_of(index, "64_0_0.arrow", "64_0_0.csv")
    assert (problem.kind, problem.path) == (ProblemKind.INDEX_ALONE, f"s0/{index}")
    assert f"s0/{index}: an index without its Arrow file: copy s0/0_0_0.arrow" in problem.text


def test_an_arrow_file_without_index_is_told_where_others_have_one() -> None:
    """An export of which no file has an index is whole: it is read to find its rows."""
    (problem,) = problems_of("0_0_0.arrow", "64_0_0.arrow", "64_0_0-offsets.csv")
    assert (problem.kind, problem.path) == (ProblemKind.INDEX_MISSING, "s0/0_0_0.arrow")
    assert "copy s0/0_0_0.csv" in problem.text
    assert "`producer offsets`" in problem.text
    assert problems_of("0_0_0.arrow", "64_0_0.arrow") == ()


def test_files_of_no_bytes_are_told() -> None:
    """DVID creates both files before it writes to them; such an Arrow file is not read."""
    names = ("0_0_0.arrow", "0_0_0.csv", "64_0_0.arrow", "64_0_0.csv")
    empty_arrow, empty_index = problems_of(*names, empty=("0_0_0.arrow", "64_0_0.csv"))
    assert (empty_arrow.kind, empty_arrow.path) == (ProblemKind.EMPTY_ARROW, "s0/0_0_0.arrow")
    assert (empty_index.kind, empty_index.path) == (ProblemKind.EMPTY_INDEX, "s0/64_0_0.csv")
    entries = [listed("s0/0_0_0.arrow", 0), listed("s0/64_0_0.arrow")]
    assert [file.path for file in read_listing(entries, 0).files] == ["s0/64_0_0.arrow"]


@pytest.mark.parametrize(
    "name",
    [
        ".0_0_0.arrow.aB3dEf",  # rsync
        ".~tmp~/0_0_0.arrow",  # rsync --delay-updates
        "0_0_0.arrow.part",  # curl, browsers
        "0_0_0.arrow_.gstmp",  # gsutil
        "0_0_0.arrow.partial",  # rclone
        "0_0_0.csv.filepart",  # WinSCP
        ".syncthing.0_0_0.arrow.tmp",
        "0_0_0.arrow~",
        "0_0_0.ARROW",
        "0_0_0.Csv",
        "0_0_0.arrow.gz",
        "0_0_0 (1).csv",
        "copy of 0_0_0.arrow.bak",
        ".0_0_0.arrow",
    ],
)
def test_what_a_copy_leaves_is_told(name: str) -> None:
    """Its rows would be zeros: a name that holds a cell's name and is neither file nor index."""
    (problem,) = problems_of(name, "64_0_0.arrow", "64_0_0.csv")
    assert (problem.kind, problem.path) == (ProblemKind.LEFTOVER, f"s0/{name}")
    assert problem.text.startswith(f"s0/{name}: left by a copy")


def test_a_broken_link_is_told_and_is_not_read(tmp_path: Path) -> None:
    """Once, whatever it is a link of, and a link in a circle too; others are ignored."""
    folder = tmp_path / "s0"
    folder.mkdir()
    for name in ("64_0_0.arrow", "64_0_0.csv", "128_0_0.arrow"):
        (folder / name).write_bytes(b"x")
    for name in ("0_0_0.arrow", "128_0_0.csv", "notes"):
        (folder / name).symlink_to(tmp_path / "unmounted")
    (folder / "192_0_0.arrow").symlink_to(folder / "192_0_0.arrow")
    found = list_scale(open_storage(str(tmp_path)), 0)
    assert [file.path for file in found.files] == ["s0/128_0_0.arrow", "s0/64_0_0.arrow"]
    assert [(problem.kind, problem.path) for problem in found.problems] == [
        (ProblemKind.BROKEN_LINK, f"s0/{name}")
        for name in ("0_0_0.arrow", "128_0_0.csv", "192_0_0.arrow")
    ]


@pytest.mark.parametrize(
    "name", ["a_b_c.arrow", "0_0.arrow", "0_0_0 (copy).arrow", "0_0_0 (1).arrow", ".5_0_0_.arrow"]
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


def test_a_scale_of_leftovers_is_refused_with_one_of_them(tmp_path: Path) -> None:
    """The folder is right, and the copy has just begun."""
    (tmp_path / "s0").mkdir()
    (tmp_path / "s0" / ".0_0_0.arrow.aB3dEf").write_bytes(b"x")
    with pytest.raises(UsageError, match="no s0/") as error:
        list_scale(open_storage(str(tmp_path)), 0)
    assert "left by a copy" in (error.value.hint or "")


def test_files_named_outside_the_volume_are_told() -> None:
    """But not DVID's name for the block beyond the last id, which stands for 0."""
    scale = made_scale((512, 640, 640), bits=(3, 3, 12))
    origins = [(0, 0, 0), (512, 0, 0), (768, 0, 0), (0, 512, 768)]
    files = [export_file(f"s0/{'_'.join(map(str, at))}.arrow", at) for at in origins]
    found = outside_volume(ScaleListing(0, tuple(files)), scale)
    assert [(problem.kind, problem.path) for problem in found] == [
        (ProblemKind.OUTSIDE_VOLUME, f"s0/{name}.arrow") for name in ("768_0_0", "0_512_768")
    ]
    assert "the volume of 512 x 640 x 640 voxels" in found[0].text
