"""Resources that shards use on Google Cloud: worker time, requests, messages, stored bytes."""

import math
from dataclasses import dataclass
from typing import Final

from braid.downsample.cells import WINDOW_BYTES
from braid.precomputed.volume_spec import ScaleSpec
from delivery.cascade import MOST_INPUTS, PROBES
from delivery.ledger.shard_status import MOST_READS
from delivery.messages import Kind

RAW_OVER_GZIP: Final = 4.7  # stored bytes of compressed_segmentation chunks, on a real dataset

# Requests of a shard to a bucket, as docs/performance.md explains them; they are counted by a test.
_SHARD_READS: Final = 1  # its receipt, in case that it is done
_SHARD_WRITES: Final = 2  # the run's overview, its receipt; and what uploads it
_SOURCE_READS: Final = 3  # the Arrow file's size and generation, two names of its index
_INPUT_READS: Final = 1  # the input shard's size and generation
_CASCADE_READS: Final = 3  # once all inputs are done: receipt, failure and publish marker
AT_ONCE_BYTES: Final = 8 << 20  # a shard of this size goes up in one request
_AT_ONCE_WRITES: Final = 2  # that one, and to compose what it made under the final name
_PARTS_WRITES: Final = 3  # a larger one: the body, whose parts are not billed, the head, compose
SOURCE_PART_BYTES: Final = 4 << 20  # of a source file in one request
_HEARTBEATS_S: Final = (2, 4, 8, 16, 32)  # between the first; from then on
_HEARTBEAT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that a shard, a tier or a run uses.

    Attributes:
        seconds: of a worker of some tier.
        reads: requests of class B.
        writes: requests of class A.
        messages: sent through the queue.
        bytes_out: stored at the destination.
        bytes_in: read, of source files or input shards.
    """

    seconds: float = 0.0
    reads: int = 0
    writes: int = 0
    messages: int = 0
    bytes_out: int = 0
    bytes_in: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.seconds + other.seconds,
            self.reads + other.reads,
            self.writes + other.writes,
            self.messages + other.messages,
            self.bytes_out + other.bytes_out,
            self.bytes_in + other.bytes_in,
        )


def encoding_ratio(scale: ScaleSpec) -> float:
    """Stored bytes of a scale over those with gzip, by its data encoding."""
    return 1.0 if scale.sharding.data_encoding == "gzip" else RAW_OVER_GZIP


def shard_usage(kind: Kind, seconds: float, inputs: int, bytes_in: int, bytes_out: int) -> Usage:
    """Resources that one shard uses on Google Cloud.

    A downsampled shard's share has what the workers of its inputs did to find it ready.

    Args:
        kind: of the shard.
        seconds: of one worker.
        inputs: number of source files or input shards.
        bytes_in: of all inputs.
        bytes_out: of the shard.
    """
    uploads = _AT_ONCE_WRITES if bytes_out <= AT_ONCE_BYTES else _PARTS_WRITES
    own = Usage(
        seconds=seconds,
        reads=_SHARD_READS + _ranges(kind, inputs, bytes_in),
        writes=_SHARD_WRITES + uploads + heartbeats(seconds),
        messages=1,
        bytes_out=bytes_out,
        bytes_in=bytes_in,
    )
    return own + _input_receipts(inputs) if kind == "downsample" else own


def heartbeats(seconds: float) -> int:
    """Heartbeats that a worker writes for a shard of this duration."""
    written, at_s = 1, 0.0
    for pause_s in _HEARTBEATS_S:
        at_s += pause_s
        written += at_s < seconds
    return written + max(0, int((seconds - at_s) // _HEARTBEAT_S))


def _ranges(kind: Kind, inputs: int, bytes_in: int) -> int:
    """Reads of source files or input shards, each of about the same size."""
    fixed, at_once = (
        (_SOURCE_READS, SOURCE_PART_BYTES) if kind == "convert" else (_INPUT_READS, WINDOW_BYTES)
    )
    return inputs * (fixed + data_reads(bytes_in / max(1, inputs), at_once))


def data_reads(size: float, at_once: int) -> int:
    """Ranges of one object in which its data are read."""
    return max(1, math.ceil(size / at_once))


def _input_receipts(inputs: int) -> Usage:
    """Requests for the receipts of a dependent's inputs: in their workers' cascades, and its own.

    Each input's worker reads one receipt, which is missing; the last one's reads all.
    """
    listed = inputs - PROBES > MOST_INPUTS
    cascades = inputs - 1 + _CASCADE_READS + (PROBES if listed else inputs)
    looks = 2 * inputs if inputs <= MOST_READS else 0  # before the work, and before the output
    return Usage(reads=cascades + looks, writes=listed + (0 if looks else 2) + 1)  # the marker
