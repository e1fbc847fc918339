"""One output shard: rows assigned and counted, windows, publishing, and bad input named."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braid.exceptions import BraidError, DecompressionError, InvalidShardFormatError
from braid.precomputed.sharding import all_shards
from braid.precomputed.volume_spec import VolumeSpec
from braid.transcode import transcoder
from consumer.executor import source_file, source_files, window_reader
from consumer.executor.__main__ import kind_of
from consumer.executor.convert import convert_shard
from consumer.executor.source_files import SourceFiles
from consumer.protocol.tasks import ConvertTask
from delivery.ledger.source_digest import source_digest
from producer.export_writer import Dialect, ExportFormat, Row, make_row, write_file
from runtime.errors import DamagedInTransit, ObjectNotFound, OutOfMemory, UnreachableError
from runtime.storage import open_storage, source_stamp
from runtime.storage.local import LocalStorage
from runtime.storage.local_source import LocalSource
from tests.support.gcs_server import GcsServer
from tests.support.specs import made_info
from tests.support.volumes import tensorstore_voxels
from tests.support.voxel_exports import ArrayField, Conversion, blobs, source_spec

SIZE = (260, 200, 190)
FIELD = blobs(SIZE, 1)
INFO = made_info(SIZE, (), bits=((2, 2),))
ZSTD = b"\x28\xb5\x2f\xfd"  # a frame begins with it


@pytest.fixture
def made(tmp_path: Path) -> Conversion:
    """A volume of several shards, each with an export file of its own."""
    return Conversion.of(tmp_path, FIELD, INFO)


def rows_of(*coords: tuple[int, int, int], label: int = 5) -> list[Row]:
    """Solid blocks."""
    return [make_row(c, np.full((64, 64, 64), label, np.uint64), lambda s: s) for c in coords]


def task(root: Path, info: dict[str, Any], *names: str, **options: Any) -> ConvertTask:  # noqa: ANN401
    """The first shard, from files of `root`/export."""
    return ConvertTask(
        run="r",
        key="s0/0",
        volume=info,
        scale=0,
        shard=0,
        dest=str(root / "volume"),
        source=str(root / "export"),
        sources=names,
        **options,
    )


def convert(
    what: ConvertTask,
    confirm: Callable[[], None] = lambda: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Any:  # noqa: ANN401 - an Outcome
    """As the executor does."""
    dest, source = open_storage(what.dest), open_storage(what.source)
    return convert_shard(what, dest, source, confirm, on_progress)


# -- rows


def test_rows_are_assigned_by_their_chunk_alone(tmp_path: Path) -> None:
    """Rows of other shards and rows outside the volume are skipped and counted."""
    info = made_info((128, 128, 128), (), bits=((0, 0),))
    inside, elsewhere, outside = (0, 0, 0), [(1, 0, 0), (1, 1, 1)], [(2, 0, 0), (0, 9, 0)]
    write_file(tmp_path / "export", "a", rows_of(inside, *elsewhere, *outside), ExportFormat())
    outcome = convert(task(tmp_path, info, "a.arrow"))
    assert (outcome.chunks, outcome.skipped_elsewhere, outcome.skipped_outside) == (1, 2, 2)
    assert outcome.bytes_out == (tmp_path / "volume" / "s0" / "0.shard").stat().st_size


def test_several_files_feed_one_shard(tmp_path: Path) -> None:
    """Their rows are merged in chunk-id order, whatever the order of the files."""
    info = made_info((256, 64, 64), (), bits=((2, 0),))
    form = ExportFormat()
    write_file(tmp_path / "export", "even", rows_of((0, 0, 0), (2, 0, 0)), form)
    write_file(tmp_path / "export", "odd", rows_of((3, 0, 0), (1, 0, 0), label=6), form)
    seen = []
    for names in (("even.arrow", "odd.arrow"), ("odd.arrow", "even.arrow")):
        outcome = convert(task(tmp_path, info, *names, threads=2))
        assert (outcome.chunks, outcome.labels) == (4, 4)
        seen.append((tmp_path / "volume" / "s0" / "0.shard").read_bytes())
    assert seen[0] == seen[1]


def test_what_an_outcome_counts(made: Conversion) -> None:
    """Bytes of the messages used, requests, labels, seconds by phase."""
    outcomes = made.all()
    exported = sum(p.stat().st_size for p in (made.root / "export").rglob("*.arrow"))
    bytes_in = sum(o.bytes_in for o in outcomes.values())
    files = len(list((made.root / "export").rglob("*.arrow")))
    assert exported - 2000 * files < bytes_in < exported  # less a schema and an end mark each
    assert sum(o.bytes_out for o in outcomes.values()) == sum(map(len, made.shards().values()))
    for outcome in outcomes.values():
        assert outcome.code_path == "palette"
        assert outcome.reads >= 2  # a file and its index
        assert outcome.labels > outcome.chunks
        assert set(outcome.phases) == {"index", "read", "decompress", "transcode", "gzip", "wall"}
        assert 0 < outcome.phases["gzip"] < outcome.phases["wall"]


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_byte(made: Conversion, threads: int) -> None:
    """Same task, other threads: same files, same crc32c."""
    first = made.all()
    files = made.shards()
    second = made.all(threads=threads)
    assert made.shards() == files
    assert {o.crc32c for o in first.values()} == {o.crc32c for o in second.values()}


def test_gzip_level_is_passed_on(made: Conversion) -> None:
    """A higher level makes a smaller file."""
    assert made.run(0, gzip_level=9).bytes_out < made.run(0, gzip_level=1).bytes_out


def test_progress_counts_up(made: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each batch, at the end of all chunks."""
    monkeypatch.setattr(transcoder, "BATCH_CHUNKS", 3)
    progress: list[int] = []
    outcome = convert(made.task(0), on_progress=progress.append)
    assert progress == [*range(3, outcome.chunks, 3), outcome.chunks]


