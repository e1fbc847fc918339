"""Settings of a run: run.json and the notes beside it, and what may name a run."""

import re
import uuid
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from delivery.ledger.fields import Count, Scale
from delivery.ledger.selection import Selection
from delivery.messages import RUN_CHARS, now, shortened
from runtime.errors import UsageError
from runtime.storage import absolute, join

UNREADABLE: Final = "unreadable"  # beside the runs
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHOWN_CHARS: Final = 120  # of a path that is too long

QueueUrl = Annotated[str, Field(pattern="^(sqlite:|pubsub://)[^\\x00]+$")]


class RunInfo(BaseModel):
    """Settings of a run; written once, after its plan.

    Attributes:
        scales: converted from the export.
        downres: scales made from the scale before.
        tiers: names of the tiers, smallest first.
        queue: URL of the broker at first; `Run.queue` is where the run is now.
        bad_chunks: what to do with a chunk that does not decode: fail the shard, or leave it out.
        version: of the program that planned the run.
        fingerprint: equal for runs that make the same bytes.
        volume: the destination's info.
        overwrite: also makes shards that existed.
        output_revision: of the bytes; runs of version 0.1.0 do not name theirs.
        partial: what the export lacked when the run was planned, in words.
        adopted: its present shards are taken as they are, although no known run made them.
        token: tells it from an earlier run of the same id; runs of version 0.1.0 have none.
        selection: the shards that it makes, on request; None: all.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    run_id: str
    created: AwareDatetime
    source: str | None
    dest: str
    scales: tuple[Scale, ...] = ()
    downres: tuple[Scale, ...] = ()
    # Values of braid's Rule and LabelType; delivery knows no formats, so it spells them itself.
    rule: Literal["mode", "nonzero-mode"] = "mode"
    label_type: Literal["labels", "supervoxels"] = "labels"
    z_compress: Count = 0
    gzip_level: int = 6
    bad_chunks: Literal["fail", "skip"] = "fail"
    tiers: Annotated[tuple[str, ...], Field(min_length=1)]
    queue: QueueUrl
    version: str
    fingerprint: str
    volume: dict[str, Any]
    overwrite: bool = False
    output_revision: int = 1
    partial: tuple[str, ...] = ()
    adopted: bool = False
    token: str = ""
    selection: Selection | None = None

    def makes(self, scale: int) -> bool:
        """Whether the run makes this scale, by converting or downsampling."""
        return scale in (*self.scales, *self.downres)

    def leaves_out(self, scale: int) -> int:
        """Number of shards of a scale that its selection leaves to a run of the whole."""
        return self.selection.left_out.get(scale, 0) if self.selection else 0


class Cancellation(BaseModel):
    """When and why a run was cancelled."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    why: str


class QueueMove(BaseModel):
    """When a run was moved to another queue, and which.

    Attributes:
        queue: absolute URL.
    """

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    queue: QueueUrl


def with_resolved_places(info: RunInfo) -> RunInfo:
    """The settings with source and destination as `absolute` names them; 0.1.0 kept `..`, links."""
    places = {"dest": info.dest, "source": info.source}
    return info.model_copy(update={name: url and absolute(url) for name, url in places.items()})


def check_run_id(run_id: str) -> None:
    """Raise UsageError for an id that cannot name a run's folder."""
    if _RUN_ID.fullmatch(run_id) is None or run_id == UNREADABLE:
        raise UsageError(f"{run_id!r} cannot name a run", hint="use letters, digits, '.', '_', '-'")


def check_run_place(state_url: str, run_id: str) -> None:
    """Raise UsageError for a run whose URI no message can hold."""
    uri = join(absolute(state_url), run_id)
    if len(uri) > RUN_CHARS:
        raise UsageError(
            f"the path of the run would have {len(uri):,} characters, {RUN_CHARS:,} are allowed: "
            f"{shortened(uri, _SHOWN_CHARS)}",
            hint="name a shorter one with --state or STATE_PATH",
        )


def new_run_id() -> str:
    """A unique name that sorts by time."""
    return f"{now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
