"""Launching a run: preflight checks and plan, create or resume, publish, wait."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version

from braid.transcode.file_extent import begins_extent, extent_edges
from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.dead_letters import drain
from delivery.ledger.failures import FailureSummary
from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.run import Run, RunInfo, new_run_id
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from delivery.messages import now
from delivery.progress import Progress
from delivery.reconciler import Reconciler
from memmodel.run_context import tier_chooser
from memmodel.tiers import Tier
from producer.export_listing import ScaleListing
from producer.export_problems import find_problems, list_scales
from producer.failure_groups import failures_of
from producer.fleet_process import FleetProcess
from producer.info import check_against_info, write_info
from producer.planner import PlanInputs, PlanResult, has_shards, list_outputs, make_plan
from producer.prior_runs import PriorRun, PriorRuns, obstacle
from producer.provenance import NOT_MADE, changed_sources
from producer.run_request import OUTPUT_REVISION, Request
from producer.spec_notes import spec_notes
from producer.wait import display, wait
from runtime import log
from runtime.cli import print_stderr
from runtime.errors import ShardliftError, UsageError
from runtime.storage import Storage, open_storage
from runtime.text import join_first

_NAMED = 3  # shards in an error

_log = log.get()


class ExportChangedError(ShardliftError):
    """The run has ended, and the export is not what it was made from."""


@dataclass(frozen=True)
class LaunchConfig:
    """Where a run is kept and what works on it.

    Attributes:
        state: root of the runs, absolute.
        queue: absolute URL of the queue of a new run.
        queue_given: whether it is not the default, so that a run to continue is moved there.
        tiers: of a new run.
        fleet_options: of the fleet that a waiting launch starts.
    """

    state: str
    queue: str
    tiers: tuple[Tier, ...]
    lease_s: int
    fleet_options: tuple[str, ...] = ()
    queue_given: bool = False


@dataclass(frozen=True)
class Preflight:
    """Result of the preflight checks: a run to continue, or a plan for a new one.

    Attributes:
        history: prior runs of the destination.
        continues: the unfinished run that serves the request already.
        planned: the plan of a new run.
        notes: for people, to be printed before the launch.
        problems: what the export lacks, in words; converted without by --partial.
        outdated: unfinished runs whose plan is not what a fresh one would be, with the reason.
    """

    request: Request
    history: PriorRuns
    continues: PriorRun | None = None
    planned: PlanResult | None = None
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()
    outdated: Sequence[tuple[PriorRun, str]] = ()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to make or to adopt, so that a run would be empty."""
        planned = self.planned
        return planned is not None and not planned.forecasts and not planned.unknown

    @property
    def incomplete(self) -> Mapping[str, int]:
        """Chunks that shards which stay lack, because they do not decode, by key."""
        return self.planned.plan.bad_chunks if self.planned else {}

    @property
    def shards(self) -> int:
        """Number of planned shards of the requested scales."""
        rows = self.planned.plan.rows() if self.planned else ()
        return sum(row.scale in self.request.made for row in rows)


@dataclass(frozen=True)
class PublishReport:
    """Outcome of publishing the ready shards.

    Attributes:
        keys: shards published.
        dead: failed shards, among them those that no tier holds.
        status: of the run after publishing.
        queued: messages that were in the run's queue already.
    """

    keys: Sequence[str]
    dead: Sequence[FailureSummary]
    status: RunStatus
    queued: int = 0


@dataclass(frozen=True)
class LaunchResult:
    """Outcome of a launch.

    Attributes:
        published: outcome of publishing.
        progress: of the ended run, where the launch waited for its end.
        status: likewise.
    """

    published: PublishReport
    progress: Progress | None
    status: RunStatus | None = None

    @property
    def lost(self) -> int:
        """Number of shards that failed, were given up, or are blocked."""
        scales = self.progress.scales if self.progress else ()
        return sum(scale.failed + scale.given_up + scale.blocked for scale in scales)

    @property
    def incomplete(self) -> Mapping[str, int]:
        """Chunks that shards lack so far, because they do not decode, by key."""
        return (self.status or self.published.status).incomplete

    @property
    def succeeded(self) -> bool:
        """Whether no shard is lost so far, and none lacks a chunk."""
        if self.incomplete:
            return False
        if self.progress is not None or self.published.status.succeeded:
            return not self.lost
        return not self.published.dead


