"""A downsample task: what the ledger says of the inputs, and what appears at the destination."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from braid.exceptions import InvalidShardFormatError
from braid.precomputed.sharding import shard_path
from consumer.executor.downsample import InputChanged, downsample_shard
from consumer.protocol.tasks import DownsampleTask, Outcome
from runtime.errors import PermanentError, ShardliftError
from runtime.storage import open_storage
from runtime.storage.base import Source
from tests.support.volumes import crc_of, made_info, shard_bytes, tensorstore_voxels, write_volume
from tests.support.votes_reference import Voxels, made_volume, tensorstore_mode

SIZE = (150, 140, 130)
SHAPE = SIZE[::-1]


def nothing(*_: object) -> None:
    """Confirm or progress, where a test asks for neither."""


class Place:
    """A volume whose scale 0 is written, and the tasks of its scale 1."""

    def __init__(self, dest: Path, voxels: Voxels) -> None:
        self.dest = dest
        info = made_info(SIZE, chunks=[(16, 16, 16)], bits=[(3, 3)])
        self.volume = write_volume(dest, info, voxels)
        self.fine, self.coarse = self.volume.scales
        self.files = {
            f"s0/{path.stem}": crc_of(path.read_bytes())
            for path in sorted((dest / "s0").glob("*.shard"))
        }

    def task(self, shard: int = 0, **changes: object) -> DownsampleTask:
        """A task with all inputs known."""
        inputs = {f"s0/{i:02x}": self.files.get(f"s0/{i:02x}", "empty") for i in range(64)}
        usual = {
            "run": "r",
            "key": f"s1/{shard:x}",
            "volume": self.volume.to_info(),
            "scale": 1,
            "shard": shard,
            "dest": str(self.dest),
            "inputs": inputs,
        }
        return DownsampleTask.model_validate(usual | changes)

    def run(
        self,
        task: DownsampleTask,
        confirm: Callable[[], None] = nothing,
        progress: Callable[[int], None] = nothing,
    ) -> Outcome:
        """The work itself."""
        return downsample_shard(task, open_storage(str(self.dest)), confirm, progress)

    def output(self, shard: int = 0) -> Path:
        """Where the shard appears."""
        return self.dest / shard_path(self.coarse, shard)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Something everywhere."""
    return Place(tmp_path / "volume", made_volume(1, SHAPE) | np.uint64(1))


def test_all_shards_make_the_scale(place: Place) -> None:
    """TensorStore reads the whole coarse scale as its own downsampling of the fine one."""
    for shard in range(8):
        place.run(place.task(shard))
    expected = tensorstore_mode(tensorstore_voxels(place.dest, 0), (2, 2, 2))
    np.testing.assert_array_equal(tensorstore_voxels(place.dest, 1), expected)


def test_the_outcome_is_what_a_receipt_needs(place: Place) -> None:
    """Counts, bytes, checksums of output and inputs, requests, time by phase."""
    with_progress: list[int] = []
    outcome = place.run(place.task(), progress=with_progress.append)
    data = place.output().read_bytes()
    used = {f"s0/{i:02x}": place.files[f"s0/{i:02x}"] for i in range(8)}
    assert outcome.inputs == used
    assert outcome.bytes_in == sum((place.dest / f"{key}.shard").stat().st_size for key in used)
    assert (outcome.bytes_out, outcome.crc32c) == (len(data), crc_of(data))
    assert outcome.chunks == 64 == with_progress[-1]
    assert outcome.labels >= 64
    assert outcome.reads >= 8
    assert outcome.code_path == "palette"
    assert not outcome.empty
    assert outcome.absent_inputs == 0
    assert {"read", "vote", "gzip"} <= outcome.seconds.keys()


def test_other_rule_threads_and_level(place: Place) -> None:
    """The rule changes voxels, threads nothing, the level only the stored bytes."""
    place.run(place.task())
    first = place.output().read_bytes()
    place.run(place.task(threads=3))
    assert place.output().read_bytes() == first
    place.run(place.task(gzip_level=1))
    assert place.output().read_bytes() != first
    assert place.run(place.task(rule="nonzero-mode")).chunks == 64


