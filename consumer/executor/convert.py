"""Conversion of DVID export files to one output shard.

Load the files' indices, assign rows to chunks, stream windows of rows through the transcoder into
the shard file. Only the indices grow with the number of chunks: about a hundred bytes per row.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Final

from braid.precomputed.volume_spec import CodePath, ScaleSpec
from braid.reader import LabelType
from braid.transcode.block_assignment import assign_blocks
from braid.transcode.row_window import RowWindow
from braid.transcode.tasks import BadChunk
from braid.transcode.transcoder import Transcoder
from braid.transcode.voxel_path import Encode
from consumer.executor.output import InputStats, build_outcome, with_progress, write_chunks
from consumer.executor.source_file import guarded
from consumer.executor.source_files import SourceFiles
from consumer.protocol.tasks import ConvertTask, Outcome, volume_of
from delivery.ledger import receipts
from delivery.messages import shortened
from memmodel.estimate import WATCHDOG_SHARE, Work, estimate
from runtime.errors import OutOfMemory
from runtime.storage import Storage

_REASON_CHARS: Final = 200  # of one bad chunk; a receipt lists up to a thousand


def convert_shard(
    task: ConvertTask,
    dest: Storage,
    source: Storage,
    confirm: Callable[[], None],
    on_progress: Callable[[int], None],
    *,
    on_ending: Callable[[], None] = lambda: None,
) -> Outcome:
    """Make one output shard; it appears atomically, a shard of zeros has no file.

    Args:
        task: what to make.
        dest: the volume.
        source: the export.
        confirm: called just before the output appears; if it raises, nothing appears. Called again
            if another writer came first.
        on_progress: called with the number of chunks written so far.
        on_ending: called before the last eighth of a large shard.

    Raises:
        ObjectNotFound: a source file is missing.
        BraidError: a source file breaks its format, or the spec cannot be served.
        UnreachableError: a source file was changed while it was read, or damaged on its way.
        OutOfMemory: a chunk of this spec cannot fit the tier.
    """
    began = time.perf_counter()
    scale = volume_of(task).scales[task.scale]
    coder = _transcoder(task, scale)
    check_memory(task, scale)
    with SourceFiles(source, task.sources) as files, guarded(files.files):
        files.check_extents(scale, task.z_compress)

        def confirm_unchanged() -> None:
            files.check_unchanged()
            files.verify(doubted=coder.bad_chunks.count > 0)
            confirm()

        assigned = assign_blocks(files.coords, scale, task.shard, coder.z_step)
        index_s = time.perf_counter() - began
        reading = _Stopwatch()
        with (
            closing(reading.over(files.windows(assigned, on_ending))) as windows,
            closing(coder.payloads(windows)) as chunks,
        ):
            counted = with_progress(chunks, on_progress)
            written = write_chunks(dest, scale, task, counted, confirm_unchanged)
        inputs = InputStats(
            bytes_in=files.bytes_of(assigned.blocks),
            reads=files.requests,
            skipped_outside=assigned.outside,
            skipped_elsewhere=assigned.elsewhere,
            source_digest=files.digest,
            bad_chunk_count=coder.bad_chunks.count,
            bad_chunks=tuple(map(_recorded, coder.bad_chunks.listed)),
        )
    phases = {
        "index": index_s,
        "read": reading.seconds,
        "decompress": coder.stats.decompress_s,
        "transcode": coder.stats.transcode_s,
        "gzip": coder.stats.gzip_s,
        "wall": time.perf_counter() - began,
    }
    return build_outcome(
        inputs,
        coder.stats,
        written,
        threads=task.threads,
        code_path=scale.code_path(coder.z_step),
        phases=phases,
    )


def _transcoder(task: ConvertTask, scale: ScaleSpec) -> Transcoder:
    return Transcoder(
        scale,
        mapped=task.label_type is LabelType.LABELS,
        gzip_level=task.gzip_level,
        threads=task.threads,
        z_step=task.z_compress + 1,
        encode=_encoder(scale),
        skip_bad=task.bad_chunks == "skip",
    )


def _recorded(bad: BadChunk) -> receipts.BadChunk:
    """A bad chunk as receipts have it."""
    place = bad.place
    reason = shortened(bad.reason, _REASON_CHARS)
    return receipts.BadChunk(chunk=bad.chunk, file=place.file, row=place.row, reason=reason)


def check_memory(task: ConvertTask, scale: ScaleSpec) -> None:
    """Refuse a task of which one chunk alone is too large for the tier.

    Raises:
        OutOfMemory: with both numbers.
    """
    if task.tier_limit_bytes is None or scale.code_path() is CodePath.PALETTE:
        return
    work = Work(
        "convert",
        bytes_in=0,
        chunks=1,
        code_path=scale.code_path(),
        threads=task.threads,
        chunk_voxels=math.prod(scale.chunk_size),
        slices=task.z_compress + 1,
    )
    needed, limit = estimate(work).total_bytes, int(WATCHDOG_SHARE * task.tier_limit_bytes)
    if needed > limit:
        raise OutOfMemory(
            f"{task.key}: chunks of {'x'.join(map(str, scale.chunk_size))} voxels need about "
            f"{needed >> 20} MiB, this tier lets a shard use {limit >> 20} MiB",
            hint="use a larger tier, or smaller chunks in the spec",
            needed_bytes=needed,
            limit_bytes=limit,
        )


def _encoder(scale: ScaleSpec) -> Encode | None:
    """TensorStore encoder, where the kernels do not serve; imported only then, for its memory."""
    if scale.code_path() is not CodePath.TENSORSTORE:
        return None
    from consumer.executor.tensorstore_encoder import encoder  # noqa: PLC0415 (see above)

    return encoder(scale)


class _Stopwatch:
    """Seconds spent waiting for the items of a generator."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Generator[RowWindow]) -> Generator[RowWindow]:
        """Yield the items and time them; closing this closes the generator."""
        with closing(items):
            while True:
                began = time.perf_counter()
                item = next(items, None)
                self.seconds += time.perf_counter() - began
                if item is None:
                    return
                yield item
