"""One run: its folder on storage, its record stores, and the small objects of the run itself."""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Final

from delivery.ledger.damage import LedgerDamaged, damaged, parse, read_object
from delivery.ledger.failures import FailureStore
from delivery.ledger.heartbeat import Heartbeat
from delivery.ledger.overview import CANCELLED, RUN, Overviews, RunOverview
from delivery.ledger.placements import PlacementStore
from delivery.ledger.plan import Plan
from delivery.ledger.publish_marker import PublishMarker
from delivery.ledger.receipts import ReceiptStore
from delivery.ledger.record_store import RecordStore
from delivery.ledger.run_info import (
    Cancellation,
    QueueMove,
    RunInfo,
    check_run_id,
    with_resolved_places,
)
from delivery.ledger.run_requests import RunRequests
from delivery.messages import now
from runtime.errors import ObjectNotFound, PermanentError, UsageError
from runtime.storage import Storage, absolute, join, open_storage

MOVED: Final = "queue.json"
WORKERS: Final = "workers"
PUBLISHED: Final = "published"
MOVE_AWAY: Final = (
    "move the run's folder away and run its enqueue again: what it made stays with --adopt, or is "
    "made again with --overwrite"
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
        self._requests = RunRequests(self.storage)
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
            return with_resolved_places(info)
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
        return self._requests.raise_redo(keys)

    def redo(self, overview: RunOverview | None = None) -> dict[str, int]:
        """The highest redo requested, by key; a key without any request is left out.

        Args:
            overview: of the run; spares the listing if it shows no request at all.
        """
        return {} if overview is not None and not overview.redo else self._requests.redo()

    def request_without_bad_chunks(self, keys: Iterable[str] | None = None) -> None:
        """Request that these shards be made without chunks that do not decode; None: all."""
        self._requests.request_without_bad_chunks(keys)

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
        return self._requests.leaves_out_bad_chunks(key)

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
