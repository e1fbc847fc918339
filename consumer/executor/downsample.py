"""Downsampling of one output shard from the shards of the scale before.

Each input is checked against the ledger: a file with another checksum has changed, and a missing
file is not a shard of zeros. The output appears only after all inputs have been checked.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from braid.downsample.downsampler import Downsampler
from braid.exceptions import DecompressionError, InvalidShardFormatError
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import inputs as fine_shards_of
from braid.precomputed.sharding import shard_hex, shard_path
from braid.precomputed.volume_spec import CodePath, ScaleSpec
from consumer.executor.input_read_ahead import InputReadAhead
from consumer.executor.output import InputStats, build_outcome, with_progress, write_chunks
from consumer.protocol.events import InputChanged
from consumer.protocol.tasks import DownsampleTask, Outcome, volume_of
from delivery.ledger.receipts import EMPTY
from delivery.messages import shard_key
from runtime import log, log_events
from runtime.errors import ObjectNotFound, PermanentError
from runtime.storage import Storage
from runtime.urls import is_remote

if TYPE_CHECKING:
    from runtime.storage.base import Source

_log = log.get()


class StoredInputs:
    """Input shards at the destination, checked against the ledger as they are read.

    Args:
        dest: where they lie.
        fine: their scale.
        expected: key → crc32c, "empty", or None where the ledger does not know. A key without an
            entry has no row in the plan, which means zeros.
    """

    def __init__(self, dest: Storage, fine: ScaleSpec, expected: Mapping[str, str | None]) -> None:
        self._dest = dest
        self.fine = fine
        self._expected = expected
        self._open: dict[int, Source] = {}
        self._ahead: InputReadAhead | None = None
        self.found: dict[str, str] = {}
        self.absent: list[str] = []
        self.bytes_in = 0
        self.requests = 0

    def read_ahead(self, shards: Sequence[int]) -> None:
        """Begin to read these shards, which come over a network; they will be used in order."""
        wanted = [one for one in shards if self._expected.get(self._key(one), EMPTY) != EMPTY]
        self._ahead = InputReadAhead(self._source, wanted)

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
            file = self._ahead.take(shard) if self._ahead else None
            source = file.source if file else self._source(shard)
        except ObjectNotFound:
            self._record_absent(key, expected)
            return None
        self._open[shard] = source
        return ShardFile.open(file or source, self.fine, shard)

    def finished(self, shard: int, file: ShardFile) -> None:
        """See `braid.downsample.cells.Inputs`.

        Raises:
            InputChanged: its checksum is not the one that the ledger knows.
            DamagedInTransit: what was read is not what lies there; a retry may help.
        """
        key = self._key(shard)
        expected, found = self._expected.get(key), file.crc32c
        self._open[shard].verify(doubted=found is None or found != expected)
        if found is None or (expected is not None and found != expected):
            raise InputChanged(
                f"{file.name}: expected crc32c {expected}, found {found}: it is not the file that "
                f"{key}'s receipt describes",
                hint=f"python -m producer replay --shards {key} --redo makes it and its dependents",
            )
        self.found[key] = found
        self.bytes_in += file.source.size
        if self._ahead:
            self._ahead.take(shard).drop()

    def verify(self) -> None:
        """Prove that what was read and does not decode is what lies there.

        Raises:
            DamagedInTransit: it is not; a retry may help.
        """
        for source in self._open.values():
            source.verify(doubted=True)

    def close(self) -> None:
        """Close all files and add up their requests."""
        if self._ahead:
            self._ahead.close()
        for source in self._open.values():
            self.requests += source.requests
            source.close()
        self._open.clear()

    def _record_absent(self, key: str, expected: str | None) -> None:
        if expected is not None:
            raise PermanentError(
                f"{key} is missing at {self._dest.url}, but its receipt says that it holds chunks",
                hint=f"python -m producer replay --shards {key} --redo makes it again",
            )
        self.found[key] = EMPTY
        self.absent.append(key)

    def _source(self, shard: int) -> "Source":
        return self._dest.source(shard_path(self.fine, shard))

    def _key(self, shard: int) -> str:
        return shard_key(self.fine.index, shard_hex(shard, self.fine.sharding))


def downsample_shard(
    task: DownsampleTask,
    dest: Storage,
    confirm: Callable[[], None],
    on_progress: Callable[[int], None],
) -> Outcome:
    """Make one output shard; it appears atomically, a shard of zeros has no file.

    Args:
        task: what to make.
        dest: the volume, inputs and output.
        confirm: called just before the output appears; if it raises, nothing appears. Called again
            if another writer came first.
        on_progress: called with the number of chunks written so far.

    Raises:
        InputChanged: an input is not the file that the ledger knows; a retry may help.
        PermanentError: an input is missing.
        BraidError: an input breaks its format, or the scales do not follow from each other.
    """
    began = time.perf_counter()
    scales = volume_of(task).scales
    fine, coarse = scales[task.scale - 1], scales[task.scale]
    downsampler = Downsampler(fine, coarse, task.rule, task.gzip_level, task.threads)
    inputs = StoredInputs(dest, fine, task.inputs)
    with _input_errors(inputs):
        if is_remote(dest.url):
            inputs.read_ahead(fine_shards_of(fine, coarse, task.shard))
        chunks = with_progress(downsampler.payloads(task.shard, inputs), on_progress)
        written = write_chunks(dest, coarse, task, chunks, confirm)
    if inputs.absent:
        _log.warning(
            log_events.INPUTS_ABSENT, shard=task.key, inputs=inputs.absent, taken_as="zeros"
        )
    stats = downsampler.stats
    read = InputStats(
        bytes_in=inputs.bytes_in,
        reads=inputs.requests,
        inputs=inputs.found,
        absent_inputs=len(inputs.absent),
    )
    phases = {
        "read": stats.read_s,
        "gunzip": stats.gunzip_s,
        "vote": stats.vote_s,
        "gzip": stats.gzip_s,
        "wall": time.perf_counter() - began,
    }
    code_path = CodePath.PALETTE if downsampler.uses_blocks else CodePath.VOXELS
    return build_outcome(
        read, stats, written, threads=task.threads, code_path=code_path, phases=phases
    )


@contextmanager
def _input_errors(inputs: StoredInputs) -> Iterator[None]:
    """Close the inputs, and classify their errors.

    A file that disappears while it is read was replaced: the input changed, it is not lost. One
    that does not decode is read again before it counts as damaged.
    """
    try:
        yield
    except ObjectNotFound as error:
        raise InputChanged(f"{error}: replaced or removed while it was read") from None
    except (InvalidShardFormatError, DecompressionError) as error:
        inputs.verify()
        key = f"s{inputs.fine.index}/NAME"
        command = f"python -m producer replay --shards {key} --redo"
        error.hint = f"NAME.shard is damaged: {command} makes it again"
        raise
    finally:
        inputs.close()
