"""Memory estimate of a shard's work: named terms in bytes, and the smallest tier that holds it.

A term is a size that the code fixes (a window, a batch) or that the shard brings (rows, chunks),
times a coefficient that `memmodel fit` can measure again. Work streams, so most terms stop growing
at the size of a window: docs and code share the constants of the code that allocates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from braid.downsample.cells import WINDOW_BYTES
from braid.downsample.downsampler import BATCH_BYTES
from braid.precomputed.volume_spec import CodePath
from braid.transcode.transcoder import BATCH_BYTES as TRANSCODE_BYTES
from delivery.messages import Kind
from memmodel.coefficients import Coefficients, current
from memmodel.tiers import GIB, MIB, Tier
from runtime.errors import ShardliftError

WATCHDOG_SHARE: Final = 0.9  # of its tier's limit; beyond it the worker stops the work

BASE_BYTES: Final = 112 * MIB  # interpreter, numpy, pyarrow, the storage client
FORKED_BASE_BYTES: Final = 64 * MIB  # of these, what executors of one worker share
WORKER_BYTES: Final = 148 * MIB  # a worker of several executors, and what these share
WORKER_AIM_BYTES: Final = 400 * MIB  # for each CPU, with all executors
TENSORSTORE_BYTES: Final = 32 * MIB  # its import and threads
WHOLE_OBJECT_BYTES: Final = 256 * MIB  # remote source files are fetched whole while they fit
SHARED_SOURCE_BYTES: Final = 96 * MIB  # of these, held as several windows need them
AHEAD_SOURCE_BYTES: Final = 16 * MIB  # of these, that windows to come need
FIRST_SOURCE_BYTES: Final = 8 * MIB  # of these, before it is known which window needs what
PASSED_ROWS_BYTES: Final = 150 * MIB  # of a file in one pass: rows that wait for their window
FETCH_PART_BYTES: Final = 4 * MIB  # of a file that is fetched whole: one request, at most
FETCHES_AT_ONCE: Final = 4
READ_AHEAD_PART_BYTES: Final = 2 * MIB  # of an input over a network: one request
READ_AHEAD_BYTES: Final = 16 * MIB  # of inputs that are here or on their way
REMOTE_WINDOW_BYTES: Final = 24 * MIB  # of larger ones, because each costs dozens of requests
_SOURCE_BYTES: Final = SHARED_SOURCE_BYTES + AHEAD_SOURCE_BYTES
_FETCHING_BYTES: Final = FETCHES_AT_ONCE * FETCH_PART_BYTES  # in the client, before they are whole
_AHEAD_BYTES: Final = READ_AHEAD_BYTES + FETCHES_AT_ONCE * READ_AHEAD_PART_BYTES
HELD_WINDOW_BYTES: Final = 4 * MIB  # of those that are fetched whole: reading them is no request
_RANGES_BYTES: Final = 76 * MIB  # with windows of ranges, what a pass takes: it has smaller ones
LOCAL_WINDOW_BYTES: Final = 8 * MIB  # of Arrow messages
WINDOWS: Final = 3  # of source rows: read ahead, in work, and held by the batches
LOCAL_WHOLE_BYTES: Final = WINDOWS * LOCAL_WINDOW_BYTES  # local files that are windows themselves
EDGE_PAGES_BYTES: Final = 8 * MIB  # of remote ranges, for the windows beside
KEPT_BATCHES_BYTES: Final = 16 * MIB  # of record batches, for windows to come
ROW_BYTES: Final = 320  # a row of all indices and lists, while rows are assigned
ENTRY_BYTES: Final = 160  # a chunk of an output or input index, as arrays and as numbers
PIECE_BYTES: Final = 10 * MIB  # of output: joined payloads
UPLOAD_BYTES: Final = 24 * MIB  # of output over a network: what waits, and a part on its way
LABEL_BYTES: Final = 32  # a label in a half-empty hash table, twice while it grows
VOXEL_BYTES: Final = 8
CHUNK_VOXELS: Final = 64**3
CELL_CHUNKS: Final = 8
SCRATCH_BYTES: Final = 2 * MIB  # of each thread: a block, its chunk, its payload, all large
DECODED_BLOCKS: Final = 8  # kept by each thread of the voxel path

_LEAST_ROW_BYTES: Final = 800  # of Arrow, its message around it
_SPARE_ROWS: Final = 8  # rows of the files that feed a shard, by the shard's own
_SPARSE_BLOCK_BYTES: Final = 4096
_SPARSE_CHUNK_BYTES: Final = 8192  # of one label: block headers alone
# Bytes after decompression per byte before; seen: 7.2 for DVID blocks, 5 to 7.5 for chunks.
_ZSTD_INFLATION: Final = 9.0
_GZIP_INFLATION: Final = 12.0
_PAYLOAD_PART: Final = 0.5  # of uncompressed blocks; seen: 0.15 with gzip
_UNEVENNESS: Final = 3.0  # the largest cell of a shard, measured by its mean
_STORED_PART: Final = 6  # of a batch's decoded bytes: what it weighs before that
_LARGEST_CHUNK_BYTES: Final = 4 * 656_385 + 4  # of a 64x64x64 compressed_segmentation chunk


class DoesNotFit(ShardliftError):  # noqa: N818 -- an answer, not a failure
    """Raised when no tier holds the work; see `needed_bytes` and `largest_bytes`."""

    def __init__(self, needed_bytes: int, largest: Tier) -> None:
        self.needed_bytes = needed_bytes
        self.largest_bytes = largest.limit_bytes
        super().__init__(
            f"needs about {needed_bytes / GIB:.2f} GiB; the largest tier, {largest.name}, "
            f"lets a shard use {WATCHDOG_SHARE * largest.limit_bytes / GIB:.2f} GiB",
            hint="add a larger tier with --tiers, or use smaller shards",
        )


@dataclass(frozen=True, slots=True)
class Work:
    """Properties of a shard's work that are known before it starts.

    Attributes:
        bytes_in: of the source files or input shards together.
        chunks: of the grid in the output shard's box: the most it can hold.
        code_path: of the output scale.
        remote: whether files come and go over the network (`gs://`).
        threads: of the executor process.
        chunk_voxels: of one output chunk.
        slices: source slices behind one that `--z-compress` keeps.
        labels_per_chunk: of the inputs, where their receipts have it.
    """

    kind: Kind
    bytes_in: int
    chunks: int
    code_path: CodePath = CodePath.PALETTE
    remote: bool = True
    threads: int = 1
    chunk_voxels: int = CHUNK_VOXELS
    slices: int = 1
    labels_per_chunk: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes that a shard's work needs at its peak, by named term."""

    terms: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """Sum of all terms."""
        return sum(self.terms.values())


