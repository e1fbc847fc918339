"""One run: its folder on storage, its record stores, and the small objects of the run itself."""

import json
import re
import uuid
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from delivery.ledger.damage import LedgerDamaged, damaged, parse, parse_as, read_object
from delivery.ledger.failures import FailureStore
from delivery.ledger.fields import Count, Scale
from delivery.ledger.overview import CANCELLED, REDO, RUN, SKIP_BAD, Overviews, RunOverview
from delivery.ledger.placements import PlacementStore
from delivery.ledger.plan import Plan
from delivery.ledger.receipts import ReceiptStore
from delivery.ledger.record_store import RecordStore
from delivery.ledger.selection import Selection
from delivery.messages import RUN_CHARS, now, shortened
from runtime import log
from runtime.errors import ObjectNotFound, PermanentError, UsageError
from runtime.storage import ObjectInfo, Storage, absolute, join, open_storage

MOVED: Final = "queue.json"
_ALL: Final = "all"  # stands for every shard of the run
WORKERS: Final = "workers"
PUBLISHED: Final = "published"
UNREADABLE: Final = "unreadable"  # beside the runs
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHOWN_CHARS: Final = 120  # of a path that is too long
_REDO_REQUEST: Final = TypeAdapter(Annotated[dict[str, Count], Field(min_length=1)])
MOVE_AWAY: Final = (
    "move the run's folder away and run its enqueue again: what it made stays with --adopt, or is "
    "made again with --overwrite"
)

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


