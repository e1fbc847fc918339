"""Bad chunks: left out and listed; all other chunks are the same as without them."""

import gzip
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from braid.dvid.block_batch import RowPlace
from braid.exceptions import DecompressionError, EncodingError
from braid.precomputed import morton
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode import bad_chunks, palette_path, transcoder
from braid.transcode.bad_chunks import BadChunks
from braid.transcode.tasks import BadChunk
from braid.transcode.transcoder import Transcoder
from braid.typing import UInt64Array
from producer.export_writer import Row, compress
from tests.support.row_windows import blocks, scale_of, stored, window_of

SIZE = (150, 190, 128)


def torn(row: Row) -> Row:
    """A frame cut short."""
    return replace(row, frame=row.frame[:-9])


def flipped(row: Row) -> Row:
    """A frame with another bit."""
    frame = bytearray(row.frame)
    frame[len(frame) // 2] ^= 8
    return replace(row, frame=bytes(frame))


def other_size(row: Row) -> Row:
    """A size that a block cannot have, which is refused before memory is taken."""
    return replace(row, uncompressed_size=2**32 - 1)


def no_block(row: Row) -> Row:
    """A good frame around bytes that are no block."""
    return replace(row, frame=compress(bytes(40)), uncompressed_size=40)


def unequal_lists(row: Row) -> Row:
    """More labels than supervoxels."""
    return replace(row, labels=np.append(row.labels, np.uint64(5)))


def voxel_bytes(voxels: UInt64Array) -> bytes:
    """An encoder, as TensorStore is one."""
    return voxels.tobytes()


PATHS: dict[str, Callable[[], Transcoder]] = {
    "palettes": lambda: Transcoder(scale_of(SIZE)),
    "voxels": lambda: Transcoder(scale_of(SIZE), by_voxels=True),
    "decimated": lambda: Transcoder(scale_of((150, 190, 64)), z_step=2),
    "small chunks": lambda: Transcoder(scale_of(SIZE, chunks=((32, 32, 32),))),
    "large chunks": lambda: Transcoder(scale_of(SIZE, chunks=((128, 64, 64),))),
    "an encoder": lambda: Transcoder(scale_of(SIZE), encode=voxel_bytes),
    "raw": lambda: Transcoder(scale_of(SIZE, data_encoding="raw")),
}
DAMAGE = (torn, flipped, other_size, no_block, unequal_lists)


@pytest.fixture(scope="module")
def made() -> list[Row]:
    """Eighteen blocks, some of them clipped."""
    return blocks(SIZE, 1)


def chunks_of(rows: list[Row], bad: set[int], scale: ScaleSpec, z_step: int) -> set[int]:
    """Ids of the chunks that damaged rows belong to."""
    window = window_of(rows, scale, z_step)
    spans = zip(window.ids.tolist(), window.part_start, window.part_start[1:], strict=False)
    return {chunk for chunk, a, b in spans if bad & set(window.parts[a:b].tolist())}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [3, 512])
@pytest.mark.parametrize("path", list(PATHS))
def test_only_the_bad_chunks_are_missing(
    made: list[Row], path: str, batch: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids, order, bytes and counts of the others; each bad one with coordinates, place, reason."""
    monkeypatch.setattr(transcoder, "BATCH_CHUNKS", batch)
    whole = PATHS[path]()
    expected = dict(stored(whole, window_of(made, whole.scale, whole.z_step)))
    at = dict(zip((0, 4, 5, 11, 17), DAMAGE, strict=True))
    rows = [at[i](row) if i in at else row for i, row in enumerate(made)]
    missing = chunks_of(rows, set(at), whole.scale, whole.z_step)

    coder = PATHS[path]()
    coder.skip_bad, coder.threads = True, threads
    found = stored(coder, window_of(rows, coder.scale, coder.z_step))

    assert found == [(i, payload) for i, payload in expected.items() if i not in missing]
    assert coder.stats.chunks == len(found)
    assert coder.bad_chunks.count == len(missing) == len(coder.bad_chunks.listed)
    for bad, chunk_id in zip(coder.bad_chunks.listed, sorted(missing), strict=True):
        assert bad.chunk == tuple(morton.decode([chunk_id], coder.scale.grid)[0].tolist())
        assert bad.place == RowPlace("made.arrow", bad.place.row, made[bad.place.row].coords)
        assert bad.place.row in at
        assert bad.reason
        assert "made.arrow" not in bad.reason


def test_without_c_functions_it_is_the_same(
    made: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel for each step, as where the packages hide their functions."""
    rows = [flipped(row) if i in {3, 4} else row for i, row in enumerate(made)]
    one, other = (Transcoder(scale_of(SIZE), skip_bad=True) for _ in range(2))
    expected = stored(one, window_of(rows, one.scale))
    monkeypatch.setattr(palette_path, "libdeflate", lambda: None)
    assert stored(other, window_of(rows, other.scale)) == expected
    assert [bad.chunk for bad in other.bad_chunks.listed] == [
        bad.chunk for bad in one.bad_chunks.listed
    ]


def test_all_may_be_bad(made: list[Row]) -> None:
    """Then nothing is stored, and all are counted; not all are listed."""
    coder = Transcoder(scale_of(SIZE), skip_bad=True)
    assert stored(coder, window_of([torn(row) for row in made], coder.scale)) == []
    assert (coder.stats.chunks, coder.bad_chunks.count) == (0, 18)


def test_a_list_is_bounded_and_its_count_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones, so that receipts stay small."""
    monkeypatch.setattr(bad_chunks, "MOST_LISTED", 3)
    found = BadChunks()
    for x in range(5):
        found.add([BadChunk((x, 0, 0), RowPlace("a", x, (x, 0, 0)), "torn")])
    assert found.count == 5
    assert [bad.chunk[0] for bad in found.listed] == [0, 1, 2]


def test_sound_batches_are_made_once(made: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a batch that fails is made in parts, and only down to its bad chunk."""
    monkeypatch.setattr(transcoder, "BATCH_CHUNKS", 9)
    coder = Transcoder(scale_of(SIZE), by_voxels=True, skip_bad=True)
    asked: list[int] = []
    make = coder._voxel_task

    def counting(window: object, chunks: object) -> object:
        asked.append(len(chunks))  # type: ignore[arg-type]
        return make(window, chunks)  # type: ignore[arg-type]

    monkeypatch.setattr(coder, "_voxel_task", counting)
    rows = [*made[:-1], flipped(made[-1])]
    assert len(stored(coder, window_of(rows, coder.scale))) == 17
    assert asked.count(9) == 2
    assert sum(asked) <= 18 + 9 * 3


def test_what_is_not_damage_still_fails(made: list[Row]) -> None:
    """A label that does not fit the volume is a fault of the spec, in every chunk."""

    def refuse(_: UInt64Array) -> bytes:
        raise EncodingError("label 4294967296 does not fit uint32")

    coder = Transcoder(scale_of(SIZE), encode=refuse, skip_bad=True)
    with pytest.raises(EncodingError, match="does not fit uint32"):
        stored(coder, window_of(made, coder.scale))


def test_by_default_a_bad_chunk_is_an_error(made: list[Row]) -> None:
    """Its shard is not made."""
    coder = Transcoder(scale_of(SIZE))
    with pytest.raises(DecompressionError, match=r"made\.arrow: row 0, "):
        stored(coder, window_of([flipped(made[0]), *made[1:]], coder.scale))
    assert gzip.decompress(stored(coder, window_of(made, coder.scale))[0][1])
