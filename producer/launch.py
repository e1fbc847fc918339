"""From a request to a run whose shards are in the queue: look, plan, write, publish."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from braid.transcode.file_extent import cell_edges, is_aligned
from delivery import replay
from delivery.broker.base import Broker
from delivery.dead_letters import drain
from delivery.ledger.run import Run, RunInfo, new_run_id
from delivery.ledger.shard_status import RunStatus, State, read_status
from delivery.messages import now
from memmodel.tier_choice import chooser
from memmodel.tiers import Tier
from producer.export_listing import Scan, scan
from producer.info import check_against_info, write_info
from producer.planner import Found, PlanResult, files_by_shard, list_outputs, make_plan
from producer.prior_runs import PriorRun, PriorRuns
from producer.run_request import Request
from runtime import log
from runtime.storage import open_storage

_log = log.get()


@dataclass(frozen=True)
class Preflight:
    """What a request comes to: a run to continue, or a plan for a new one.

    Attributes:
        continues: the unfinished run that does what is asked for already.
        planned: what a new run would do.
        notes: what people should know before it starts.
        history: of the destination.
    """

    request: Request
    history: PriorRuns
    continues: PriorRun | None = None
    planned: PlanResult | None = None
    notes: Sequence[str] = ()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to make: a run of it would be empty."""
        return self.planned is not None and not self.planned.forecasts

    @property
    def shards(self) -> int:
        """Shards of the scales asked for, in the plan."""
        rows = self.planned.plan.rows() if self.planned else ()
        return sum(row.scale in self.request.made for row in rows)


@dataclass(frozen=True)
class Published:
    """What went to the queue, and what did not.

    Attributes:
        keys: shards published.
        dead: shards that failed, with the reason; among them those that no tier holds.
        status: of the run, now.
    """

    keys: Sequence[str]
    dead: Sequence[tuple[str, str]]
    status: RunStatus


def survey(
    request: Request, state_url: str, tiers: Sequence[Tier], *, fresh: bool = False
) -> Preflight:
    """Look at export, destination and earlier runs; plan unless there is a run to continue.

    Args:
        request: what is asked for.
        state_url: root of the runs.
        tiers: to choose from.
        fresh: do not continue an unfinished run.

    Raises:
        UsageError: the request cannot be served, or would mix bytes of two runs.
        UnreachableError: the source or the destination.
    """
    request.check()
    dest = open_storage(request.dest)
    check_against_info(dest, request.volume)
    history = PriorRuns(state_url, request.dest)
    if not fresh and (earlier := history.unfinished(request)) is not None:
        return Preflight(request, history, continues=earlier)
    scans = _scan(request)
    outputs = {i: list_outputs(dest, request.volume.scales[i]) for i in request.concerned}
    if not request.overwrite:
        history.check(request, outputs)
    unknown = history.check_inputs(request, outputs)
    found = Found(scans, outputs, frozenset(history.empty(request)))
    planned = make_plan(request, found, tiers)
    notes = [*_notes(request, scans), *(_taken_as_zeros(*item) for item in unknown.items())]
    return Preflight(request, history, planned=planned, notes=notes)


def create(
    prospect: Preflight, state_url: str, queue: str, tiers: Sequence[Tier], run_id: str | None
) -> Run:
    """Write plan, run.json and info of a new run; nothing is published yet.

    With `overwrite` every other unfinished run of the destination is cancelled.
    """
    request, planned = prospect.request, prospect.planned
    if planned is None:
        raise ValueError("there is a run to continue")
    dest = open_storage(request.dest)
    dest.check_writable()
    dest.sweep_temporaries()
    run_id = run_id or new_run_id()
    run = Run.create(state_url, _run_info(request, run_id, queue, tiers), planned.plan)
    if request.overwrite:
        for earlier in prospect.history.conflicting():
            earlier.run.cancel(f"run {run_id} overwrites it")
            _log.info(log.RUN_CANCELLED, run=earlier.run.run_id, by=run_id)
    write_info(dest, request.volume)
    _log.info(log.RUN_CREATED, run=run.uri)
    return run


