"""Work of igneous, through the functions behind its commands, in one process.

`igneous image xfer --sharded` and `igneous image downsample --sharded --volumetric`; default
settings, tasks run one after another.
"""

import shutil
from pathlib import Path
from typing import Any

import igneous.task_creation as tc

from benchmarks.child import TimedWork, shards_written


def transfer(source: str, out: str, chunks: int, encoding: str | None) -> dict[str, TimedWork]:
    """Sharded copy of a plain volume; encoding None keeps the chunks' bytes."""

    def run() -> None:
        _execute(tc.create_image_shard_transfer_tasks(_url(source), _url(out), encoding=encoding))

    def reset() -> None:
        shutil.rmtree(out, ignore_errors=True)

    return {"convert": TimedWork(run, chunks, reset, lambda: shards_written(out))}


def downsample(volume: str, out: str, chunks: int) -> dict[str, TimedWork]:
    """Next scale of a sharded volume, which is copied first: igneous rewrites its info."""

    def reset() -> None:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(volume, out)

    def run() -> None:
        _execute(tc.create_image_shard_downsample_tasks(_url(out), factor=(2, 2, 2), num_mips=1))

    def facts() -> dict[str, float]:
        before, after = (shards_written(folder)["output_bytes"] for folder in (volume, out))
        return {"output_bytes": after - before}

    return {"downsample": TimedWork(run, chunks, reset, facts)}


def _execute(tasks: Any) -> None:  # noqa: ANN401 - igneous is not typed
    for task in tasks:
        task()


def _url(path: str) -> str:
    return f"file://{Path(path).absolute()}"
