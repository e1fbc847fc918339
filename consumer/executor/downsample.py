"""One shard of a scale from the shards of the scale before, as they are now at the destination.

Each input is held to what the ledger says of it: a file whose checksum differs changed meanwhile,
and a file that is gone is no shard of zeros. Nothing appears before all inputs have been checked.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from braid.downsample.downsampler import Downsampler, Rule
from braid.exceptions import DecompressionError, InvalidShardFormatError
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import shard_hex, shard_path
from braid.precomputed.volume_spec import ScaleSpec
from consumer.executor.output import with_progress, write_chunks
from consumer.protocol.tasks import DownsampleTask, Outcome, volume_of
from delivery.messages import shard_key
from runtime import log
from runtime.errors import ObjectNotFound, PermanentError, UnreachableError
from runtime.storage import Storage

if TYPE_CHECKING:
    from runtime.storage.base import Source

EMPTY = "empty"  # the ledger's word for a shard of zeros, which has no file

_log = structlog.get_logger()


class InputChanged(UnreachableError):  # noqa: N818 - a state of the input; trying again may help
    """An input is not, or no longer, the file that the ledger knows."""

    input_changed = True  # `workproc` tells this from trouble with the storage


class StoredInputs:
    """The fine shards at the destination, checked against the ledger as they are read.

    Args:
        dest: where they lie.
        fine: their scale.
        expected: key → crc32c, "empty", or None where the ledger does not know. A key that is
            missing has no row in the plan, which means zeros.
    """

    def __init__(self, dest: Storage, fine: ScaleSpec, expected: Mapping[str, str | None]) -> None:
        self._dest = dest
        self.fine = fine
        self._expected = expected
        self._open: dict[int, Source] = {}
        self.found: dict[str, str] = {}
        self.absent: list[str] = []
        self.bytes_in = 0
        self.requests = 0

    def open(self, shard: int) -> ShardFile | None:
        """See `braid.downsample.cells.Inputs`.

        Raises:
            PermanentError: a shard that should exist does not.
        """
        key = self._key(shard)
        expected = self._expected.get(key, EMPTY)
        if expected == EMPTY:
            self.found[key] = EMPTY
            return None
        try:
            source = self._dest.source(shard_path(self.fine, shard))
        except ObjectNotFound:
            self._miss(key, expected)
            return None
        self._open[shard] = source
        return ShardFile.open(source, self.fine, shard)

    def finished(self, shard: int, file: ShardFile) -> None:
        """See `braid.downsample.cells.Inputs`.

        Raises:
            InputChanged: its checksum is not the one that the ledger knows.
        """
        key = self._key(shard)
        expected, found = self._expected.get(key), file.crc32c
        if found is None or (expected is not None and found != expected):
            raise InputChanged(
                f"{file.name}: expected crc32c {expected}, found {found}: it is not the file that "
                f"{key}'s receipt tells of",
                hint=f"producer replay --shards {key} --redo makes it and its dependents again",
            )
        self.found[key] = found
        self.bytes_in += file.source.size

    def close(self) -> None:
        """Close all files and count their requests."""
        for source in self._open.values():
            self.requests += source.requests
            source.close()
        self._open.clear()

    def _miss(self, key: str, expected: str | None) -> None:
        if expected is not None:
            raise PermanentError(
                f"{key} is missing at {self._dest.url}, but its receipt says that it holds chunks",
                hint=f"producer replay --shards {key} --redo makes it again",
            )
        self.found[key] = EMPTY
        self.absent.append(key)

    def _key(self, shard: int) -> str:
        return shard_key(self.fine.index, shard_hex(shard, self.fine.sharding))


def downsample_shard(
    task: DownsampleTask,
    dest: Storage,
    confirm: Callable[[], None],
    progress: Callable[[int], None],
) -> Outcome:
    """Make one shard and let it appear at the destination, whole; a shard of zeros has no file.

    Args:
        task: what to make.
        dest: the volume, inputs and output.
        confirm: called once, just before the output appears; if it raises, nothing does.
        progress: with_progress the chunks written so far.

    Raises:
        InputChanged: an input is not the one the ledger knows; later it may be.
        PermanentError: an input is missing.
        BraidError: an input breaks its format, or the scales do not follow from each other.
    """
    began = time.perf_counter()
    scales = volume_of(task).scales
    fine, coarse = scales[task.scale - 1], scales[task.scale]
    maker = Downsampler(fine, coarse, Rule(task.rule), task.gzip_level, task.threads)
    inputs = StoredInputs(dest, fine, task.inputs)
    with _stable(inputs):
        chunks = with_progress(maker.payloads(task.shard, inputs), progress)
        written = write_chunks(dest, coarse, task.shard, chunks, confirm)
    if inputs.absent:
        _log.warning(log.INPUTS_ABSENT, shard=task.key, inputs=inputs.absent, taken_as="zeros")
    tally = maker.tally
    return Outcome(
        chunks=tally.chunks,
        empty=tally.chunks == 0,
        bytes_in=inputs.bytes_in,
        bytes_out=written[0],
        crc32c=written[1],
        labels=tally.labels,
        reads=inputs.requests,
        inputs=inputs.found,
        absent_inputs=len(inputs.absent),
        threads=task.threads,
        route="palette" if maker.uses_blocks else "voxel",
        seconds={
            "read": tally.read_s,
            "gunzip": tally.gunzip_s,
            "vote": tally.vote_s,
            "gzip": tally.gzip_s,
            "wall": time.perf_counter() - began,
        },
    )


@contextmanager
def _stable(inputs: StoredInputs) -> Iterator[None]:
    """Say of an input that fails what it means.

    One that goes away while it is read was replaced: that is a change, not a loss.
    """
    try:
        yield
    except ObjectNotFound as error:
        raise InputChanged(f"{error}: replaced or removed while it was read") from None
    except (InvalidShardFormatError, DecompressionError) as error:
        key = f"s{inputs.fine.index}/NAME"
        error.hint = f"NAME.shard is damaged: producer replay --shards {key} --redo makes it again"
        raise
    finally:
        inputs.close()