@dataclass(frozen=True)
class LaunchOptions:
    """What a launch may do beyond its request.

    Attributes:
        run_id: of a new run; an unfinished run with another id is not continued.
        new_run: do not continue an unfinished run.
        partial: convert what is there of an export that is not whole.
        adopt: take existing shards that no known run made.
    """

    run_id: str | None = None
    new_run: bool = False
    partial: bool = False
    adopt: bool = False


def preflight(
    request: Request, config: LaunchConfig, options: LaunchOptions = LaunchOptions()
) -> Preflight:
    """Check export, destination and prior runs; plan unless there is a run to continue.

    Args:
        request: the request.
        config: root of the runs and tiers to choose from.
        options: what the launch may do.

    Raises:
        UsageError: the request cannot be served, the export is not whole, or the volume would mix
            the bytes of two runs.
        UnreachableError: the source or the destination cannot be reached.
    """
    request.check()
    dest = open_storage(request.dest)
    check_against_info(dest, request.volume)
    listings = list_scales(request)
    problems = _problems(request, listings)
    if problems and not options.partial:
        raise _not_whole(request, problems)
    history, inputs = _plan_inputs(request, config, listings)
    outputs = inputs.outputs
    fresh = make_plan(replace(request, overwrite=False), inputs, config.tiers)
    history.check_inputs(request, outputs, fresh.damaged)
    outdated = _outdated(history, request, fresh, problems)
    earlier = _continued(history, request, outdated, options)
    overwrites = request.overwrite and earlier is None
    planned = make_plan(request, inputs, config.tiers) if overwrites else fresh
    if planned.unknown and not options.adopt:
        raise _unknown_makers(request, planned.unknown)
    found = Preflight(request, history, problems=problems, outdated=outdated)
    if earlier is not None:
        return replace(found, continues=earlier)
    if not overwrites:
        history.check(request, outputs)
    notes = spec_notes(request.volume, request.made, request.scales, request.z_compress)
    notes += [*_notes(request, listings), *_coarser_notes(dest, request, history, planned)]
    return replace(found, planned=planned, notes=notes)


def check_still_whole(found: Preflight, config: LaunchConfig) -> None:
    """Compare what a run made with the export as it is when the run has ended.

    Files that come, go or change behind the workers' backs are read by no shard that was made
    before; they must not end with exit code 0.

    Raises:
        ExportChangedError: the same command would make shards again, or would not begin.
    """
    request = replace(found.request, overwrite=False)
    try:
        listings = list_scales(request)
        changes = [text for text in _problems(request, listings) if text not in found.problems]
    except UsageError as error:
        raise _changed(request, [str(error)]) from None
    _, inputs = _plan_inputs(request, config, listings)
    fresh = make_plan(request, inputs, config.tiers)
    changes += [
        f"{key}: {_with_sources(why, fresh.plan.row(key))}"
        for key, why in fresh.reasons.items()
        if key not in fresh.follows
    ]
    if changes:
        raise _changed(request, changes)


def _with_sources(why: str, row: PlanRow) -> str:
    """Why a shard is to be made; one that nobody planned before is named by its files."""
    return changed_sources((), row.sources) if why == NOT_MADE and row.sources else why


def _problems(request: Request, listings: Mapping[int, ScaleListing]) -> list[str]:
    return [problem.text for problem in find_problems(request, listings)]


def _plan_inputs(
    request: Request, config: LaunchConfig, listings: Mapping[int, ScaleListing]
) -> tuple[PriorRuns, PlanInputs]:
    """Prior runs and what a plan is made from."""
    history = PriorRuns(config.state, request.dest)  # before the outputs: receipts come after them
    dest = open_storage(request.dest)
    outputs = {i: list_outputs(dest, request.volume.scales[i]) for i in request.concerned}
    return history, PlanInputs(listings, outputs, history.provenance)


def _outdated(
    history: PriorRuns, request: Request, fresh: PlanResult, problems: Sequence[str]
) -> list[tuple[PriorRun, str]]:
    """Unfinished runs of the same bytes that a new run has to replace, with the reason."""
    found = []
    for earlier in history.same(request):
        info, reason = earlier.run.info, obstacle(earlier, request, fresh)
        if not reason and fresh.unknown:
            reason = f"{fresh.unknown[0]}: made by no known run"
        if not reason and set(info.scales) == set(request.scales):
            changed = info.partial != tuple(problems)
            reason = "what the export lacks is not what it lacked then" if changed else ""
        if reason:
            found.append((earlier, reason))
    return found