class HeartbeatShard(BaseModel):
    """One of several shards that a worker has.

    Attributes:
        chunks: done so far.
        since: when it was leased.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    chunks: Count = 0
    since: AwareDatetime | None = None


class Heartbeat(BaseModel):
    """Report of a worker: the shard in work, its progress and memory.

    Attributes:
        worker: its id.
        key: the shard in work; None between two shards.
        chunks: of that shard, done so far.
        rss_bytes: memory of the executors.
        at: when it was written, by the worker's clock.
        since: when the shard was leased.
        shards: all shards in work or waiting for an executor, if there are several.
    """

    model_config = ConfigDict(frozen=True)

    worker: str
    tier: str
    key: str | None = None
    chunks: Count = 0
    rss_bytes: Count = 0
    limit_bytes: Count | None = None
    at: AwareDatetime
    since: AwareDatetime | None = None
    shards: tuple[HeartbeatShard, ...] | None = None

    @property
    def all_shards(self) -> tuple[HeartbeatShard, ...]:
        """Every shard that the worker has."""
        if self.shards is not None or self.key is None:
            return self.shards or ()
        return (HeartbeatShard(key=self.key, chunks=self.chunks, since=self.since),)


class PublishMarker(BaseModel):
    """Note that a dependent was published.

    Attributes:
        inputs_digest: of the inputs it was published for; formerly stored as `occasion`.
    """

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    tier: str = ""
    inputs_digest: str = Field(
        default="", validation_alias=AliasChoices("inputs_digest", "occasion")
    )


class Run:
    """A run by its absolute URI; reads its objects lazily.

    Attributes:
        receipts: of its finished shards.
        failures: records of its dead shards.
        overviews: of its folder.
        placements: notes of shards that are on another tier than planned.
    """

    def __init__(self, uri: str) -> None:
        self.uri = absolute(uri)
        self.storage: Storage = open_storage(self.uri)
        self.receipts = ReceiptStore(self.storage, lambda: self.info.token)
        self.failures = FailureStore(self.storage)
        self.overviews = Overviews(self.storage)
        self._own_stamp: str | None = None  # of run.json while it is this run's
        self._requests: dict[str, tuple[ObjectInfo, dict[str, int]]] = {}  # redo, by path
        self.placements = PlacementStore(self.storage)
        # Nothing correct depends on these, so a damaged one counts as absent.
        self._heartbeats = RecordStore(
            self.storage, WORKERS, Heartbeat, Heartbeat, name_field="worker", spare=True
        )
        self._markers = RecordStore(
            self.storage, PUBLISHED, PublishMarker, PublishMarker, suffix="", spare=True
        )

    @classmethod
    def create(cls, state_url: str, info: RunInfo, plan: Plan) -> "Run":
        """Write the plan, then run.json, whose presence means planned.

        Raises:
            UsageError: the id cannot name a folder, or is taken.
        """
        check_run_id(info.run_id)
        run = cls(join(state_url, info.run_id))
        if run.planned():
            raise run.taken()
        plan.write(run.storage)
        if not run.storage.create(RUN, info.model_dump_json(indent=1).encode()):
            raise run.taken()
        return run

    @classmethod
    def open(cls, uri: str) -> "Run":
        """The run at this URI; UsageError if there is none."""
        run = cls(uri)
        if not run.planned():
            raise UsageError(f"no run at {run.uri}", hint="`python -m producer runs` lists them")
        return run

    @property
    def run_id(self) -> str:
        """The last part of the URI."""
        return self.uri.rpartition("/")[2]

    @property
    def state_url(self) -> str:
        """The root that holds this run and others."""
        return self.uri.rpartition("/")[0]

    @cached_property
    def state(self) -> Storage:
        """Storage of that root."""
        return open_storage(self.state_url)

    @cached_property
    def info(self) -> RunInfo:
        """The run's settings; immutable. Its places have the names that `absolute` gives them."""
        where = f"{self.uri}/{RUN}"
        info = parse(RunInfo, read_object(self.storage, RUN, where, MOVE_AWAY), where, MOVE_AWAY)
        try:
            return _with_resolved_places(info)
        except UsageError as error:
            raise damaged(where, str(error), MOVE_AWAY) from None

    @property
    def queue(self) -> str:
        """URL of the run's queue now; read anew, because a run can be moved."""
        where = f"{self.uri}/{MOVED}"
        hint = "delete it, then name the run's queue: the same enqueue command with --queue"
        try:
            data = read_object(self.storage, MOVED, where, hint)
        except ObjectNotFound:
            return self.info.queue
        return parse(QueueMove, data, where, hint).queue

    def stated_dest(self) -> str | None:
        """The destination that run.json names, even if the rest of it is damaged."""
        try:
            stated = json.loads(self.storage.read(RUN))
            return absolute(stated["dest"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        except (UsageError, PermanentError):
            return None

    def move(self, queue: str) -> None:
        """Let another queue be the run's; what the old one holds is not moved."""
        note = QueueMove(at=now(), queue=queue)
        self.storage.write(MOVED, note.model_dump_json().encode())

    @cached_property
    def plan(self) -> Plan:
        """The run's plan; immutable."""
        return Plan.read(self.storage, MOVE_AWAY)

    def planned(self) -> bool:
        """Whether the plan is complete."""
        return self.storage.exists(RUN)

    def replaced(self, overview: RunOverview | None = None) -> bool:
        """Whether the run is gone since it was opened, or another took its id.

        Args:
            overview: of the run; None takes one.
        """
        stamp = (overview or self.overviews.take()).stamp
        if stamp is None:
            return True
        if stamp != self._own_stamp:  # what lay there is read once, later, and so may be newer
            try:
                if Run(self.uri).info.token != self.info.token:
                    return True
            except ObjectNotFound:
                return True
            self._own_stamp = stamp
        return False

    def cancel(self, why: str) -> bool:
        """Cancel the run; False if it was cancelled before."""
        note = Cancellation(at=now(), why=why)
        created = self.storage.create(CANCELLED, note.model_dump_json().encode())
        if not created and self.cancelled() is None:
            raise damaged(f"{self.uri}/{CANCELLED}", "it is not a file", "remove it")
        return created

    def cancelled(self, overview: RunOverview | None = None) -> Cancellation | None:
        """When and why the run was cancelled, or None; a note that cannot be read cancels, too.

        Args:
            overview: of the run; spares the request if it shows no cancellation.
        """
        if overview is not None and not overview.cancelled:
            return None
        try:
            data = read_object(self.storage, CANCELLED, CANCELLED, "")
            return parse(Cancellation, data, CANCELLED, "")
        except ObjectNotFound:
            return None
        except LedgerDamaged as error:
            return Cancellation(at=now(), why=str(error))

    def raise_redo(self, keys: Iterable[str]) -> dict[str, int]:
        """Request that these shards be made again; their redo numbers now, by key."""
        # Each call adds an object of its own, so that none can overwrite another's request.
        present = self.redo()
        raised = {key: present.get(key, 0) + 1 for key in keys}
        if raised:
            name = f"{now():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
            self.storage.write(f"{REDO}/{name}.json", json.dumps(raised, indent=1).encode())
        return raised

    def redo(self, overview: RunOverview | None = None) -> dict[str, int]:
        """The highest redo requested, by key; a key without any request is left out.

        Args:
            overview: of the run; spares the listing if it shows no request at all.
        """
        requested: dict[str, int] = {}
        if overview is not None and not overview.redo:
            return requested
        for info in self.storage.list(f"{REDO}/"):
            for key, number in self._redo_request(info).items():
                requested[key] = max(requested.get(key, 0), number)
        return requested

    def _redo_request(self, info: ObjectInfo) -> dict[str, int]:
        """One request; each is written once, so it is read once."""
        known = self._requests.get(info.path)
        if known is None or known[0] != info:
            hint = "delete it, and request with `replay --redo` again what it stood for"
            where = f"{self.uri}/{info.path}"
            data = read_object(self.storage, info.path, where, hint)
            known = info, parse_as(_REDO_REQUEST, data, where, hint)
            self._requests[info.path] = known
        return known[1]

    def request_without_bad_chunks(self, keys: Iterable[str] | None = None) -> None:
        """Request that these shards be made without chunks that do not decode; None: all.

        The request is an object of the ledger, so it holds however often a shard is published.
        """
        for name in (_ALL,) if keys is None else keys:
            self.storage.write(f"{SKIP_BAD}/{name}", b"")

    def leaves_out_bad_chunks(self, key: str, overview: RunOverview | None = None) -> bool:
        """Whether the shard is to be made without chunks that do not decode.

        Args:
            key: of the shard.
            overview: of the run; spares the requests if it shows that there is no such wish.
        """
        if self.info.bad_chunks == "skip":
            return True
        if overview is not None and not overview.skip_bad:
            return False
        return any(self.storage.exists(f"{SKIP_BAD}/{name}") for name in (key, _ALL))

    def write_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Write a worker's heartbeat, replacing its last one."""
        self._heartbeats.write(heartbeat.worker, heartbeat)

    def remove_heartbeat(self, worker: str) -> bool:
        """Delete the heartbeat of a worker that ends; False if there was none."""
        return self._heartbeats.delete(worker)

    def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of every worker, newest first."""
        found = self._heartbeats.list().values()
        return sorted(found, key=lambda heartbeat: heartbeat.at, reverse=True)

    def mark_published(self, key: str, tier: str = "", inputs_digest: str = "") -> None:
        """Write a dependent's publish marker, after the broker has confirmed its message."""
        self._markers.write(key, PublishMarker(at=now(), tier=tier, inputs_digest=inputs_digest))

    def publish_marker(self, key: str) -> PublishMarker | None:
        """The dependent's publish marker, or None."""
        return self._markers.get(key)

    def publish_markers(self) -> dict[str, PublishMarker]:
        """All publish markers by key."""
        return self._markers.list(self.plan.bounds)

    def taken(self) -> UsageError:
        """The error for another run of this id."""
        return UsageError(
            f"there is a run {self.run_id} already", hint="choose another --run-id, or leave it out"
        )


def _with_resolved_places(info: RunInfo) -> RunInfo:
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


OnDamage = Callable[[Run, LedgerDamaged], None]
"""Called with a run whose settings cannot be read."""


def log_damage(run: Run, error: LedgerDamaged) -> None:
    """Log that a run is passed over."""
    log.get().warning(log.RUN_DAMAGED, run=run.run_id, reason=str(error), hint=error.hint)


def list_runs(state_url: str, on_damage: OnDamage = log_damage) -> list[Run]:
    """All planned runs below a state root, oldest first.

    Args:
        state_url: the root.
        on_damage: called with each run whose settings cannot be read; it is left out.
    """
    runs = []
    for name in open_storage(state_url).folders():
        run = Run(join(state_url, name))
        if name == UNREADABLE or not run.planned():
            continue
        try:
            runs.append((run.info.created, run))
        except LedgerDamaged as error:
            on_damage(run, error)
    return [run for _, run in sorted(runs, key=lambda pair: pair[0])]


def newest_run(state_url: str, on_damage: OnDamage = log_damage) -> Run | None:
    """The run that was planned last of those that can be read, or None.

    Args:
        state_url: the root.
        on_damage: as in `list_runs`.

    Raises:
        LedgerDamaged: there are runs, and none can be read.
    """
    damage: list[LedgerDamaged] = []

    def keep(run: Run, error: LedgerDamaged) -> None:
        damage.append(error)
        on_damage(run, error)

    runs = list_runs(state_url, keep)
    if damage and not runs:
        raise damage[0]
    return runs[-1] if runs else None


def find_run(state_url: str, run: str | None = None, on_damage: OnDamage = log_damage) -> Run:
    """The run of this id or URI, else the newest one that can be read.

    Args:
        state_url: the root.
        run: id or URI.
        on_damage: as in `list_runs`.

    Raises:
        UsageError: there is no such run.
        LedgerDamaged: there are runs, and none can be read.
    """
    if run is not None:
        return Run.open(run if "/" in run else join(state_url, run))
    newest = newest_run(state_url, on_damage)
    if newest is None:
        raise UsageError(
            f"no run below {absolute(state_url)}",
            hint="start one with `python -m producer enqueue`, or set --dest or --state",
        )
    return newest
