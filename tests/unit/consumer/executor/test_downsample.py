"""Downsample task: inputs by the ledger, output at the destination."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from braid.exceptions import InvalidShardFormatError
from braid.precomputed.sharding import shard_path
from consumer.executor.downsample import downsample_shard
from consumer.protocol.events import InputChanged
from consumer.protocol.tasks import DownsampleTask, Outcome
from runtime.errors import DamagedInTransit, PermanentError, ShardliftError
from runtime.storage import open_storage
from runtime.storage.base import Source
from tests.support.gcs_server import GcsServer
from tests.support.specs import made_info
from tests.support.volumes import crc_of, shard_bytes, tensorstore_voxels, write_volume
from tests.support.votes_reference import Voxels, made_volume, tensorstore_mode

SIZE = (150, 140, 130)
SHAPE = SIZE[::-1]


def nothing(*_: object) -> None:
    """Confirm or progress, where a test needs neither."""


class StoredVolume:
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
        on_progress: Callable[[int], None] = nothing,
    ) -> Outcome:
        """Make the shard."""
        return downsample_shard(task, open_storage(str(self.dest)), confirm, on_progress)

    def output(self, shard: int = 0) -> Path:
        """Where the shard appears."""
        return self.dest / shard_path(self.coarse, shard)


@pytest.fixture
def stored(tmp_path: Path) -> StoredVolume:
    """Something everywhere."""
    return StoredVolume(tmp_path / "volume", made_volume(1, SHAPE) | np.uint64(1))


def test_all_shards_make_the_scale(stored: StoredVolume) -> None:
    """TensorStore reads the whole coarse scale as its own downsampling of the fine one."""
    for shard in range(8):
        stored.run(stored.task(shard))
    expected = tensorstore_mode(tensorstore_voxels(stored.dest, 0), (2, 2, 2))
    np.testing.assert_array_equal(tensorstore_voxels(stored.dest, 1), expected)


def test_the_outcome_is_what_a_receipt_needs(stored: StoredVolume) -> None:
    """Counts, bytes, checksums of output and inputs, requests, time by phase."""
    progress: list[int] = []
    outcome = stored.run(stored.task(), on_progress=progress.append)
    data = stored.output().read_bytes()
    used = {f"s0/{i:02x}": stored.files[f"s0/{i:02x}"] for i in range(8)}
    assert outcome.inputs == used
    assert outcome.bytes_in == sum((stored.dest / f"{key}.shard").stat().st_size for key in used)
    assert (outcome.bytes_out, outcome.crc32c) == (len(data), crc_of(data))
    assert outcome.chunks == 64 == progress[-1]
    assert outcome.labels >= 64
    assert outcome.reads >= 8
    assert outcome.code_path == "palette"
    assert not outcome.empty
    assert outcome.absent_inputs == 0
    assert {"read", "vote", "gzip"} <= outcome.phases.keys()


def test_other_rule_threads_and_level(stored: StoredVolume) -> None:
    """The rule changes voxels, threads nothing, the level only the stored bytes."""
    stored.run(stored.task())
    first = stored.output().read_bytes()
    stored.run(stored.task(threads=3))
    assert stored.output().read_bytes() == first
    stored.run(stored.task(gzip_level=1))
    assert stored.output().read_bytes() != first
    assert stored.run(stored.task(rule="nonzero-mode")).chunks == 64


def test_a_changed_input_is_noticed(stored: StoredVolume) -> None:
    """Its checksum is not the receipt's: nothing appears, and the work may be tried again."""
    inputs = dict(stored.task().inputs) | {"s0/03": "AAAAAA=="}
    with pytest.raises(InputChanged, match=r"03\.shard: expected crc32c AAAAAA==") as caught:
        stored.run(stored.task(inputs=inputs))
    assert "replay --shards s0/03 --redo" in str(caught.value.hint)
    assert not stored.output().exists()


def test_a_missing_input_is_no_zeros(stored: StoredVolume) -> None:
    """A shard that has a receipt with a checksum must be there."""
    (stored.dest / "s0/02.shard").unlink()
    with pytest.raises(PermanentError, match="s0/02 is missing"):
        stored.run(stored.task())
    assert not stored.output().exists()


