"""What a work process is told to do, and what it tells back; both travel as JSON."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from braid.precomputed.volume_spec import VolumeSpec

Count = Annotated[int, Field(ge=0)]


class _Task(BaseModel):
    """What both kinds of work share: which output shard, of which volume, under which limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str  # absolute URI of the run
    key: str  # "s0/0fe9"
    volume: dict[str, Any]  # the info of the destination
    scale: Count  # index into volume["scales"]
    shard: Count
    dest: str  # URL
    gzip_level: Annotated[int, Field(ge=0, le=12)] = 6
    threads: Annotated[int, Field(ge=1)] = 1
    tier_limit_bytes: int | None = None  # None: nobody set a limit


class ConvertTask(_Task):
    """Make one output shard from rows of DVID export files."""

    kind: Literal["convert"] = "convert"
    source: str  # URL
    sources: tuple[str, ...]  # .arrow files, relative to `source`
    label_type: Literal["labels", "supervoxels"] = "labels"
    z_compress: Count = 0


class DownsampleTask(_Task):
    """Make one output shard from the shards of the scale below that it covers."""

    kind: Literal["downsample"] = "downsample"
    inputs: dict[str, str | None]  # key -> crc32c, "empty" (no file), None (ledger does not know)
    rule: Literal["mode", "nonzero-mode"] = "mode"


class Outcome(BaseModel):
    """What came of a task: the part of a receipt that only the work itself knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunks: Count  # stored in the shard
    empty: bool = False  # all zeros: no file
    bytes_in: Count = 0
    bytes_out: Count = 0
    crc32c: str | None = None  # base64, as GCS prints it; None when empty
    labels: Count = 0  # distinct labels, summed over the chunks that were read
    reads: Count = 0  # requests to the storage
    skipped_outside: Count = 0  # rows wholly outside the volume
    skipped_elsewhere: Count = 0  # rows that belong to other shards
    inputs: dict[str, str] = {}  # downsample: key -> crc32c or "empty", as read
    absent_inputs: Count = 0  # of these, unknown to the ledger and absent: taken as zeros
    threads: Annotated[int, Field(ge=1)] = 1  # that took part
    route: Literal["palette", "voxel", "tensorstore", ""] = ""
    seconds: dict[str, float] = {}  # by phase


Task = Annotated[ConvertTask | DownsampleTask, Field(discriminator="kind")]
_TASK: TypeAdapter[ConvertTask | DownsampleTask] = TypeAdapter(Task)


def decode_task(data: str | bytes) -> ConvertTask | DownsampleTask:
    """The task that `model_dump_json` wrote; raises `pydantic.ValidationError`."""
    return _TASK.validate_json(data)


def volume_of(task: ConvertTask | DownsampleTask) -> VolumeSpec:
    """The checked volume of a task; one after another they are mostly of the same.

    Raises:
        SpecError: it cannot be served; the text names the destination.
    """
    return _checked(_Asked(task.volume, task.dest))


@dataclass(frozen=True)
class _Asked:
    info: dict[str, Any] = field(hash=False)  # told apart by comparing, which is fast
    dest: str


@lru_cache(maxsize=2)
def _checked(asked: _Asked) -> VolumeSpec:
    return VolumeSpec.parse(json.dumps(asked.info), asked.dest)
