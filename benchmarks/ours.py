"""Work of shardlift: the functions that an executor calls, from source files to the final shard."""

import shutil
from pathlib import Path
from typing import Any

from benchmarks.child import TimedWork, nothing, shards_written
from benchmarks.exports import Export
from braid.io.crc32c import crc32c, crc32c_text
from braid.precomputed.sharding import dependents, inputs, shard_hex, shard_path
from consumer.executor.convert import convert_shard
from consumer.executor.downsample import downsample_shard
from consumer.protocol.tasks import ConvertTask, DownsampleTask
from delivery.messages import shard_key
from runtime.storage import open_storage


def convert(export: dict[str, Any], out: str, threads: int) -> dict[str, TimedWork]:
    """Whole conversion: open the Arrow file … the shard appears."""
    found = Export(**export)
    task = convert_task(found, out, threads)
    dest, source = open_storage(out), open_storage(found.root)

    reads = 0

    def run() -> None:
        nonlocal reads
        reads = convert_shard(task, dest, source, nothing, _ignore).reads

    def reset() -> None:
        shutil.rmtree(Path(out) / found.scale_spec().key, ignore_errors=True)

    def facts() -> dict[str, float]:
        return {**shards_written(out), "reads": reads}

    return {"convert": TimedWork(run, found.chunks, reset, facts)}


def convert_task(export: Export, out: str, threads: int = 1) -> ConvertTask:
    """Task that an executor would get."""
    return ConvertTask(
        run="bench",
        key=shard_key(export.scale, shard_hex(export.shard, export.scale_spec().sharding)),
        volume=export.volume,
        scale=export.scale,
        shard=export.shard,
        dest=out,
        source=export.root,
        sources=(export.path,),
        threads=threads,
    )


def downsample(export: dict[str, Any], volume: str, threads: int = 1) -> dict[str, TimedWork]:
    """Downsample the shard that a conversion left in `volume`."""
    found = Export(**export)
    task = downsample_task(found, volume, threads)
    dest = open_storage(volume)
    coarse = found.scale_spec(above=1)

    def run() -> None:
        downsample_shard(task, dest, nothing, _ignore)

    def reset() -> None:
        shutil.rmtree(Path(volume) / coarse.key, ignore_errors=True)

    def facts() -> dict[str, float]:
        return shards_written(f"{volume}/{coarse.key}")

    return {"downsample": TimedWork(run, found.chunks, reset, facts)}


def downsample_task(export: Export, volume: str, threads: int = 1) -> DownsampleTask:
    """Task that an executor would get; fine shards other than the export's are empty."""
    fine, coarse = export.scale_spec(), export.scale_spec(above=1)
    (shard,) = dependents(fine, coarse, export.shard)
    file = Path(volume) / shard_path(fine, export.shard)
    known = {export.shard: crc32c_text(crc32c(file.read_bytes()))}  # as its receipt says
    return DownsampleTask(
        run="bench",
        key=shard_key(coarse.index, shard_hex(shard, coarse.sharding)),
        volume=export.volume,
        scale=coarse.index,
        shard=shard,
        dest=volume,
        inputs={
            shard_key(fine.index, shard_hex(one, fine.sharding)): known.get(one, "empty")
            for one in inputs(fine, coarse, shard)
        },
        threads=threads,
    )


def _ignore(_chunks: int) -> None:
    """Ignore progress."""