def _continued(
    history: PriorRuns,
    request: Request,
    outdated: Sequence[tuple[PriorRun, str]],
    options: LaunchOptions,
) -> PriorRun | None:
    """The unfinished run that serves the request, or None."""
    if options.new_run:
        return None
    replaced = [earlier for earlier, _ in outdated]
    for earlier in history.same(request):
        wanted = options.run_id in {None, "", earlier.run.run_id}
        if wanted and earlier.covers(request) and earlier not in replaced:
            return earlier
    return None


def create_or_resume(found: Preflight, config: LaunchConfig, run_id: str | None = None) -> Run:
    """Return the run to continue, or create one; writes `info`, publishes nothing.

    A new run cancels those that are out of date, with `overwrite` all unfinished ones.
    """
    if found.continues is not None:
        write_info(open_storage(found.request.dest), found.request.volume)
        if found.request.bad_chunks == "skip":
            found.continues.run.request_without_bad_chunks()
        return found.continues.run
    if found.planned is None:
        raise ValueError("neither a run to continue nor a plan")
    return _create(found, found.planned.plan, config, run_id)


def _create(found: Preflight, plan: Plan, config: LaunchConfig, run_id: str | None) -> Run:
    request = found.request
    dest = open_storage(request.dest)
    dest.check_writable()
    dest.sweep_temporaries()
    run_id = run_id or new_run_id()
    run = Run.create(config.state, _run_info(found, run_id, config), plan)
    if request.overwrite:
        for earlier in found.history.conflicting():
            earlier.run.cancel(f"run {run_id} overwrites it")
            _log.info(log.RUN_CANCELLED, run=earlier.run.run_id, by=run_id)
    cancel_outdated(found, by=run_id)
    write_info(dest, request.volume)
    _log.info(log.RUN_CREATED, run=run.uri)
    return run


def cancel_outdated(found: Preflight, by: str | None = None) -> None:
    """Cancel the runs that are out of date; their workers stop before they publish an output."""
    for earlier, reason in found.outdated:
        earlier.run.cancel(f"out of date: {reason}" + (f"; run {by} takes its place" if by else ""))
        _log.info(log.RUN_CANCELLED, run=earlier.run.run_id, by=by)


def publish_and_wait(
    run: Run,
    config: LaunchConfig,
    *,
    again: bool = False,
    wait_for_end: bool = False,
    on_published: Callable[[PublishReport], None],
) -> LaunchResult:
    """Publish the ready shards of a run to its own queue; optionally wait for its end.

    Args:
        run: the run.
        config: lease and options of the fleet.
        again: the run was published before, so that its queue may hold all ready shards.
        wait_for_end: wait until the run has ended; on one machine a fleet is started.
        on_published: called before waiting.
    """
    with open_broker(run.queue, run.info.tiers, config.lease_s) as broker:
        report = republish(run, broker) if again else publish(run, broker)
        on_published(report)
        progress = None
        if wait_for_end and not report.status.succeeded:
            progress = _wait(run, broker, config)
    return LaunchResult(report, progress, read_status(run) if progress else None)


def _wait(run: Run, broker: Broker, config: LaunchConfig) -> Progress:
    """Wait until the run has ended; on one machine, start a fleet meanwhile."""
    fleet = None
    with ExitStack() as stack:
        try:
            if broker.one_machine:
                options = ("--lease", str(config.lease_s), *config.fleet_options)
                fleet = stack.enter_context(FleetProcess(run, broker.url, options))
            return wait(run, broker, stack.enter_context(display()), fleet)
        except KeyboardInterrupt:
            print_stderr(f"note: stopping; the same command continues run {run.run_id}")
            raise


def publish(run: Run, broker: Broker) -> PublishReport:
    """Publish all ready shards, largest first; those that no tier holds become dead letters."""
    reconciler = Reconciler(broker, tier_chooser)
    keys = reconciler.publish_ready(run)
    reconciler.drain(run.state)
    return _report(run, keys)


def republish(run: Run, broker: Broker) -> PublishReport:
    """Publish the ready shards of an unfinished run, unless its queue holds as many already."""
    # Messages may have been lost or never sent; duplicates are harmless.
    drain(broker, run.state)
    ready = read_status(run).keys(ShardState.READY)
    backlogs = [broker.backlog(tier) for tier in broker.tiers]
    queued = sum((b.waiting or 0) + (b.leased or 0) for b in backlogs)
    known = all(backlog.known for backlog in backlogs)
    if known and queued >= len(ready):
        return _report(run, [], queued)
    return publish(run, broker)