def test_a_changed_input_is_noticed(place: Place) -> None:
    """Its checksum is not the receipt's: nothing appears, and the work may be tried again."""
    inputs = dict(place.task().inputs) | {"s0/03": "AAAAAA=="}
    with pytest.raises(InputChanged, match=r"03\.shard: expected crc32c AAAAAA==") as caught:
        place.run(place.task(inputs=inputs))
    assert "replay --shards s0/03 --redo" in str(caught.value.hint)
    assert not place.output().exists()


def test_a_missing_input_is_no_zeros(place: Place) -> None:
    """A shard that has a receipt with a checksum must be there."""
    (place.dest / "s0/02.shard").unlink()
    with pytest.raises(PermanentError, match="s0/02 is missing"):
        place.run(place.task())
    assert not place.output().exists()


def test_an_empty_input_is_zeros(place: Place) -> None:
    """What the ledger calls empty, or has no row for, is not even looked for."""
    inputs = {"s0/00": place.files["s0/00"], "s0/01": "empty"}
    outcome = place.run(place.task(inputs=inputs))
    keys = [f"s0/{i:02x}" for i in range(8)]
    expected = dict.fromkeys(keys, "empty") | {"s0/00": place.files["s0/00"]}
    assert outcome.inputs == expected
    assert outcome.absent_inputs == 0
    assert outcome.chunks == 8


def test_an_unknown_input_is_taken_as_it_is(place: Place) -> None:
    """With no receipt, a file counts with the checksum it has; none is zeros, counted."""
    (place.dest / "s0/02.shard").unlink()
    outcome = place.run(place.task(inputs={f"s0/{i:02x}": None for i in range(8)}))
    assert outcome.absent_inputs == 1
    assert outcome.inputs["s0/02"] == "empty"
    assert outcome.inputs["s0/01"] == place.files["s0/01"]


def test_a_shard_of_zeros_has_no_file(tmp_path: Path) -> None:
    """And an older one goes, but only once that is allowed."""
    voxels = np.zeros(SHAPE, np.uint64)
    voxels[::2, ::2, ::2] = 4  # one voxel of eight: `mode` gives 0 everywhere but at upper edges
    voxels[:, :, 128:] = 0
    place = Place(tmp_path / "volume", voxels)
    place.output().parent.mkdir()
    place.output().write_bytes(b"older")

    def refuse() -> None:
        raise ShardliftError("no more")

    with pytest.raises(ShardliftError, match="no more"):
        place.run(place.task(), confirm=refuse)
    assert place.output().exists()
    outcome = place.run(place.task())
    assert outcome.empty
    assert (outcome.chunks, outcome.bytes_out, outcome.crc32c) == (0, 0, None)
    assert not place.output().exists()


def test_nothing_appears_unless_confirmed(place: Place) -> None:
    """A refusal at the last moment leaves no file and no trace."""

    def refuse() -> None:
        raise ShardliftError("no more")

    with pytest.raises(ShardliftError, match="no more"):
        place.run(place.task(), confirm=refuse)
    assert not place.output().parent.exists() or not list(place.output().parent.iterdir())


def test_a_broken_input_is_permanent(place: Place) -> None:
    """Bytes that break the format are the input's fault, with its path and what mends it."""
    path = place.dest / "s0/01.shard"
    path.write_bytes(path.read_bytes()[:100])
    inputs = dict(place.task().inputs) | {"s0/01": crc_of(path.read_bytes())}
    with pytest.raises(InvalidShardFormatError, match=r"s0/01\.shard") as error:
        place.run(place.task(inputs=inputs))
    assert "producer replay --shards s0/NAME --redo" in (error.value.hint or "")


def test_an_input_replaced_while_it_is_read(place: Place, bucket: str) -> None:
    """On a bucket the old generation is gone at once: that is a change, not a missing shard."""
    dest = open_storage(f"gs://{bucket}/volume")
    for shard, data in shard_bytes(place.fine, np.ones(SHAPE, np.uint64)).items():
        dest.write(shard_path(place.fine, shard), data)
    stored = {f"s0/{info.path[3:-6]}": info.crc32c for info in dest.list("s0/")}
    source = dest.source

    def replacing(path: str) -> Source:
        opened = source(path)
        dest.write(path, b"other bytes")
        return opened

    dest.source = replacing  # type: ignore[method-assign]
    with pytest.raises(InputChanged, match="replaced or removed"):
        downsample_shard(place.task(inputs=stored), dest, nothing, nothing)