def test_an_empty_input_is_zeros(stored: StoredVolume) -> None:
    """A shard that is empty in the ledger, or has no row in the plan, is not opened."""
    inputs = {"s0/00": stored.files["s0/00"], "s0/01": "empty"}
    outcome = stored.run(stored.task(inputs=inputs))
    keys = [f"s0/{i:02x}" for i in range(8)]
    expected = dict.fromkeys(keys, "empty") | {"s0/00": stored.files["s0/00"]}
    assert outcome.inputs == expected
    assert outcome.absent_inputs == 0
    assert outcome.chunks == 8


def test_an_unknown_input_is_taken_as_it_is(stored: StoredVolume) -> None:
    """With no receipt, a file counts with the checksum it has; none is zeros, counted."""
    (stored.dest / "s0/02.shard").unlink()
    outcome = stored.run(stored.task(inputs={f"s0/{i:02x}": None for i in range(8)}))
    assert outcome.absent_inputs == 1
    assert outcome.inputs["s0/02"] == "empty"
    assert outcome.inputs["s0/01"] == stored.files["s0/01"]


def test_a_shard_of_zeros_has_no_file(tmp_path: Path) -> None:
    """And an older one goes, but only once that is allowed."""
    voxels = np.zeros(SHAPE, np.uint64)
    voxels[::2, ::2, ::2] = 4  # one voxel of eight: `mode` gives 0 everywhere but at upper edges
    voxels[:, :, 128:] = 0
    stored = StoredVolume(tmp_path / "volume", voxels)
    stored.output().parent.mkdir()
    stored.output().write_bytes(b"older")

    def refuse() -> None:
        raise ShardliftError("no more")

    with pytest.raises(ShardliftError, match="no more"):
        stored.run(stored.task(), confirm=refuse)
    assert stored.output().exists()
    outcome = stored.run(stored.task())
    assert outcome.empty
    assert (outcome.chunks, outcome.bytes_out, outcome.crc32c) == (0, 0, None)
    assert not stored.output().exists()


def test_nothing_appears_unless_confirmed(stored: StoredVolume) -> None:
    """A refusal at the last moment leaves no file and no trace."""

    def refuse() -> None:
        raise ShardliftError("no more")

    with pytest.raises(ShardliftError, match="no more"):
        stored.run(stored.task(), confirm=refuse)
    assert not stored.output().parent.exists() or not list(stored.output().parent.iterdir())


def test_a_broken_input_is_permanent(stored: StoredVolume) -> None:
    """Bytes that break the format are the input's fault, with its path and what mends it."""
    path = stored.dest / "s0/01.shard"
    path.write_bytes(path.read_bytes()[:100])
    inputs = dict(stored.task().inputs) | {"s0/01": crc_of(path.read_bytes())}
    with pytest.raises(InvalidShardFormatError, match=r"s0/01\.shard") as error:
        stored.run(stored.task(inputs=inputs))
    assert "producer replay --shards s0/NAME --redo" in (error.value.hint or "")


def test_an_input_replaced_while_it_is_read(stored: StoredVolume, bucket: str) -> None:
    """On a bucket the old generation is gone at once: that is a change, not a missing shard."""
    dest = open_storage(f"gs://{bucket}/volume")
    for shard, data in shard_bytes(stored.fine, np.ones(SHAPE, np.uint64)).items():
        dest.write(shard_path(stored.fine, shard), data)
    checksums = {f"s0/{info.path[3:-6]}": info.crc32c for info in dest.list("s0/")}
    source = dest.source

    def replacing(path: str) -> Source:
        opened = source(path)
        dest.write(path, b"other bytes")
        return opened

    dest.source = replacing  # type: ignore[method-assign]
    with pytest.raises(InputChanged, match="replaced or removed"):
        downsample_shard(stored.task(inputs=checksums), dest, nothing, nothing)


def test_bits_that_turn_on_the_way(stored: StoredVolume, bucket: str, gcs: GcsServer) -> None:
    """In whichever answer: the right bytes appear, or it is trouble that a retry helps."""
    stored.run(stored.task())
    expected = crc_of(stored.output().read_bytes())
    dest = open_storage(f"gs://{bucket}/volume")
    for path in sorted((stored.dest / "s0").glob("*.shard")):
        dest.write(f"s0/{path.name}", path.read_bytes())
    task = stored.task(dest=dest.url)

    def run() -> str | None:
        return downsample_shard(task, dest, nothing, nothing).crc32c

    before = gcs.count("alt=media")
    assert run() == expected
    requests = gcs.count("alt=media") - before
    for number in range(0, requests, max(1, requests // 8)):
        gcs.heal()
        gcs.fail("alt=media", how="flip", after=number)
        with suppress(DamagedInTransit):
            assert run() == expected
