"""One output shard from the export files whose cells meet it.

Load indices, route rows, stream windows of rows through the transcoder into the shard file. Nothing
grows with the number of chunks but the indices: about a hundred bytes per row.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import check_z_step, route
from braid.transcode.row_window import RowWindow
from braid.transcode.transcoder import Transcoder
from braid.transcode.voxel_path import Encode
from consumer.executor.output import with_progress, write_chunks
from consumer.executor.source_files import SourceFiles
from consumer.protocol.tasks import ConvertTask, Outcome, volume_of
from memmodel.estimate import WATCHDOG_SHARE, Work, estimate
from runtime.errors import OutOfMemory
from runtime.storage import Storage

if TYPE_CHECKING:
    from braid.precomputed.volume_spec import Route


def convert_shard(
    task: ConvertTask,
    dest: Storage,
    source: Storage,
    confirm: Callable[[], None],
    progress: Callable[[int], None],
) -> Outcome:
    """Make one shard and let it appear at the destination, whole; a shard of zeros has no file.

    Args:
        task: what to make.
        dest: the volume.
        source: the export.
        confirm: called once, just before the output appears; if it raises, nothing does.
        progress: with_progress the chunks written so far.

    Raises:
        ObjectNotFound: a source file is missing.
        BraidError: a source file breaks its format, or the spec cannot be served.
        OutOfMemory: a chunk of this spec cannot fit the tier.
    """
    began = time.perf_counter()
    check_z_step(task.z_compress + 1)
    scale = volume_of(task).scales[task.scale]
    coder = Transcoder(
        scale,
        mapped=task.label_type == "labels",
        gzip_level=task.gzip_level,
        threads=task.threads,
        z_step=task.z_compress + 1,
        encode=_encoder(scale),
    )
    check_memory(task, scale)
    with SourceFiles(source, task.sources) as files:
        files.check_cells(scale, task.z_compress)
        routed = route(files.coords, scale, task.shard, coder.z_step)
        indexed = time.perf_counter()
        waiting = _Stopwatch()
        with (
            closing(waiting.over(files.windows(routed))) as windows,
            closing(coder.payloads(windows)) as chunks,
        ):
            written = write_chunks(
                dest, scale, task.shard, with_progress(chunks, progress), confirm
            )
        requests, bytes_in = files.requests, files.bytes_of(routed.blocks)
    tally = coder.tally
    return Outcome(
        chunks=tally.chunks,
        empty=tally.chunks == 0,
        bytes_in=bytes_in,
        bytes_out=written[0],
        crc32c=written[1],
        labels=tally.labels,
        reads=requests,
        skipped_outside=routed.outside,
        skipped_elsewhere=routed.elsewhere,
        threads=task.threads,
        route=route_of(scale, task.z_compress),
        seconds={
            "index": indexed - began,
            "read": waiting.seconds,
            "unzip": tally.decompress_s,
            "transcode": tally.transcode_s,
            "gzip": tally.gzip_s,
            "wall": time.perf_counter() - began,
        },
    )


def route_of(scale: ScaleSpec, z_compress: int = 0) -> "Route":
    """Which path serves a scale: decimated palettes become voxels."""
    return "voxel" if scale.route == "palette" and z_compress else scale.route


def check_memory(task: ConvertTask, scale: ScaleSpec) -> None:
    """Refuse before it starts what a chunk's size alone makes too large for the tier.

    Raises:
        OutOfMemory: with both numbers.
    """
    if task.tier_limit_bytes is None or scale.route == "palette":
        return
    work = Work(
        "convert",
        bytes_in=0,
        chunks=1,
        route=scale.route,
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
    """TensorStore's where our own kernels do not serve; imported only then, for its memory."""
    if scale.route != "tensorstore":
        return None
    from consumer.executor.tensorstore_encoder import encoder  # noqa: PLC0415 (see above)

    return encoder(scale)


class _Stopwatch:
    """Seconds spent waiting for items."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Generator[RowWindow]) -> Generator[RowWindow]:
        """The same items, timed; closing this closes them."""
        with closing(items):
            while True:
                began = time.perf_counter()
                item = next(items, None)
                self.seconds += time.perf_counter() - began
                if item is None:
                    return
                yield item
