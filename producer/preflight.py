"""Preflight of a launch: check export, destination and prior runs before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from delivery.ledger.launches import Launches
from delivery.ledger.plan import PlanRow
from delivery.ledger.selection import Selection
from memmodel.tiers import Tier
from producer.continuation import check_not_under_way, obstacle, superseded
from producer.export_listing import ScaleListing
from producer.export_problems import find_problems, list_scales
from producer.info import check_against_info
from producer.launch_notes import coarser_notes, export_notes
from producer.places import check_places
from producer.planner import PlanInputs, PlanResult, make_plan
from producer.prior_runs import PriorRun, PriorRuns
from producer.provenance import NOT_MADE, changed_sources
from producer.rewritten_files import checked_outputs
from producer.run_request import Request
from producer.selection_check import check_planned, check_selection, selection_notes
from producer.spec_notes import spec_notes
from runtime.errors import ShardliftError, UsageError
from runtime.storage import open_storage
from runtime.text import join_first

_NAMED = 3  # shards in an error


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
        remaining: with it, a plan of what is not made yet, for its forecasts.
        planned: the plan of a new run.
        notes: for people, to be printed before the launch.
        problems: what the export lacks, in words; converted without by --partial.
        outdated: unfinished runs whose plan is not what a fresh one would be, with the reason.
        after: number of the newest launch of the state root, which all of this takes in.
        overwritten: shards that exist and are made again by --overwrite.
    """

    request: Request
    history: PriorRuns
    continues: PriorRun | None = None
    remaining: PlanResult | None = None
    planned: PlanResult | None = None
    notes: Sequence[str] = ()
    problems: Sequence[str] = ()
    outdated: Sequence[tuple[PriorRun, str]] = ()
    after: int = 0
    overwritten: int = 0

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
    def selection(self) -> Selection | None:
        """The requested selection, with the shards that its plan leaves out."""
        selection = self.request.selection
        if selection is None or self.planned is None:
            return None
        return selection.model_copy(update={"left_out": self.planned.left_out_by_scale})

    @property
    def shards(self) -> int:
        """Number of planned shards of the requested scales."""
        rows = self.planned.plan.rows() if self.planned else ()
        return sum(row.scale in self.request.made for row in rows)


@dataclass(frozen=True)
class LaunchOptions:
    """What a launch may do beyond its request.

    Attributes:
        run_id: of a new run; an unfinished run with another id is not continued.
        new_run: do not continue an unfinished run.
        partial: convert what is there of an export that is not whole.
        adopt: take existing shards that no known run made.
        dry_run: write nothing.
    """

    run_id: str | None = None
    new_run: bool = False
    partial: bool = False
    adopt: bool = False
    dry_run: bool = False


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
    check_selection(request)
    check_places(request, config.state)
    dest = open_storage(request.dest)
    check_against_info(dest, request.volume)
    listings = list_scales(request)
    problems = _problems(request, listings)
    if problems and not options.partial:
        raise _not_whole(request, problems)
    launches = Launches(config.state)
    after = launches.newest() if options.dry_run else launches.settle()  # before the runs are read
    history, inputs = _plan_inputs(request, config, listings)
    outputs = inputs.outputs
    fresh = make_plan(replace(request, overwrite=False), inputs, config.tiers)
    history.check_inputs(request, outputs, fresh.damaged)
    check_planned(request, fresh)
    outdated = _outdated(history, request, fresh, problems)
    if not (request.overwrite or options.new_run):
        check_not_under_way(history, request, fresh)
    earlier = _continued(history, request, outdated, options)
    overwrites = request.overwrite and earlier is None
    planned = make_plan(request, inputs, config.tiers) if overwrites else fresh
    if planned.unknown and not options.adopt:
        raise _unknown_makers(request, planned.unknown)
    found = Preflight(request, history, problems=problems, outdated=outdated, after=after)
    if earlier is not None:
        return replace(found, continues=earlier, remaining=fresh)
    if not overwrites:
        history.check(request, outputs)
    notes = spec_notes(request.volume, request.made, request.scales, request.z_compress)
    notes += [*inputs.notes, *selection_notes(request, planned)]
    notes += [*export_notes(request, listings), *coarser_notes(dest, request, history, planned)]
    overwritten = fresh.present - planned.present if overwrites else 0
    return replace(found, planned=planned, notes=notes, overwritten=overwritten)


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
    """Why a shard is to be made; one that no run planned before is named by its files."""
    return changed_sources((), row.sources) if why == NOT_MADE and row.sources else why


def _problems(request: Request, listings: Mapping[int, ScaleListing]) -> list[str]:
    return [problem.text for problem in find_problems(request, listings)]


def _plan_inputs(
    request: Request, config: LaunchConfig, listings: Mapping[int, ScaleListing]
) -> tuple[PriorRuns, PlanInputs]:
    """Prior runs and what a plan is made from."""
    history = PriorRuns(config.state, request.dest)  # before the outputs: receipts come after them
    history.check_sound()
    outputs, notes = checked_outputs(request, history.provenance)
    return history, PlanInputs(listings, outputs, history.provenance, notes=notes)


def _outdated(
    history: PriorRuns, request: Request, fresh: PlanResult, problems: Sequence[str]
) -> list[tuple[PriorRun, str]]:
    """Unfinished runs of the same bytes that a new run has to replace, with the reason."""
    found = []
    for earlier in history.same(request):
        info, reason = earlier.run.info, obstacle(earlier, request, fresh)
        if not reason and fresh.unknown:
            reason = f"{fresh.unknown[0]}: made by no known run"
        if not reason and superseded(earlier, request, fresh):
            reason = "what is left of its selection is made by a run of more"
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
