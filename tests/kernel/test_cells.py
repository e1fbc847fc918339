"""Fine payloads to coarse ones in one go: the bytes of the single steps, whichever threads work."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import deflate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _braid
from braid.native_symbols import libdeflate, libinflate
from tests.support.dvid_blocks import starts
from tests.support.votes_reference import made_volume

pytestmark = pytest.mark.usefixtures("lanes")

SIZE = (90, 60, 50)  # x, y, z: 3 x 2 x 2 cells
EDGE = 16
SLOTS = 8
GEOMETRY: dict[str, Any] = {
    "fine_size": SIZE,
    "fine_chunk": (EDGE, EDGE, EDGE),
    "coarse_chunk": (EDGE, EDGE, EDGE),
    "slots": (2, 2, 2),
    "factors": (2, 2, 2),
}


@dataclass
class Batch:
    """Cells of a small volume."""

    coords: np.ndarray
    chunks: dict[int, bytes]  # by place, data encoding undone

    @classmethod
    def of(cls, seed: int) -> "Batch":
        """All cells of a made-up volume."""
        volume = made_volume(seed, SIZE[::-1])
        coords = np.array([(x, y, z) for z in range(2) for y in range(2) for x in range(3)])
        chunks = {}
        for cell, coord in enumerate(coords):
            for slot in range(SLOTS):
                x, y, z = (2 * coord + (slot & 1, slot >> 1 & 1, slot >> 2)) * EDGE
                part = volume[z : z + EDGE, y : y + EDGE, x : x + EDGE]
                if part.any():
                    chunks[cell * SLOTS + slot] = _braid.cseg_encode(np.ascontiguousarray(part))
        return cls(coords, chunks)

    def start(
        self,
        level: int | None = 6,
        bad: dict[int, bytes] | None = None,
        *,
        nonzero: bool = False,
        **changes: Any,  # noqa: ANN401 - of any argument
    ) -> _braid.CellBatch:
        """The batch for the kernel; no level keeps chunks as they are, `bad` are other payloads."""
        maker = _braid.CellMaker(
            **GEOMETRY,
            nonzero=nonzero,
            label_bits=64,
            gunzip=None if level is None else libinflate(),
            gzip=None if level is None else libdeflate(),
            level=level or 0,
        )
        payloads = {
            place: chunk if level is None else bytes(deflate.gzip_compress(chunk, 1))
            for place, chunk in self.chunks.items()
        } | (bad or {})
        given = {
            "data": b"".join(payloads.values()),
            "start": starts([len(payload) for payload in payloads.values()]),
            "sizes": np.array([len(self.chunks[place]) for place in payloads], np.int64),
            "place": np.array(list(payloads), np.int64),
            "coords": self.coords,
        }
        return _braid.CellBatch(maker, **given | changes)

    def by_steps(self, level: int | None, *, nonzero: bool) -> tuple[list[bytes], list[int]]:
        """Payloads by a kernel for each step, and labels."""
        chunks = [self.chunks.get(place) for place in range(SLOTS * len(self.coords))]
        voted = _braid.downsample_cells(chunks, self.coords, nonzero=nonzero, **GEOMETRY)
        made = [voted.data[a:b].tobytes() for a, b in pairwise(voted.start.tolist())]
        if level is not None:
            made = [chunk and bytes(deflate.gzip_compress(chunk, level)) for chunk in made]
        return made, voted.labels.tolist()


def finished(batch: _braid.CellBatch, threads: int = 1) -> _braid.Payloads:
    """What so many threads make together."""
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(batch.work) for _ in range(threads)]:
            future.result()
    return batch.result()


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from([None, 1, 6]),
    threads=st.integers(1, 4),
    nonzero=st.booleans(),
)
def test_one_go_equals_the_steps(
    *, seed: int, level: int | None, threads: int, nonzero: bool
) -> None:
    """Stored raw or as gzip, cells of zeros among them; labels are counted, times are kept."""
    batch = Batch.of(seed)
    made = finished(batch.start(level, nonzero=nonzero), threads)
    payloads, labels = batch.by_steps(level, nonzero=nonzero)
    assert [made.data[a:b] for a, b in pairwise(made.start.tolist())] == payloads
    assert made.labels.tolist() == labels
    assert len(made.seconds) == 3


def test_batches_of_a_maker_follow_each_other() -> None:
    """Scratch that a batch leaves behind serves the next, whatever its size."""
    batches = [Batch.of(seed) for seed in range(3)]
    maker = _braid.CellMaker(
        **GEOMETRY, nonzero=False, label_bits=64, gunzip=None, gzip=None, level=0
    )
    for batch in batches:
        chunks = list(batch.chunks.values())
        sizes = np.array([len(chunk) for chunk in chunks], np.int64)
        places = np.array(list(batch.chunks), np.int64)
        given = _braid.CellBatch(
            maker, b"".join(chunks), starts(sizes.tolist()), sizes, places, batch.coords
        )
        assert finished(given, 2).data == b"".join(batch.by_steps(None, nonzero=False)[0])


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["member", "size", "chunk"])
def test_the_first_bad_chunk_is_named(kind: str, threads: int) -> None:
    """Cell and slot, the same whatever the threads: cells are taken in order."""
    batch = Batch.of(1)
    known = sorted(batch.chunks)
    bad = {}
    for place in known[len(known) // 2 :]:
        chunk = batch.chunks[place]
        if kind == "chunk":
            chunk = batch.chunks[place] = b"\1\0\0\0" * 5
        elif kind == "size":
            chunk += b"more"
        bad[place] = b"no gzip" if kind == "member" else bytes(deflate.gzip_compress(chunk, 1))
    cell, slot = divmod(min(bad), SLOTS)
    started = batch.start(bad=bad)
    with pytest.raises(_braid.KernelError) as error:
        finished(started, threads)
    assert error.value.item == cell
    if kind == "chunk":
        x, y, z = 2 * batch.coords[cell] + (slot & 1, slot >> 1 & 1, slot >> 2)
        assert type(error.value) is _braid.KernelError
        assert str(error.value).startswith(f"chunk ({x}, {y}, {z}): ")
    else:
        assert isinstance(error.value, _braid.MemberError)
        assert error.value.slot == slot
    started.work()  # no thread takes another


def test_stopped_work_ends() -> None:
    """After `stop`, no thread takes a cell."""
    batch = Batch.of(2).start()
    batch.stop()
    batch.work()
    assert batch.result().data == b""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"start": np.array([0, 5])}, r"data: expected \d+ starts, found 2"),
        ({"data": b"short"}, r"data: expected starts within 0 and 5"),
        ({"place": np.array([-1])}, r"three coordinates and \d+ places"),
        ({"coords": np.array([[0, 0]])}, r"expected three coordinates"),
        ({"coords": np.array([[0, 0, 0]])}, r"place: expected 0 to 8 - 1, found"),
    ],
    ids=str,
)
def test_offsets_are_checked(changes: dict[str, Any], text: str) -> None:
    """Before anything is read."""
    with pytest.raises(ValueError, match=text):
        Batch.of(3).start(**changes)


@pytest.mark.parametrize("size", [-1, 1 << 41])
def test_sizes_are_checked(size: int) -> None:
    """Before anything is allocated."""
    batch = Batch.of(3)
    sizes = np.full(len(batch.chunks), size)
    with pytest.raises(_braid.KernelError, match=r"sizes: expected 0 to 2\^40"):
        batch.start(sizes=sizes)


def test_a_cell_outside_the_volume_is_refused() -> None:
    """The caller's mistake, not that of the bytes."""
    batch = Batch.of(4)
    coords = batch.coords.copy()
    coords[1] = (9, 0, 0)
    with pytest.raises(ValueError, match="cell 1 of the batch lies outside") as error:
        finished(batch.start(coords=coords))
    assert not isinstance(error.value, _braid.KernelError)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), place=st.integers(0, 1000), byte=st.integers(0, 10**6))
def test_a_flipped_byte_is_an_error_or_another_chunk(seed: int, place: int, byte: int) -> None:
    """In what is stored, never a crash."""
    batch = Batch.of(5)
    known = sorted(batch.chunks)
    at = known[place % len(known)]
    broken = bytearray(batch.chunks[at])
    broken[byte % len(broken)] ^= 1 << (seed & 7)
    batch.chunks[at] = bytes(broken)
    try:
        finished(batch.start(None))
    except _braid.KernelError as error:
        assert error.item == at // SLOTS  # noqa: PT017 - either is right