# -- windows


@pytest.mark.parametrize("batch_rows", [1, 7, 500])
@pytest.mark.parametrize("window_bytes", [1, 30_000])
def test_windows_change_no_byte(
    made: Conversion,
    tmp_path: Path,
    batch_rows: int,
    window_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows read in many small windows, from record batches of any size, give the same file."""
    outcome = made.run(0)
    expected = made.shards()
    monkeypatch.setattr(window_reader, "LOCAL_WINDOW_BYTES", window_bytes)
    form = ExportFormat(batch_rows=batch_rows)
    again = Conversion.of(tmp_path / "b", FIELD, INFO, form)
    assert again.run(0, threads=2).chunks == outcome.chunks
    assert again.shards() == expected


def test_windows_are_bounded_and_complete(
    made: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pair is in one window, chunks are whole, and no window holds more than it may."""
    from braid.transcode.block_assignment import assign_blocks  # noqa: PLC0415 - only here

    monkeypatch.setattr(window_reader, "LOCAL_WINDOW_BYTES", 40_000)
    what = made.task(0)
    with SourceFiles(open_storage(what.source), what.sources) as files:
        assigned = assign_blocks(files.coords, made.scale, 0)
        windows = list(files.windows(assigned))
        largest = int(files._locations.record_batch_bytes.max())
    assert len(windows) > 2
    assert np.concatenate([w.ids for w in windows]).tolist() == assigned.ids.tolist()
    assert all(len(w.rows.blocks) <= max(40_000, largest) for w in windows)


@pytest.mark.parametrize(("window_bytes", "said"), [(20_000, True), (40_000_000, False)])
def test_a_shard_of_many_windows_says_when_it_ends(
    tmp_path: Path, window_bytes: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, when most of its chunks are made; one of a single window never."""
    made = Conversion.of(tmp_path, FIELD, INFO, ExportFormat(batch_rows=1))
    monkeypatch.setattr(window_reader, "LOCAL_WINDOW_BYTES", window_bytes)
    monkeypatch.setattr(transcoder, "BATCH_CHUNKS", 1)
    what = made.task(0)
    progress: list[int] = []
    ended: list[int] = []
    outcome = convert_shard(
        *(what, open_storage(what.dest), open_storage(what.source)),
        *(lambda: None, progress.append),
        on_ending=lambda: ended.append(progress[-1]),
    )
    assert len(ended) == said
    assert not said or outcome.chunks / 2 < ended[0] < outcome.chunks


def test_an_index_without_offsets_costs_one_scan(tmp_path: Path) -> None:
    """The old dialect gives the same file."""
    first = Conversion.of(tmp_path / "a", FIELD, INFO)
    second = Conversion.of(tmp_path / "b", FIELD, INFO, ExportFormat(Dialect.OLD))
    assert first.run(0).crc32c == second.run(0).crc32c


# -- publishing


def test_a_shard_of_zeros_has_no_file(tmp_path: Path) -> None:
    """An older file is deleted, and the outcome is empty."""
    info = made_info((128, 64, 64), (), bits=((1, 0),))
    write_file(tmp_path / "export", "a", rows_of((0, 0, 0)), ExportFormat())
    assert not convert(task(tmp_path, info, "a.arrow")).empty
    shard = tmp_path / "volume" / "s0" / "0.shard"
    assert shard.exists()
    write_file(tmp_path / "export", "a", rows_of((0, 0, 0), (1, 0, 0), label=0), ExportFormat())
    outcome = convert(task(tmp_path, info, "a.arrow"))
    assert (outcome.empty, outcome.chunks, outcome.bytes_out) == (True, 0, 0)
    assert outcome.crc32c is None
    assert not shard.exists()


def test_a_shard_without_rows_is_empty(made: Conversion, tmp_path: Path) -> None:
    """Files that turn out to hold nothing for it, and no files at all."""
    write_file(tmp_path / "export", "none", [], ExportFormat())
    assert convert(task(tmp_path, INFO, "none.arrow")).empty
    assert convert(task(tmp_path, INFO)).empty
    assert made.root == tmp_path


class Refusal(Exception):  # noqa: N818 - an answer
    """The worker refused."""


@pytest.mark.parametrize("label", [0, 5])
def test_what_is_refused_leaves_no_trace(tmp_path: Path, label: int) -> None:
    """`confirm` raises: the older file stays as it was, and no temporary file remains."""
    info = made_info((128, 64, 64), (), bits=((1, 0),))
    shard = tmp_path / "volume" / "s0" / "0.shard"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"older")
    write_file(tmp_path / "export", "a", rows_of((0, 0, 0), label=label), ExportFormat())

    def refuse() -> None:
        assert shard.read_bytes() == b"older"
        raise Refusal

    with pytest.raises(Refusal):
        convert(task(tmp_path, info, "a.arrow", threads=2), confirm=refuse)
    assert shard.read_bytes() == b"older"
    assert list(shard.parent.iterdir()) == [shard]


# -- bad input: one line that names the file, and the row where there is one


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Rewrite a file."""
    path.write_bytes(change(path.read_bytes()))


def flip(data: bytes, at: int) -> bytes:
    """One bit, other."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut short": (
        lambda stem: spoil(stem.with_suffix(".arrow"), lambda d: d[: len(d) // 2]),
        r"a\.arrow: cut short",
    ),
    "a frame's bit": (
        lambda stem: spoil(
            stem.with_suffix(".arrow"), lambda d: flip(d, d.rindex(b"\x28\xb5\x2f\xfd") + 9)
        ),
        r"a\.arrow: row 3, chunk \(1, 1, 0\): damaged zstd frame",
    ),
    "a second stream": (
        lambda stem: spoil(stem.with_suffix(".arrow"), lambda d: d + d),
        r"a\.arrow: .*[Rr]e-export",
    ),
    "an index of fewer rows": (
        lambda stem: spoil(stem.with_suffix(".csv"), lambda d: d[: d.rindex(b"\n", 0, -1) + 1]),
        r"a\.arrow: ",
    ),
    "an index of other chunks": (
        lambda stem: spoil(stem.with_suffix(".csv"), lambda d: d.replace(b"\n1,1,0,", b"\n3,1,0,")),
        r"a\.arrow: row 3, chunk \(3, 1, 0\): the stream holds chunk \(1, 1, 0\)",
    ),
    "an index that is none": (
        lambda stem: spoil(stem.with_suffix(".csv"), lambda _: b"<html>"),
        r"a\.csv: ",
    ),
    "an index that lists a chunk twice": (
        lambda stem: spoil(stem.with_suffix(".csv"), lambda d: d.replace(b"\n1,1,0,", b"\n1,0,0,")),
        r"a\.csv: chunk \(1, 0, 0\) is there twice, in rows 1 and 3",
    ),
    "an empty file": (lambda stem: spoil(stem.with_suffix(".arrow"), lambda _: b""), "is empty"),
}


@pytest.mark.parametrize("how", list(SPOILED))
@pytest.mark.parametrize("threads", [1, 2])
def test_bad_input_is_named(tmp_path: Path, how: str, threads: int) -> None:
    """A typed error of one line with file and row; nothing is written; an older file stays."""
    info = made_info((256, 128, 64), (), bits=((4, 0),))
    rng = np.random.default_rng(0)
    voxels = rng.integers(1, 9, (64, 64, 64)).astype(np.uint64)
    rows = [make_row(c, voxels, lambda s: s) for c in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]]
    write_file(tmp_path / "export", "a", rows, ExportFormat())
    change, expected = SPOILED[how]
    change(tmp_path / "export" / "a")
    shard = tmp_path / "volume" / "s0" / "0.shard"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"older")
    with pytest.raises(BraidError, match=expected) as caught:
        convert(task(tmp_path, info, "a.arrow", threads=threads))
    assert isinstance(caught.value, InvalidShardFormatError | DecompressionError)
    assert "\n" not in str(caught.value)
    assert list(shard.parent.iterdir()) == [shard]
    assert shard.read_bytes() == b"older"


def test_one_chunk_in_two_files(tmp_path: Path) -> None:
    """Both places are named."""
    info = made_info((256, 64, 64), (), bits=((2, 0),))
    write_file(tmp_path / "export", "a", rows_of((0, 0, 0), (2, 0, 0)), ExportFormat())
    write_file(tmp_path / "export", "b", rows_of((2, 0, 0)), ExportFormat())
    expected = r"a\.arrow: row 1, chunk \(2, 0, 0\): .*b\.arrow: row 0, chunk \(2, 0, 0\)"
    with pytest.raises(InvalidShardFormatError, match=expected):
        convert(task(tmp_path, info, "a.arrow", "b.arrow"))


def test_a_missing_source_file(tmp_path: Path) -> None:
    """The file is named; files opened before it are closed."""
    write_file(tmp_path / "export", "a", rows_of((0, 0, 0)), ExportFormat())
    with pytest.raises(ObjectNotFound, match=r"absent\.arrow"):
        convert(task(tmp_path, INFO, "a.arrow", "absent.arrow"))


def test_a_missing_index_is_no_error(tmp_path: Path) -> None:
    """Offsets are found by a scan of the stream."""
    info = made_info((256, 64, 64), (), bits=((2, 0),))
    path = write_file(tmp_path / "export", "a", rows_of((0, 0, 0), (2, 0, 0)), ExportFormat())
    path.with_suffix(".csv").unlink()
    assert convert(task(tmp_path, info, "a.arrow")).chunks == 2


# -- chunks that do not decode


def test_bad_chunks_are_left_out_on_request(tmp_path: Path) -> None:
    """The others are stored; the outcome has coordinates, file, row and reason of each."""
    info = made_info((256, 128, 64), (), bits=((4, 0),))
    rng = np.random.default_rng(0)
    voxels = rng.integers(1, 9, (64, 64, 64)).astype(np.uint64)
    rows = [make_row(c, voxels, lambda s: s) for c in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]]
    arrow = write_file(tmp_path / "export", "a", rows, ExportFormat())
    spoil(arrow, lambda d: flip(d, d.rindex(ZSTD) + 9))
    outcome = convert(task(tmp_path, info, "a.arrow", bad_chunks="skip"))
    assert (outcome.chunks, outcome.bad_chunk_count, outcome.empty) == (3, 1, False)
    (bad,) = outcome.bad_chunks
    assert (bad.chunk, bad.file, bad.row) == ((1, 1, 0), str(arrow), 3)
    assert bad.reason.startswith("damaged zstd frame")


@pytest.mark.parametrize("how", [name for name in SPOILED if name != "a frame's bit"])
def test_damage_of_stream_or_index_is_never_left_out(tmp_path: Path, how: str) -> None:
    """Which rows a chunk has is unknown then."""
    info = made_info((256, 128, 64), (), bits=((4, 0),))
    rows = rows_of((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0))
    write_file(tmp_path / "export", "a", rows, ExportFormat())
    change, expected = SPOILED[how]
    change(tmp_path / "export" / "a")
    with pytest.raises(InvalidShardFormatError, match=expected):
        convert(task(tmp_path, info, "a.arrow", bad_chunks="skip"))


def test_a_shard_of_bad_chunks_has_no_file(tmp_path: Path) -> None:
    """It is empty, and its chunks are told."""
    info = made_info((128, 64, 64), (), bits=((1, 0),))
    arrow = write_file(tmp_path / "export", "a", rows_of((0, 0, 0)), ExportFormat())
    spoil(arrow, lambda d: flip(d, d.rindex(ZSTD) + 1))
    outcome = convert(task(tmp_path, info, "a.arrow", bad_chunks="skip"))
    assert (outcome.empty, outcome.chunks, outcome.bad_chunk_count) == (True, 0, 1)


# -- source files that change


def test_an_outcome_names_what_was_opened(tmp_path: Path) -> None:
    """One digest of Arrow and CSV files; another after any of them changed, came or went."""
    info = made_info((256, 64, 64), (), bits=((2, 0),))
    arrow = write_file(tmp_path / "export", "a", rows_of((0, 0, 0), (2, 0, 0)), ExportFormat())

    def digest() -> str:
        found: str = convert(task(tmp_path, info, "a.arrow")).source_digest
        return found

    export = open_storage(str(tmp_path / "export"))
    listed = {found.path: source_stamp(found) for found in export.list()}
    first = digest()
    assert first == source_digest(listed)
    os.utime(arrow, ns=(1, 1))
    second = digest()
    index = arrow.with_suffix(".csv")
    spoil(index, lambda d: d.replace(b"\n", b"\r\n"))
    third = digest()
    index.unlink()
    assert len({first, second, third, digest()}) == 4


@pytest.mark.parametrize("bad_chunks", ["fail", "skip"])
def test_a_file_written_while_it_is_read_is_tried_again(tmp_path: Path, bad_chunks: str) -> None:
    """Nothing appears; the error is trouble, not a fault of the shard. A retry takes the new."""
    info = made_info((256, 64, 64), (), bits=((2, 0),))
    arrow = write_file(tmp_path / "export", "a", rows_of((0, 0, 0), (2, 0, 0)), ExportFormat())
    what = task(tmp_path, info, "a.arrow", bad_chunks=bad_chunks)

    def write(_: int) -> None:
        with arrow.open("r+b") as file:
            file.write(arrow.read_bytes())
        os.utime(arrow, ns=(1, 1))

    with pytest.raises(UnreachableError, match=r"a\.arrow: changed while it was read") as caught:
        convert(what, on_progress=write)
    assert kind_of(caught.value) == "retryable"
    assert not list(tmp_path.glob("volume/**/*.shard"))
    assert convert(what).chunks == 2


@pytest.mark.parametrize("how", ["cut", "replaced", "removed"])
def test_damage_by_a_writer_is_tried_again(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Index and stream of two versions disagree; what is there now may be sound."""
    info = made_info((256, 64, 64), (), bits=((2, 0),))
    arrow = write_file(tmp_path / "export", "a", rows_of((0, 0, 0), (2, 0, 0)), ExportFormat())
    index = arrow.with_suffix(".csv")
    open_source = LocalStorage.source

    def source(self: LocalStorage, path: str) -> LocalSource:
        if path.endswith("a.csv"):
            if how == "cut":
                spoil(arrow, lambda d: d[:-700])
            else:
                index.write_text(index.read_text().replace("\n2,0,0,", "\n3,0,0,"))
                arrow.unlink()
            if how == "replaced":
                write_file(arrow.parent, "a", rows_of((0, 0, 0), (3, 0, 0)), ExportFormat())
        return open_source(self, path)

    monkeypatch.setattr(LocalStorage, "source", source)
    with pytest.raises(UnreachableError, match=r"a\.arrow: changed while it was read"):
        convert(task(tmp_path, info, "a.arrow"))
    assert not list(tmp_path.glob("volume/**/*.shard"))


# -- memory


def test_chunks_too_large_for_the_tier_are_refused_before_work(tmp_path: Path) -> None:
    """With both numbers, before a source is opened."""
    info = made_info((512, 512, 512), (), chunks=((512, 512, 256),), encoding="raw")
    what = task(tmp_path, info, "absent.arrow", tier_limit_bytes=1 << 29)
    with pytest.raises(OutOfMemory, match=r"s0/0: chunks of 512x512x256 voxels") as caught:
        convert(what)
    assert caught.value.needed_bytes is not None
    assert caught.value.limit_bytes == int(0.9 * (1 << 29))
    assert caught.value.needed_bytes > 512 * 512 * 256 * 8


# -- remote storage


@pytest.fixture
def remote(made: Conversion, bucket: str) -> Callable[..., Any]:
    """Converts the first shard from a bucket to a bucket."""
    source = open_storage(f"gs://{bucket}/export")
    for path in (made.root / "export").rglob("*.*"):
        source.write(path.relative_to(made.root / "export").as_posix(), path.read_bytes())

    def run(**changes: Any) -> Any:  # noqa: ANN401
        urls = {"source": f"gs://{bucket}/export", "dest": f"gs://{bucket}/volume"}
        return convert(made.task(0).model_copy(update=urls | changes))

    return run


def test_a_small_remote_file_is_one_request(
    made: Conversion, remote: Callable[..., Any], bucket: str
) -> None:
    """One for the Arrow file, one for its index; the same bytes as on the disk."""
    local = made.run(0)
    outcome = remote()
    assert outcome.crc32c == local.crc32c
    assert outcome.reads == 2 * len(made.task(0).sources)
    stored = open_storage(f"gs://{bucket}/volume").list()
    assert [info.crc32c for info in stored] == [outcome.crc32c]


def test_a_large_remote_file_is_read_in_windows(
    made: Conversion, remote: Callable[..., Any], gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By merged ranges, several at a time, the next window while one is worked on."""
    local = made.run(0)
    monkeypatch.setattr(source_files, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(window_reader, "REMOTE_WINDOW_BYTES", 30_000)
    outcome = remote(threads=2)
    assert outcome.crc32c == local.crc32c
    assert outcome.bytes_in == local.bytes_in
    assert outcome.reads > 6
    assert gcs.url


@pytest.mark.parametrize("whole_bytes", [0, 1 << 30])
def test_bits_that_turn_on_the_way_make_no_voxels_and_no_dead_letter(
    made: Conversion,
    remote: Callable[..., Any],
    gcs: GcsServer,
    monkeypatch: pytest.MonkeyPatch,
    whole_bytes: int,
) -> None:
    """In whichever answer: the right bytes appear, or it is trouble that a retry helps."""
    local = made.run(0)
    monkeypatch.setattr(source_files, "WHOLE_BYTES", whole_bytes)
    monkeypatch.setattr(window_reader, "REMOTE_WINDOW_BYTES", 30_000)
    requests, outcomes = gcs.count("alt=media"), []
    remote()
    answers = range(gcs.count("alt=media") - requests)
    for number, bad_chunks in product(answers, ("fail", "skip")):
        gcs.heal()
        gcs.fail("alt=media", how="flip", after=number)
        with suppress(DamagedInTransit):
            outcomes.append(remote(bad_chunks=bad_chunks).crc32c)
    assert kind_of(DamagedInTransit("")) == "retryable"
    assert set(outcomes) == {local.crc32c}  # indices at least are read whole


def test_a_disk_that_gives_other_bytes_the_second_time(
    made: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that does not decode is read again before it counts as bad."""
    read = LocalSource._read
    turned: list[int] = []

    def damaged(self: LocalSource, offset: int, length: int) -> bytes:
        data = read(self, offset, length)
        if length > 10_000 and not turned:
            turned.append(at := data.index(ZSTD) + 30)
            return flip(data, at)
        return data

    monkeypatch.setattr(LocalSource, "_read", damaged)
    for bad_chunks in ("fail", "skip"):
        turned.clear()
        with pytest.raises(UnreachableError, match="read twice, and the bytes differ") as caught:
            made.run(0, bad_chunks=bad_chunks)
        assert kind_of(caught.value) == "retryable"
    assert turned
    assert made.run(0).chunks


def test_an_object_replaced_while_it_is_read_is_tried_again(
    remote: Callable[..., Any], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its generation is gone; that is no missing file."""
    monkeypatch.setattr(source_files, "WHOLE_BYTES", 0)
    source = open_storage(f"gs://{bucket}/export")
    read_rows = source_file.SourceFile.read_rows

    def replaced(self: source_file.SourceFile, *which: Any, **how: Any) -> Any:  # noqa: ANN401
        for info in list(source.list()):
            source.write(info.path, source.read(info.path) + b"\0")
        return read_rows(self, *which, **how)

    monkeypatch.setattr(source_file.SourceFile, "read_rows", replaced)
    with pytest.raises(UnreachableError, match=r"\.arrow.*: changed while it was read"):
        remote()


def test_a_volume_of_several_scales_uses_its_own(tmp_path: Path, shared: Path) -> None:
    """The task's scale decides key, sharding and file name."""
    info = json.loads((shared / "specs" / "mcns-export-specs.json").read_text())
    scale = VolumeSpec.parse(info).scales[9]
    write_file(tmp_path / "export", "a", rows_of((2, 2, 4)), ExportFormat())
    what = task(tmp_path, info, "a.arrow").model_copy(update={"scale": 9, "key": "s9/0"})
    outcome = convert(what)
    assert (outcome.chunks, scale.chunk_box((2, 2, 4))[1]) == (1, (184, 153, 263))
    assert (tmp_path / "volume" / scale.key / "0.shard").exists()


def test_decimation_beyond_the_source(tmp_path: Path) -> None:
    """A shard whose last slices have no block behind them holds zeros there."""
    field = ArrayField(np.full((64, 64, 64), 9, np.uint64), {})
    info = made_info((64, 64, 64), (), bits=((0, 0),))
    made = Conversion.of(tmp_path, field, info, source=source_spec((64, 64, 64)), z_compress=1)
    made.all()
    seen = tensorstore_voxels(made.dest, 0)
    assert (seen[:32] == 9).all()
    assert (seen[32:] == 0).all()
    shutil.rmtree(made.dest)
    assert list(all_shards(made.scale)) == [0]
