"""Rows to payloads in one go: the bytes of the single steps, whichever threads make them."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _braid
from braid.native_symbols import libdeflate, libzstd
from braid.precomputed.data_encoding import gzip_all
from producer.export_writer import compress
from tests.support.dvid_blocks import random_parts, starts

pytestmark = pytest.mark.usefixtures("lanes")


@dataclass
class RowWindow:
    """Rows as a reader hands them over, and what the steps make of them."""

    blocks: list[bytes]
    frames: list[bytes]
    mapping: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, seed: int, count: int) -> "RowWindow":
        """Random rows: dense ones, solid ones, and some that are mapped to zeros."""
        rng = np.random.default_rng(seed)
        made = [
            random_parts(rng, sizes=[1, 2, int(rng.integers(1, 300))], n_labels=int(n))
            for n in rng.integers(1, 400, count)
        ]
        labels = [
            rng.integers(0, 2, len(parts.table)) * (i % 3 > 0) for i, parts in enumerate(made)
        ]
        start = starts([len(parts.table) for parts in made])
        return cls(
            [parts.to_bytes() for parts in made],
            [compress(parts.to_bytes()) for parts in made],
            (
                np.concatenate(labels).astype(np.uint64),
                start,
                np.concatenate([parts.table for parts in made]).astype(np.uint64),
                start,
            ),
        )

    def batch(self, order: list[int], level: int | None, **changes: Any) -> _braid.PayloadBatch:  # noqa: ANN401 - of any argument
        """The rows in this order; no level keeps chunks as they are."""
        given: dict[str, Any] = {
            "rows": np.array(order, np.int64),
            "frames": b"".join(self.frames),
            "frame_start": starts([len(frame) for frame in self.frames]),
            "sizes": np.array([len(block) for block in self.blocks], np.uint32),
            "zstd": libzstd(),
            "gzip": None if level is None else libdeflate(),
            "level": level or 0,
            "labels": self.mapping[0],
            "label_start": self.mapping[1],
            "supervoxels": self.mapping[2],
            "supervoxel_start": self.mapping[3],
        }
        return _braid.PayloadBatch(**given | changes)

    def by_steps(self, rows: list[int], level: int | None) -> list[bytes]:
        """The payloads by a kernel for each step."""
        chunks = _braid.transcode_blocks(
            b"".join(self.blocks), starts([len(b) for b in self.blocks]), *self.mapping
        )
        data = [chunks.data[a:b].tobytes() for a, b in pairwise(chunks.start.tolist())]
        chosen = [data[row] for row in rows]
        if level is None:
            return chosen
        return [
            gzip_all(chunk, np.array([0, len(chunk)]), level)[0] if chunk else b""
            for chunk in chosen
        ]


def finished(batch: _braid.PayloadBatch, threads: int = 1) -> _braid.Payloads:
    """What so many threads make together."""
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(batch.work) for _ in range(threads)]:
            future.result()
    return batch.result()


def members(made: _braid.Payloads) -> list[bytes]:
    """The payloads, one by one."""
    return [made.data[a:b] for a, b in pairwise(made.start.tolist())]


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    rows=st.lists(st.integers(0, 3), max_size=9),
    level=st.sampled_from([None, 0, 1, 6]),
    threads=st.integers(1, 4),
)
def test_one_go_equals_the_steps(
    seed: int, rows: list[int], level: int | None, threads: int
) -> None:
    """Rows in any order, some twice, some of zeros; labels are counted, times are kept."""
    window = RowWindow.of(seed, 4)
    made = finished(window.batch(rows, level), threads)
    assert members(made) == window.by_steps(rows, level)
    counted = _braid.transcode_blocks(
        b"".join(window.blocks), starts([len(b) for b in window.blocks]), *window.mapping
    ).labels
    assert made.labels.tolist() == [int(counted[row]) for row in rows]
    assert len(made.seconds) == 3
    assert (min(made.seconds) > 0) == bool(rows)


def test_without_a_mapping_supervoxels_stay() -> None:
    """As by the steps."""
    window = RowWindow.of(5, 2)
    nothing = dict.fromkeys(("labels", "label_start", "supervoxels", "supervoxel_start"))
    made = finished(window.batch([0, 1], None, **nothing))
    data = b"".join(window.blocks)
    chunks = _braid.transcode_blocks(data, starts([len(b) for b in window.blocks]))
    assert made.data == chunks.data.tobytes()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["frame", "size", "block"])
def test_the_first_bad_row_is_named(kind: str, threads: int) -> None:
    """The same whatever the threads: chunks are taken in order."""
    window = RowWindow.of(6, 12)
    for row in (7, 4, 10):
        if kind == "frame":
            window.frames[row] = b"no frame"
        elif kind == "size":
            window.frames[row] = compress(window.blocks[row] + b"more")
        else:
            window.blocks[row] = bytes(40)
            window.frames[row] = compress(bytes(40))
    batch = window.batch(list(range(12)), 6)
    expected = _braid.KernelError if kind == "block" else _braid.FrameError
    with pytest.raises(expected) as error:
        finished(batch, threads)
    assert type(error.value) is expected
    assert error.value.item == 4
    batch.work()  # no thread takes another
    with pytest.raises(expected):
        batch.result()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_a_flipped_bit_is_an_error_or_another_chunk(seed: int) -> None:
    """In a frame or in a block, never a crash."""
    rng = random.Random(seed)
    window = RowWindow.of(7, 1)
    broken = bytearray(window.blocks[0] if seed % 2 else window.frames[0])
    broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    window.frames[0] = compress(bytes(broken)) if seed % 2 else bytes(broken)
    try:
        made = finished(window.batch([0], None))
    except _braid.KernelError as error:
        assert error.item == 0  # noqa: PT017 - either is right
        return
    if made.data:
        _braid.cseg_decode(made.data, np.empty((64, 64, 64), np.uint64))


def test_stopped_work_ends() -> None:
    """After `stop`, no thread takes a chunk."""
    window = RowWindow.of(8, 2)
    batch = window.batch([0, 1], 6)
    batch.stop()
    batch.work()
    assert members(batch.result()) == [b"", b""]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rows": np.array([0, 2])}, r"rows: expected 0 to 2 - 1, found 2"),
        ({"rows": np.array([-1])}, r"rows: expected 0 to 2 - 1, found -1"),
        ({"frame_start": np.array([0, 5])}, r"frames: expected 3 starts, found 2"),
        ({"frame_start": np.array([0, 5, 2**40])}, r"frames: expected starts within"),
        ({"frame_start": np.array([5, 0, 5])}, r"frames: expected ascending starts"),
        ({"label_start": np.array([0, 5])}, r"labels: expected 3 starts, found 2"),
        ({"supervoxel_start": np.array([0, 1, 2**40])}, r"supervoxels: expected starts within"),
        ({"labels": None}, r"a mapping needs labels and supervoxels"),
    ],
)
def test_offsets_are_checked(changes: dict[str, Any], text: str) -> None:
    """Before anything is read."""
    with pytest.raises(_braid.KernelError, match=text):
        RowWindow.of(9, 2).batch([0, 1], 6, **changes)


def test_an_uneven_mapping_is_refused() -> None:
    """Of a row's labels and supervoxels one has more."""
    window = RowWindow.of(10, 2)
    uneven = window.mapping[1].copy()
    uneven[1] -= 1
    with pytest.raises(_braid.KernelError, match=r"label mapping is uneven") as error:
        finished(window.batch([0, 1], 6, label_start=uneven))
    assert error.value.item == 0


def test_no_compressor() -> None:
    """There is none of such a level, as there might be none for want of memory."""
    batch = RowWindow.of(11, 2).batch([0, 1], 13)
    with pytest.raises(MemoryError, match="no compressor"):
        finished(batch, 2)
