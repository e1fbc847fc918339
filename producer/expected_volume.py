"""Expected volume: what a destination should hold, as it would be planned now.

By the runs of the destination, else by an export and a spec alone.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from braid.downsample.downsampler import Rule
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType
from delivery.ledger.plan import PlanRow
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from delivery.messages import parse_key
from memmodel.run_context import RunContext
from memmodel.tiers import Tier, parse_tiers
from producer.export_listing import ListingProblem, NoArrowFilesError, ScaleListing, list_scale
from producer.export_problems import find_problems, list_scales
from producer.planner import Outputs, PlanInputs, PlanResult, list_outputs, make_plan
from producer.prior_runs import PriorRun, PriorRuns
from producer.provenance import NOT_MADE
from producer.rewritten_files import checked_outputs
from producer.run_differences import differences_that_matter
from producer.run_request import Request
from runtime import settings
from runtime.errors import ShardliftError, UnreachableError, UsageError
from runtime.storage import open_storage


@dataclass(frozen=True)
class ExpectedVolume:
    """What a destination should hold.

    Attributes:
        request: that would make it now.
        history: its runs and the provenance of its shards; no runs without a ledger.
        outputs: its shard files, by scale.
        plan: a fresh plan; the shards that it would make are missing or old.
        sources: export of each converted scale whose files could be listed.
        problems: what these exports lack.
        notes: what could not be compared, for people.
        partial: what exports that cannot be listed now lacked, by the run that converted them.
        left_out: shards that are not there because all runs of their scale were of selections.
    """

    request: Request
    history: PriorRuns
    outputs: Mapping[int, Outputs]
    plan: PlanResult
    sources: Mapping[int, str]
    problems: Sequence[ListingProblem] = ()
    notes: Sequence[str] = ()
    partial: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    @property
    def left_out_by_scale(self) -> dict[int, int]:
        """Number of shards of each scale that are left out."""
        return dict(sorted(Counter(parse_key(key)[0] for key in self.left_out).items()))

    def not_done(self, key: str) -> str:
        """Why the newest run that makes a shard has not made it; empty if it has."""
        scale = self._scale_of.get(key)
        status = self._statuses.get(scale) if scale is not None else None
        state = status.states.get(key, ShardState.DONE) if status else ShardState.DONE
        if status is None or state is ShardState.DONE:
            return ""
        if state is ShardState.BLOCKED:
            return f"not made: blocked by {', '.join(status.causes(key))}"
        failure = status.failures.get(key)
        if failure is not None and state in {ShardState.FAILED, ShardState.GIVEN_UP}:
            return f"not made: {state}: {failure.reason}"
        return f"not made yet ({state})"

    def other_settings(self, row: PlanRow) -> str:
        """Settings in which the run that made a shard differs from the newest; empty if in none."""
        origin = self.history.provenance.origins.get(row.key)
        return self._other_settings.get((origin.run_id, row.scale), "") if origin else ""

    @cached_property
    def _scale_of(self) -> dict[str, int]:
        return {row.key: row.scale for row in self.plan.plan.rows() if row.state == "make"}

    @cached_property
    def _statuses(self) -> dict[int, RunStatus]:
        """Status of the newest run that makes each scale; each run is read once."""
        makers = {scale: self.history.newest_making(scale) for scale in self.request.made}
        runs = {one.run.run_id: one.run for one in makers.values() if one is not None}
        statuses = {run_id: read_status(run) for run_id, run in runs.items()}
        return {s: statuses[one.run.run_id] for s, one in makers.items() if one is not None}

    @cached_property
    def _other_settings(self) -> dict[tuple[str, int], str]:
        found = {}
        for scale in self.request.made:
            for maker in self.history.makers(scale):
                differs = differences_that_matter(maker.run, self.request, scale)
                differs.pop("source", None)  # its files are compared
                if differs:
                    named = "; ".join(f"{name} {theirs}" for name, (theirs, _) in differs.items())
                    found[maker.run.run_id, scale] = (
                        f"made by run {maker.run.run_id} with other settings: {named}"
                    )
        return found


def expected_of_runs(
    state_url: str, dest: str, run: Run | None = None, source: str | None = None
) -> ExpectedVolume:
    """What a volume should hold by all runs of its destination.

    Args:
        state_url: root of the runs.
        dest: the volume.
        run: a run whose settings count; None: the newest for each scale.
        source: export to compare with; None: those that the runs converted from.
    """
    history = PriorRuns(state_url, dest)
    if not history.runs:
        history.check_sound()
    newest = run or history.runs[0].run
    volume = RunContext(newest).volume
    makers = {
        scale.index: maker
        for scale in volume.scales
        if (maker := history.newest_making(scale.index)) is not None
    }
    request = _request(volume, dest, makers, source)
    exports = {s: source or makers[s].run.info.source for s in request.scales}
    listings, problems, notes = _read_exports(request, exports, given=source is not None)
    outputs, unread = checked_outputs(request, history.provenance)
    notes = [*notes, *unread]
    recorded = {s: list(makers[s].run.plan.rows(s)) for s in request.scales if s not in listings}
    inputs = PlanInputs(listings, outputs, history.provenance, recorded)
    plan = make_plan(request, inputs, RunContext(newest).tiers)
    sources = {s: url for s, url in exports.items() if url is not None}
    partial = {makers[s].run.run_id: makers[s].run.info.partial for s in recorded}
    left_out = frozenset(_left_out(request, history, inputs, plan, RunContext(newest).tiers))
    return ExpectedVolume(
        request, history, outputs, plan, sources, problems, notes, partial, left_out
    )


def _left_out(
    request: Request,
    history: PriorRuns,
    inputs: PlanInputs,
    whole: PlanResult,
    tiers: Sequence[Tier],
) -> Iterator[str]:
    """Shards that were never made, of scales that no run of the whole makes."""
    wanted: dict[int, set[str]] = {}  # by scale, what the selections hold
    for scale in request.made:
        if history.newest_of_whole(scale) is None:
            wanted[scale] = set()
    for earlier in history.runs if wanted else ():
        selection = earlier.run.info.selection
        if selection is not None:
            chosen = make_plan(replace(request, selection=selection), inputs, tiers)
            for scale, keys in wanted.items():
                if earlier.makes(scale):
                    keys.update(row.key for row in chosen.plan.rows(scale))
    for key, reason in whole.reasons.items():
        scale, _ = parse_key(key)
        if scale in wanted and reason == NOT_MADE and key not in wanted[scale]:
            yield key


def expected_of_export(request: Request, state_url: str) -> ExpectedVolume:
    """What a volume without a ledger should hold, by an export and a spec.

    Args:
        request: the scales to check, all converted.
        state_url: root where no run of the volume was found.
    """
    request.check()
    listings = list_scales(request)
    outputs = _outputs(request)
    plan = make_plan(request, PlanInputs(listings, outputs), parse_tiers(settings.DEFAULT_TIERS))
    sources = {scale: request.source for scale in request.scales if request.source}
    problems = find_problems(request, listings)
    history = PriorRuns(state_url, request.dest)
    return ExpectedVolume(request, history, outputs, plan, sources, problems)


def _request(
    volume: VolumeSpec, dest: str, makers: Mapping[int, PriorRun], source: str | None
) -> Request:
    """The request that would make all scales that runs made, with the newest settings of each."""
    infos = {scale: maker.run.info for scale, maker in makers.items()}
    scales = tuple(scale for scale, info in infos.items() if scale in info.scales)
    downres = tuple(scale for scale in infos if scale not in scales)
    converted = infos[scales[0]] if scales else None
    sampled = infos[downres[0]] if downres else None
    either = converted or sampled
    if either is None:
        raise UsageError(f"no run of {dest} makes a scale", hint="look: python -m producer runs")
    return Request(
        volume,
        source or (converted.source if converted else None),
        dest,
        scales,
        downres,
        rule=Rule((sampled or either).rule),
        label_type=LabelType(either.label_type),
        z_compress=either.z_compress if 0 in scales else 0,
        gzip_level=either.gzip_level,
    )


def _read_exports(
    request: Request, exports: Mapping[int, str | None], *, given: bool
) -> tuple[dict[int, ScaleListing], list[ListingProblem], list[str]]:
    """Listings of the exports that can be read, what they lack, and notes on the others.

    Raises:
        ShardliftError: the one that was given by name cannot be listed.
    """
    listings: dict[int, ScaleListing] = {}
    problems: list[ListingProblem] = []
    notes = []
    for export in dict.fromkeys(url for url in exports.values() if url is not None):
        own = tuple(scale for scale, url in exports.items() if url == export)
        asked = replace(request, source=export, scales=own)
        try:
            found = list_scales(asked)
            problems += find_problems(asked, found)
        except (UsageError, UnreachableError) as error:
            if given:
                raise
            notes.append(f"compared with plans and receipts, not with the export: {error}")
            # A folder without any export was tidied away; what is left of one is no reference.
            problems += error.problems if isinstance(error, NoArrowFilesError) else ()
        else:
            listings |= found
    return listings, problems, notes


def _outputs(request: Request) -> dict[int, Outputs]:
    dest = open_storage(request.dest)
    return {index: list_outputs(dest, request.volume.scales[index]) for index in request.concerned}


def finest_of_both(source: str, dest: str, volume: VolumeSpec) -> int:
    """The finest scale that an export and a volume both have.

    Raises:
        UsageError: there is none.
    """
    exported, made = open_storage(source), open_storage(dest)
    for scale in volume.scales:
        if not list_outputs(made, scale):
            continue
        try:
            list_scale(exported, scale.index)
        except ShardliftError:
            continue
        return scale.index
    raise UsageError(
        f"no scale is both in {source} and at {dest}", hint="check --source and --dest"
    )