def estimate(work: Work, coefficients: Coefficients | None = None) -> Estimate:
    """Estimate every term of a shard's work.

    Args:
        work: its properties.
        coefficients: measured ones; those of the settings if None.
    """
    factors = current() if coefficients is None else coefficients
    terms = sizes(work)
    return Estimate({name: math.ceil(factors[name] * size) for name, size in terms.items()})


def choose(needed: Estimate, tiers: Sequence[Tier]) -> Tier:
    """Choose the smallest tier whose watchdog would let this work finish.

    Raises:
        DoesNotFit: the largest tier does not hold it.
    """
    ascending = sorted(tiers, key=lambda tier: tier.limit_bytes)
    for tier in ascending:
        if needed.total_bytes <= WATCHDOG_SHARE * tier.limit_bytes:
            return tier
    raise DoesNotFit(needed.total_bytes, ascending[-1])


def sizes(work: Work) -> dict[str, float]:
    """Bytes of each term before its coefficient."""
    own = _convert_sizes(work) if work.kind == "convert" else _downsample_sizes(work)
    pieces = UPLOAD_BYTES if work.remote else PIECE_BYTES
    return {"base": float(BASE_BYTES), **own, "pieces": float(pieces)}


def _convert_sizes(work: Work) -> dict[str, float]:
    whole = work.bytes_in if work.remote and work.bytes_in <= WHOLE_OBJECT_BYTES else 0
    ranges = work.remote and not whole
    window = HELD_WINDOW_BYTES if whole else LOCAL_WINDOW_BYTES
    if ranges:
        window = REMOTE_WINDOW_BYTES
    rows = min(_SPARE_ROWS * work.chunks * work.slices, work.bytes_in / _LEAST_ROW_BYTES)
    decompressed = _ZSTD_INFLATION * work.bytes_in + _SPARSE_BLOCK_BYTES * rows
    batches = 2 if work.threads > 1 else 1
    payloads = _PAYLOAD_PART * batches * TRANSCODE_BYTES
    most = _RANGES_BYTES if ranges else _SOURCE_BYTES if whole else KEPT_BATCHES_BYTES
    terms = {
        "source": float(min(work.bytes_in, most)),
        "fetching": float(EDGE_PAGES_BYTES if ranges else min(whole, _FETCHING_BYTES)),
        "windows": min(work.bytes_in, WINDOWS * window),
        "rows": ROW_BYTES * rows,
        "blocks": min(decompressed, payloads + work.threads * SCRATCH_BYTES),
        "index": float(ENTRY_BYTES * work.chunks),
    }
    voxels = work.chunk_voxels * VOXEL_BYTES
    if work.code_path is not CodePath.PALETTE:
        blocks = DECODED_BLOCKS * CHUNK_VOXELS * VOXEL_BYTES
        terms["voxels"] = work.threads * (2.0 * voxels + blocks)
    if work.code_path is CodePath.TENSORSTORE:
        # It encodes chunk by chunk: a copy in the volume's type, one in its cache, the bytes.
        terms["tensorstore"] = float(TENSORSTORE_BYTES + 3 * work.threads * voxels)
    return terms


def _downsample_sizes(work: Work) -> dict[str, float]:
    largest_chunk = _LARGEST_CHUNK_BYTES * max(1.0, work.chunk_voxels / CHUNK_VOXELS)
    chunks_in = CELL_CHUNKS * work.chunks
    mean = min(largest_chunk, work.bytes_in / chunks_in)
    stored = min(largest_chunk, _UNEVENNESS * mean)
    cell = CELL_CHUNKS * min(largest_chunk, _GZIP_INFLATION * stored)
    batch = max(BATCH_BYTES / _STORED_PART, CELL_CHUNKS * mean)  # not yet decoded
    waiting = (work.threads + 2) * batch + CELL_CHUNKS * (stored - mean)  # one is the largest
    decoded = _GZIP_INFLATION * work.bytes_in + _SPARSE_CHUNK_BYTES * chunks_in
    labels = min(float(work.chunk_voxels), CELL_CHUNKS * work.labels_per_chunk)
    terms = {
        "windows": min(work.bytes_in, WINDOW_BYTES + waiting),
        "fetching": float(min(work.bytes_in, _AHEAD_BYTES)) if work.remote else 0.0,
        "cells": min(decoded, work.threads * max(BATCH_BYTES, cell)),
        "labels": LABEL_BYTES * work.threads * labels,
        "index": ENTRY_BYTES * (work.chunks + chunks_in / CELL_CHUNKS),
    }
    if work.code_path is not CodePath.PALETTE:
        terms["voxels"] = work.threads * (CELL_CHUNKS + 2.0) * work.chunk_voxels * VOXEL_BYTES
    return terms
