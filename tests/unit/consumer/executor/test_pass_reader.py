"""One pass over files in a bucket whose index lacks byte offsets: rows, limits, errors."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import BytesSource
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import ShardReader
from braid.transcode.block_assignment import assign_blocks
from consumer.executor import held_rows, pass_reader, source_files, window_reader
from consumer.executor.held_rows import HeldRows
from consumer.executor.pass_reader import PassReader
from consumer.executor.source_files import SourceFiles
from runtime.storage import Storage, open_storage
from runtime.storage.gcs_source import GcsSource
from tests.support.arrow_exports import Export, made_export
from tests.support.block_rows import block_rows
from tests.support.specs import made_scale

EDGE = 8  # of the cube of blocks
KIB = 1 << 10


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is passed over, in many steps, for many windows."""
    monkeypatch.setattr(source_files, "SCANNED_BYTES", 0)
    monkeypatch.setattr(window_reader, "HELD_WINDOW_BYTES", 16 * KIB)
    monkeypatch.setattr(pass_reader, "_STEP_BYTES", 16 * KIB)


class Case(NamedTuple):
    """A file, the order in which windows want its rows, and how much of it may be held."""

    batch_rows: int
    preshift: int
    held_share: float
    chunk: int
    dialect: str
    seed: int


@pytest.fixture
def most_held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of rows that were held at any time."""
    found = [0]
    hold = HeldRows.hold

    def noted(self: HeldRows, *arguments: object) -> None:
        hold(self, *arguments)  # type: ignore[arg-type]  # passed on as they are
        found[0] = max(found[0], self._bytes)

    monkeypatch.setattr(HeldRows, "hold", noted)
    return found


def hold_at_most(monkeypatch: pytest.MonkeyPatch, most_bytes: int) -> None:
    """Limit the rows that wait for their window."""
    monkeypatch.setattr(pass_reader, "PASSED_ROWS_BYTES", most_bytes)


def put(storage: Storage, made: Export, name: str = "0_0_0") -> str:
    """Write an export's files; the path of the Arrow file."""
    storage.write(f"{name}.arrow", made.arrow)
    if made.csv is not None:
        storage.write(f"{name}.csv", made.csv)
    return f"{name}.arrow"


