"""Tasks of an executor and their outcomes; both travel as JSON."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from braid.downsample.downsampler import Rule
from braid.precomputed.volume_spec import CodePath, VolumeSpec
from braid.reader import LabelType
from delivery.ledger.receipts import BadChunk

Count = Annotated[int, Field(ge=0)]


class _Task(BaseModel):
    """Fields of both kinds of task: the output shard, its volume, the limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str  # absolute URI of the run
    key: str  # "s0/0fe9"
    volume: dict[str, Any]  # the info of the destination
    scale: Count  # index into volume["scales"]
    shard: Count
    dest: str  # URL
    is_new: bool = False  # probably no such shard was made before
    gzip_level: Annotated[int, Field(ge=0, le=12)] = 6
    threads: Annotated[int, Field(ge=1)] = 1
    tier_limit_bytes: int | None = None  # None: no limit
    tier: str = ""  # of the delivery, as is `attempt`: for logs
    attempt: Count = 0


class ConvertTask(_Task):
    """Make one output shard from rows of DVID export files."""

    kind: Literal["convert"] = "convert"
    source: str  # URL
    sources: tuple[str, ...]  # .arrow files, relative to `source`
    label_type: LabelType = LabelType.LABELS
    z_compress: Count = 0
    bad_chunks: Literal["fail", "skip"] = "fail"  # of a chunk that does not decode


class DownsampleTask(_Task):
    """Make one output shard from the shards it covers at the scale before."""

    kind: Literal["downsample"] = "downsample"
    inputs: dict[str, str | None]  # key -> crc32c, "empty" (no file), None (ledger does not know)
    rule: Rule = Rule.MODE


class Outcome(BaseModel):
    """Result of a task: the part of a receipt that the executor measures."""

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
    source_digest: str | None = None  # convert: of the source files' stamps, as opened
    bad_chunk_count: Count = 0  # left out, since they do not decode
    bad_chunks: tuple[BadChunk, ...] = ()  # the first of these
    inputs: dict[str, str] = {}  # downsample: key -> crc32c or "empty", as read
    absent_inputs: Count = 0  # of these, unknown to the ledger and absent: taken as zeros
    threads: Annotated[int, Field(ge=1)] = 1  # that took part
    code_path: CodePath | None = None
    phases: dict[str, float] = {}  # seconds


Task = Annotated[ConvertTask | DownsampleTask, Field(discriminator="kind")]


def volume_of(task: Task) -> VolumeSpec:
    """The checked volume of a task; cached, since consecutive tasks mostly share it.

    Raises:
        SpecError: it cannot be served; the text names the destination.
    """
    return _parsed(_CacheKey(task.volume, task.dest))


@dataclass(frozen=True)
class _CacheKey:
    info: dict[str, Any] = field(hash=False)  # compared, not hashed
    dest: str


@lru_cache(maxsize=2)
def _parsed(key: _CacheKey) -> VolumeSpec:
    return VolumeSpec.parse(key.info, key.dest)