def _report(run: Run, keys: Sequence[str], queued: int = 0) -> PublishReport:
    status = read_status(run)
    dead = failures_of(status)
    gone = {failure.key for failure in dead}
    return PublishReport([key for key in keys if key not in gone], dead, status, queued)


def _changed(request: Request, changes: Sequence[str]) -> ExportChangedError:
    more = f"; and {len(changes) - 1:,} more" if len(changes) > 1 else ""
    return ExportChangedError(
        f"{request.source or request.dest} changed while the run was under way: {changes[0]}{more}",
        hint="the same command makes what that touches again; `verify` lists all of it",
    )


def _not_whole(request: Request, problems: Sequence[str]) -> UsageError:
    more = f"; and {len(problems) - 1:,} more" if len(problems) > 1 else ""
    return UsageError(
        f"the export {request.source} is not whole: {problems[0]}{more}",
        hint="`producer validate` lists all; --partial converts what is there and ends with exit 1",
    )


def _unknown_makers(request: Request, unknown: Sequence[str]) -> UsageError:
    count = f"{len(unknown):,} shard{'s' if len(unknown) > 1 else ''}"
    return UsageError(
        f"{count} at {request.dest} were made by no known run: {join_first(unknown, _NAMED)}",
        hint="name the --state that holds their runs, or use another --dest; --adopt takes them as "
        "they are, --overwrite makes them again",
    )


def _run_info(found: Preflight, run_id: str, config: LaunchConfig) -> RunInfo:
    request = found.request
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
            "tiers": tuple(tier.name for tier in config.tiers),
            "queue": config.queue,
            "version": version("shardlift"),
            "fingerprint": request.fingerprint,
            "output_revision": OUTPUT_REVISION,
            "volume": request.volume.to_info(),
            "overwrite": request.overwrite,
            "bad_chunks": request.bad_chunks,
            "partial": tuple(found.problems),
            "adopted": bool(found.planned and found.planned.unknown),
        }
    )


def _notes(request: Request, listings: dict[int, ScaleListing]) -> list[str]:
    notes = []
    for index, found in listings.items():
        if without := found.without_index:
            notes.append(
                f"scale {index}: files without an index, read whole to find their rows: "
                f"{len(without)}; `producer offsets` would write one"
            )
        edges = extent_edges(request.volume.scales[index], request.slices(index) - 1)
        odd = [file.path for file in found.files if not begins_extent(file.origin, edges)]
        if odd:
            notes.append(
                f"scale {index}: files named after no extent of this spec: {len(odd)}, such as "
                f"{odd[0]}: is it the export's spec?"
            )
        if (pitch := _common_pitch(found)) > max(edges):
            notes.append(
                f"scale {index}: all files are named after multiples of {pitch} voxels, and the "
                f"extents of this spec are {max(edges)} wide: is it the export's spec? Files with "
                "rows beyond their extent are refused"
            )
    return notes


def _common_pitch(found: ScaleListing) -> int:
    """The largest power of two that divides all origins; 0 for one file."""
    common = math.gcd(*(part for file in found.files for part in file.origin))
    return common & -common if len(found.files) > 1 else 0


def _coarser_notes(
    dest: Storage, request: Request, history: PriorRuns, planned: PlanResult
) -> list[str]:
    """Notes on coarser scales that exist and stay, although what they are made from changes."""
    notes = []
    changed = {forecast.row.scale for forecast in planned.forecasts}
    for scale in sorted(changed):
        coarser = _coarser(dest, request, history, scale)
        if coarser:
            named = ",".join(map(str, coarser))
            notes.append(
                f"scale {coarser[0]} is made from scale {scale} and stays as it is: it is old "
                f"where shards of scale {scale} are made again; --downres {named} makes it anew"
            )
    return notes


def _coarser(dest: Storage, request: Request, history: PriorRuns, scale: int) -> list[int]:
    """Scales after this one that exist, were downsampled, and are not made by the request."""
    found = []
    for spec in request.volume.scales[scale + 1 :]:
        maker = history.newest_making(spec.index)
        downsampled = maker is None or spec.index in maker.run.info.downres
        if spec.index in request.made or not downsampled or not has_shards(dest, spec):
            break
        found.append(spec.index)
    return found