def scale_of(preshift: int = 3, chunk: int = 64) -> ScaleSpec:
    """Scale of one shard with all blocks."""
    inside = 3 * (64 * EDGE // chunk).bit_length() - 3
    return made_scale((64 * EDGE,) * 3, (chunk,) * 3, (preshift, inside - preshift, 0))


def rows_of(files: SourceFiles, scale: ScaleSpec) -> dict[tuple[int, ...], list[bytes]]:
    """Every row that the windows hold, as (block, labels, supervoxels) by its chunk."""
    found: dict[tuple[int, ...], list[bytes]] = {}
    for window in files.windows(assign_blocks(files.coords, scale, 0)):
        rows = window.rows
        for row, chunk in enumerate(rows.coords.tolist()):
            lists = rows.label_list(row), rows.supervoxel_list(row)
            found[tuple(chunk)] = [rows.block(row).tobytes(), *(one.tobytes() for one in lists)]
    return found


def expected_of(arrow: bytes, folder: Path) -> dict[tuple[int, ...], list[bytes]]:
    """The same, by the reader that holds the whole file."""
    path = folder / "whole.arrow"
    path.write_bytes(arrow)
    with ShardReader(path) as whole:
        rows = whole.read_rows(range(whole.chunk_count))
    return {
        tuple(chunk): [
            rows.block(row).tobytes(),
            rows.label_list(row).tobytes(),
            rows.supervoxel_list(row).tobytes(),
        ]
        for row, chunk in enumerate(rows.coords.tolist())
    }


@given(
    case=st.builds(
        Case,
        batch_rows=st.integers(1, 90),
        preshift=st.sampled_from([0, 3, 6]),
        held_share=st.sampled_from([0.02, 0.15, 0.3, 1.0]),
        chunk=st.sampled_from([64, 32]),
        dialect=st.sampled_from(["old", "morton"]),
        seed=st.integers(0, 99),
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_comes_with_its_window(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: Case
) -> None:
    """However little is held, in whatever order windows want the rows, also several times."""
    rows = block_rows(EDGE, case.seed, block_bytes=900)
    made = made_export(rows, case.dialect, batch_size=case.batch_rows)
    hold_at_most(monkeypatch, int(case.held_share * len(made.arrow)))
    monkeypatch.setattr(pass_reader, "_AGAIN_BYTES", len(made.arrow) // 20)
    storage = open_storage(f"gs://{bucket}/export")
    path = put(storage, made)
    with SourceFiles(storage, [path]) as files:
        assert isinstance(files.files[0].passed, PassReader)
        assert rows_of(files, scale_of(case.preshift, case.chunk)) == expected_of(
            made.arrow, tmp_path
        )
        everything = np.arange(len(files.coords))
        assert files.bytes_of(everything) == len(made.arrow) - _around(made.arrow)


def _around(arrow: bytes) -> int:
    """Bytes of the schema and of the end mark."""
    with ShardReader(_source(arrow)) as whole:
        return whole.index.schema_size + len(arrow) - whole.index.end


def _source(arrow: bytes) -> BytesSource:
    return BytesSource(arrow, "whole")


@pytest.mark.parametrize(("share", "most"), [(0.3, 1.25), (0.34, 1.2), (0.42, 1.05)])
@pytest.mark.parametrize("batch_rows", [1, 16])
def test_bytes_read_by_what_may_be_held(
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    batch_rows: int,
    share: float,
    most: float,
) -> None:
    """A third of a cube of blocks is enough to read it 1.2 times, 0.4 to read it once."""
    lengths: list[int] = []
    fetch = GcsSource._fetch

    def counted(self: GcsSource, offset: int, length: int) -> bytes:
        lengths.append(length)
        return fetch(self, offset, length)

    made = made_export(block_rows(16, 6, block_bytes=3000), "old", batch_size=batch_rows)
    size = len(made.arrow)
    hold_at_most(monkeypatch, int(share * size))
    monkeypatch.setattr(pass_reader, "_STEP_BYTES", size // 100)
    monkeypatch.setattr(pass_reader, "_AGAIN_BYTES", size // 10)
    monkeypatch.setattr(window_reader, "HELD_WINDOW_BYTES", size // 100)
    storage = open_storage(f"gs://{bucket}/export")
    path = put(storage, made)
    monkeypatch.setattr(GcsSource, "_fetch", counted)
    scale = made_scale((1024,) * 3, bits=(6, 6, 0))
    with SourceFiles(storage, [path]) as files:
        for _ in files.windows(assign_blocks(files.coords, scale, 0)):
            pass
    assert size <= sum(lengths) <= most * size


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_no_more_is_held_than_may_be(
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    most_held: list[int],
    tmp_path: Path,
    share: float,
) -> None:
    """What does not fit is read again."""
    made = made_export(block_rows(EDGE, 1, block_bytes=3000), "old", batch_size=4)
    most = int(share * len(made.arrow))
    hold_at_most(monkeypatch, most)
    storage = open_storage(f"gs://{bucket}/export")
    path = put(storage, made)
    with SourceFiles(storage, [path]) as files:
        assert rows_of(files, scale_of()) == expected_of(made.arrow, tmp_path)
    group_bytes = 16 * KIB * 2  # one step's, before what is too much goes
    assert 0 < most_held[0] <= most + group_bytes


def test_rows_are_not_read_long_before_their_window(
    bucket: str, monkeypatch: pytest.MonkeyPatch, most_held: list[int]
) -> None:
    """Room alone is no reason to hold more than the windows behind the next few need."""
    made = made_export(block_rows(16, 7, block_bytes=3000), "old", batch_size=16)
    size = len(made.arrow)
    hold_at_most(monkeypatch, size)
    monkeypatch.setattr(pass_reader, "_STEP_BYTES", size // 64)
    monkeypatch.setattr(window_reader, "HELD_WINDOW_BYTES", size // 64)
    storage = open_storage(f"gs://{bucket}/export")
    path = put(storage, made)
    scale = made_scale((1024,) * 3, bits=(6, 6, 0))
    with SourceFiles(storage, [path]) as files:
        for _ in files.windows(assign_blocks(files.coords, scale, 0)):
            pass
    assert 0.4 * size < most_held[0] < 0.5 * size


def test_large_batches_among_small_ones_are_not_held(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of those the rows are read by their ranges."""
    made = made_export(block_rows(EDGE, 2, block_bytes=900), "old", batch_size=16)
    passed = pass_reader.SMALL_BATCH_BYTES
    storage = open_storage(f"gs://{bucket}/export")
    path = put(storage, made)
    with SourceFiles(storage, [path]) as files:
        assert files.files[0].passed is not None
        monkeypatch.setattr(pass_reader, "SMALL_BATCH_BYTES", 9 * KIB)
        assert passed > 9 * KIB
        assert rows_of(files, scale_of()) == expected_of(made.arrow, tmp_path)


def test_files_of_a_shard_share_what_may_be_held(
    bucket: str, monkeypatch: pytest.MonkeyPatch, most_held: list[int], tmp_path: Path
) -> None:
    """Rows of both come with the windows that need them."""
    rows = block_rows(EDGE, 3, block_bytes=900)
    half = [made_export(rows[at : at + EDGE**3 // 2], "old", batch_size=3) for at in (0, 256)]
    most = sum(len(one.arrow) for one in half) // 5
    hold_at_most(monkeypatch, most)
    storage = open_storage(f"gs://{bucket}/export")
    paths = [put(storage, one, name) for one, name in zip(half, ("a", "b"), strict=True)]
    with SourceFiles(storage, paths) as files:
        found = rows_of(files, scale_of())
    assert found == expected_of(half[0].arrow, tmp_path) | expected_of(half[1].arrow, tmp_path)
    assert most_held[0] <= most + 32 * KIB


def test_files_held_whole_leave_less_for_a_pass(
    bucket: str, monkeypatch: pytest.MonkeyPatch, most_held: list[int], tmp_path: Path
) -> None:
    """All together stay within what a shard may hold."""
    rows = block_rows(EDGE, 8, block_bytes=900)
    half = [made_export(rows[at : at + EDGE**3 // 2], "old", batch_size=3) for at in (0, 256)]
    whole = len(half[0].arrow)
    monkeypatch.setattr(source_files, "SCANNED_BYTES", whole)
    monkeypatch.setattr(pass_reader, "SHARED_SOURCE_BYTES", whole)
    hold_at_most(monkeypatch, whole + 50 * KIB)
    storage = open_storage(f"gs://{bucket}/export")
    paths = [put(storage, one, name) for one, name in zip(half, ("a", "b"), strict=True)]
    with SourceFiles(storage, paths) as files:
        assert [file.passed is None for file in files.files] == [True, False]
        found = rows_of(files, scale_of())
    assert found == expected_of(half[0].arrow, tmp_path) | expected_of(half[1].arrow, tmp_path)
    assert 0 < most_held[0] <= (50 + 32) * KIB


def cut_short(made: Export) -> Export:
    """Without its last bytes."""
    return Export(made.arrow[:-100], made.csv, None)


def row_less(made: Export) -> Export:
    """An index that lacks the last row."""
    assert made.csv is not None
    return Export(made.arrow, made.csv[: made.csv.rstrip().rfind(b"\n") + 1], None)


def row_more(made: Export) -> Export:
    """An index with a row that the file does not hold."""
    assert made.csv is not None
    last = int(made.csv.split()[-1].split(b",")[3])
    return Export(made.arrow, made.csv + b"900,900,900,%d\n" % (last + 1), None)


def other_chunk(made: Export) -> Export:
    """An index that gives row 300 another chunk."""
    assert made.csv is not None
    lines = made.csv.split(b"\n")
    lines[301] = b"901,901,901,300"
    return Export(made.arrow, b"\n".join(lines), None)


def second_stream(made: Export) -> Export:
    """The same export once more behind the first."""
    return Export(made.arrow + made.arrow, made.csv, None)


@pytest.mark.parametrize("damage", [cut_short, row_less, row_more, other_chunk, second_stream])
def test_a_damaged_file_is_refused_as_on_a_disk(
    bucket: str, tmp_path: Path, damage: Callable[[Export], Export]
) -> None:
    """In the same words, at the end of its windows at the latest."""
    made = damage(made_export(block_rows(EDGE, 4, block_bytes=300), "old", batch_size=5))
    errors = []
    for url in (str(tmp_path), f"gs://{bucket}/export"):
        storage = open_storage(url)
        path = put(storage, made)
        with (
            pytest.raises(InvalidShardFormatError) as caught,
            SourceFiles(storage, [path]) as files,
        ):
            rows_of(files, scale_of())
        errors.append(str(caught.value).replace(storage.url, ""))
    assert errors[0] == errors[1]


def test_a_damaged_row_is_named(bucket: str) -> None:
    """By file, row and chunk."""
    made = made_export(block_rows(EDGE, 5, block_bytes=300), "old", batch_size=1)
    with ShardReader(_source(made.arrow)) as whole:
        at = int(whole.index.offset[200])
    arrow = bytearray(made.arrow)
    arrow[at + 8 : at + 40] = b"\xff" * 32
    storage = open_storage(f"gs://{bucket}/export")
    path = put(storage, Export(bytes(arrow), made.csv, None))
    with (
        pytest.raises(InvalidShardFormatError, match=f"message at byte {at}"),
        SourceFiles(storage, [path]) as files,
    ):
        rows_of(files, scale_of())


def test_held_rows_count_what_they_hold() -> None:
    """Nothing is left over once all is taken."""
    held = HeldRows(1)
    assert held.has_room(1)
    held.lack(3, 0, np.arange(4), 100)
    held.lack(4, 0, np.arange(4, 6), 50)
    assert not held.has_room(1)
    assert held.take_lacking(2, 0, 1000) == {}
    found = held.take_lacking(3, 0, 120)
    assert {window: rows.tolist() for window, rows in found.items()} == {
        3: [0, 1, 2, 3],
        4: [4, 5],
    }
    assert held.has_room(1)
    assert held_rows.HeldRows(0).has_room(0)