def publish(run: Run, broker: Broker) -> Published:
    """Publish everything that is ready, largest first; what no tier holds goes to the dead."""
    keys = replay.missing(run, broker, chooser(run))
    drain(broker, open_storage(run.state_url))
    return _published(run, keys)


def publish_again(run: Run, broker: Broker) -> Published:
    """Bring an unfinished run's queue up to date.

    Messages may have been lost or never sent, so ready shards are published again, but for a queue
    that says that it holds as many already.
    """
    drain(broker, open_storage(run.state_url))
    ready = read_status(run).keys(State.READY)
    backlogs = [broker.backlog(tier) for tier in broker.tiers]
    queued = sum((b.waiting or 0) + (b.leased or 0) for b in backlogs)
    known = all(backlog.known for backlog in backlogs)
    if known and queued >= len(ready):
        return _published(run, [])
    return publish(run, broker)


def _published(run: Run, keys: Sequence[str]) -> Published:
    status = read_status(run)
    dead = [(failure.key, failure.reason) for failure in status.failures.values()]
    gone = {key for key, _ in dead}
    return Published([key for key in keys if key not in gone], dead, status)


def _scan(request: Request) -> dict[int, Scan]:
    if request.source is None:
        return {}
    source = open_storage(request.source)
    source.check_readable()
    return {scale: scan(source, scale) for scale in request.scales}


def _run_info(request: Request, run_id: str, queue: str, tiers: Sequence[Tier]) -> RunInfo:
    return RunInfo.model_validate(
        {
            "run_id": run_id,
            "created": now(),
            "source": request.source,
            "dest": request.dest,
            "scales": request.scales,
            "downres": request.downres,
            "rule": request.rule,
            "label_type": request.label_type,
            "z_compress": request.z_compress,
            "gzip_level": request.gzip_level,
            "tiers": tuple(tier.name for tier in tiers),
            "queue": queue,
            "version": version("shardlift"),
            "fingerprint": request.fingerprint,
            "volume": request.volume.to_info(),
            "overwrite": request.overwrite,
        }
    )


def _notes(request: Request, scans: dict[int, Scan]) -> list[str]:
    notes = []
    for index, found in scans.items():
        if without := found.without_index:
            notes.append(
                f"scale {index}: files without an index, read whole to find their rows: "
                f"{len(without)}; `producer offsets` would write one"
            )
        edges = cell_edges(request.volume.scales[index], request.slices(index) - 1)
        odd = [file.path for file in found.files if not is_aligned(file.origin, min(edges))]
        if odd:
            notes.append(
                f"scale {index}: files named after no cell of this spec: {len(odd)}, such as "
                f"{odd[0]}: is it the export's spec?"
            )
        if (apart := _apart(found)) > max(edges):
            notes.append(
                f"scale {index}: all files are named after multiples of {apart} voxels, and the "
                f"cells of this spec are {max(edges)} wide: is it the export's spec? Files with "
                "rows beyond their cell are refused"
            )
        if beyond := _outside(request, index, found):
            notes.append(
                f"scale {index}: {len(beyond)} files are named after cells outside the volume, "
                f"such as {beyond[0]}: they are not read"
            )
    return notes


def _apart(found: Scan) -> int:
    """The largest power of two that divides all origins; 0 for a file alone, which tells little."""
    common = math.gcd(*(part for file in found.files for part in file.origin))
    return common & -common if len(found.files) > 1 else 0


def _outside(request: Request, index: int, found: Scan) -> list[str]:
    """Files whose cells no shard meets."""
    scale = request.volume.scales[index]
    listed = files_by_shard(scale, found, request.slices(index) - 1)
    read = {file.path for files in listed.values() for file in files}
    return [file.path for file in found.files if file.path not in read]


def _taken_as_zeros(scale: int, count: int) -> str:
    return (
        f"scale {scale}: {count} shards exist, and no run is known that made them; "
        "shards that do not exist are taken as zeros"
    )
