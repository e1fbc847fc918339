"""Text output of a launch: plan, dry run, what was published, how the run ended."""

from collections.abc import Sequence

from braid.precomputed.volume_spec import ScaleSpec
from delivery.ledger.failures import FailureSummary
from delivery.ledger.run import Run
from delivery.ledger.selection import describe_selection
from delivery.ledger.shard_status import RunStatus, ShardState, describe_incomplete
from delivery.messages import now
from memmodel.tiers import Tier
from producer import bill_table, render
from producer.begin import Begun
from producer.end_picture import show_end_picture
from producer.fleet_process import fleet_command
from producer.launch import LaunchResult, PublishReport
from producer.planner import OVERWRITE, PlanResult, has_shards
from producer.preflight import Preflight
from producer.provenance import NOT_MADE
from runtime.cli import print_line, print_lines, print_stderr
from runtime.storage import open_storage

_NAMED = 5  # shards in a list
_MOST_PROBLEMS = 20


def print_notes_of(found: Preflight) -> None:
    """Print to stderr what a preflight found: problems, runs that end, notes."""
    print_problems(found.problems, "and is converted without them")
    print_outdated(found)
    print_notes(found.notes)


def print_problems(problems: Sequence[str], when: str) -> None:
    """Print what a partial conversion does without, to stderr."""
    if problems:
        lacked = render.counted(len(problems), "file")
        print_stderr(f"partial: the export lacks {lacked} {when}:")
    for problem in problems[:_MOST_PROBLEMS]:
        print_stderr(f"  {problem}")
    if len(problems) > _MOST_PROBLEMS:
        print_stderr(f"  ... and {len(problems) - _MOST_PROBLEMS:,} more")


def print_outdated(found: Preflight) -> None:
    """Print which unfinished runs a new one takes the place of, and why."""
    for earlier, reason in found.outdated:
        info, made = earlier.run.info, found.request.made
        further = sorted({*info.scales, *info.downres} - {*made})
        rest = f"; it also makes scales {', '.join(map(str, further))}" if further else ""
        print_stderr(f"note: run {info.run_id} is out of date, and ends here{rest}: {reason}")


def print_empty_scales(found: Preflight) -> None:
    """Print which scales of info hold nothing, though viewers will ask for them."""
    request, dest = found.request, open_storage(found.request.dest)
    empty = [
        scale
        for scale in request.volume.scales
        if scale.index not in request.made
        and not any(earlier.makes(scale.index) for earlier in found.history.runs)
        and not has_shards(dest, scale)
    ]
    print_notes(empty_scales_notes(empty, min(request.made)))


def empty_scales_notes(empty: Sequence[ScaleSpec], finest: int) -> list[str]:
    """Note on scales of info that hold nothing, if there are any.

    Args:
        empty: these scales.
        finest: the finest scale that holds something.
    """
    if not empty:
        return []
    coarse = ",".join(str(scale.index) for scale in empty if scale.index > finest)
    way = f"; `enqueue --downres {coarse}` makes the coarser ones" if coarse else ""
    named = ", ".join(f"{scale.index}: {scale.key}" for scale in empty)
    return [f"info names scales that hold nothing ({named}): viewers show black there{way}"]


def print_notes(notes: Sequence[str]) -> None:
    """Print notes to stderr."""
    for note in notes:
        print_stderr(f"note: {note}")


def print_started(found: Preflight, run: Run, tiers: Sequence[Tier]) -> None:
    """Print the run to continue, or the plan and id of a new one."""
    if found.continues is not None:
        print_line(f"continuing {run.run_id}, {found.continues.to_go:,} to go")
        print_selection(found, run)
        return
    if found.planned is not None:
        _print_plan(found.planned, tiers)
    print_selection(found)
    print_line(f"run {run.run_id}")


def print_begun(begun: Begun, tiers: Sequence[Tier], *, dry_run: bool) -> None:
    """Print what a launch found, and what it does or would do."""
    if dry_run:
        print_dry_run(begun.found, tiers)
    elif begun.run is None:
        print_nothing_to_do(begun.found)
    else:
        print_started(begun.found, begun.run, tiers)


def print_selection(found: Preflight, run: Run | None = None) -> None:
    """Print what a selection holds, and what it leaves to a run of the whole."""
    selection = found.selection or (run.info.selection if run is not None else None)
    if selection is not None:
        print_line(describe_selection(selection))


def print_published(run: Run, report: PublishReport) -> None:
    """Print how many shards were published, and notes on the dead ones."""
    if report.status.succeeded:
        text = "nothing to do: all shards are there; --overwrite makes them again"
        print_line(f"{text} ({run.info.dest})")
    else:
        waiting = len(report.status.keys(ShardState.WAITING))
        more = f"; {waiting:,} follow as their inputs get done" if waiting else ""
        print_line(f"{_where_shards_are(run, report)}{more}")
    print_notes(render.failure_table(report.dead).splitlines())


def _where_shards_are(run: Run, report: PublishReport) -> str:
    if report.queued and not report.keys:
        waits = f"{render.counted(report.queued, 'message')} of it or other runs"
        return f"nothing published: {waits} in {run.queue} already"
    return f"{render.shards(len(report.keys))} published to {run.queue}"


def print_result(run: Run, result: LaunchResult) -> None:
    """Print how the run ended, or the command that starts workers for it."""
    if result.progress is None:
        if not result.published.status.ended:
            print_line(f"next: {fleet_command(run)}")
        return
    print_lines(render.time_table(result.progress.scales))
    show_end_picture(run)
    if result.lost:
        _print_lost(run, result.status or result.published.status, result.lost)
    if result.incomplete:
        print_line(f"run {run.run_id}: {describe_incomplete(result.incomplete)}")
    elif not result.lost:
        done = render.shards(result.progress.done)
        print_line(f"run {run.run_id} is done: {done} in {run.info.dest}")
        if run.info.selection is not None:
            print_line(describe_selection(run.info.selection))


def print_nothing_to_do(found: Preflight) -> None:
    """Print that all shards exist, and the runs that made them."""
    if not found.shards:
        print_line("nothing to do: there is nothing that a shard could be made from")
        return
    names = [earlier.run.run_id for earlier in found.history.producers(found.request)]
    runs = f"done in run{'s' if len(names) > 1 else ''} {', '.join(names)}"
    where = runs if names else "there, made by no run that is known"
    shards = render.of_shards(found.shards, "is", "are all")
    print_line(f"nothing to do: {shards} {where}; --overwrite makes them again")
    print_selection(found)
    if found.planned is not None:
        _print_incomplete(found.planned)


def print_dry_run(found: Preflight, tiers: Sequence[Tier]) -> None:
    """Print what a launch would do and cost."""
    if found.continues is not None:
        earlier = found.continues
        print_line(f"would continue {earlier.run.run_id}, {earlier.to_go:,} to go")
        print_selection(found, earlier.run)
        if found.remaining is not None:
            _print_forecasts(found, found.remaining, tiers)
        return
    planned = found.planned
    if planned is None or found.idle:
        print_nothing_to_do(found)
        return
    _print_plan(planned, tiers)
    print_selection(found)
    _print_forecasts(found, planned, tiers)


def _print_forecasts(found: Preflight, planned: PlanResult, tiers: Sequence[Tier]) -> None:
    """Print work and cost of the shards that are to be made, and how they are made."""
    print_line()
    print_lines(bill_table.work_table(planned.forecasts, tiers))
    print_line()
    print_lines(bill_table.bill_table(bill_table.bill_of(planned.forecasts, found.request)))
    scales = found.request.volume.scales
    paths = (f"s{index} {scales[index].code_path()}" for index in found.request.made)
    print_line(f"paths: {', '.join(paths)}")
    print_notes(_beyond(planned))
    print_line("nothing was written or published")


def _print_plan(planned: PlanResult, tiers: Sequence[Tier]) -> None:
    if planned.forecasts:
        print_lines(render.tier_table(planned.forecasts, tiers))
    if planned.present:
        print_line(f"{render.of_shards(planned.present, 'exists', 'exist')} already")
    if unknown := len(planned.unknown):
        are = "is" if unknown == 1 else "are"
        print_line(f"{render.shards(unknown)} of unknown make {are} adopted")
    _print_reasons(planned)
    _print_incomplete(planned)


def _print_incomplete(planned: PlanResult) -> None:
    """Print which shards stay although they lack chunks."""
    if planned.plan.bad_chunks:
        print_line(f"not whole: {describe_incomplete(planned.plan.bad_chunks)}")


def _print_reasons(planned: PlanResult) -> None:
    """Print why shards that were made before are made again."""
    again = [
        (key, reason)
        for key, reason in planned.reasons.items()
        if reason not in {NOT_MADE, OVERWRITE} and key not in planned.follows
    ]
    for key, reason in again[:_NAMED]:
        print_line(f"{key} is made again: {reason}")
    if len(again) > _NAMED:
        print_line(f"... and {len(again) - _NAMED:,} more are made again")
    if planned.follows:
        count = len(planned.follows)
        print_line(f"{render.of_shards(count, 'is', 'are')} made again because an input is")


def _beyond(planned: PlanResult) -> list[str]:
    """Why shards fit no tier, by class; all are accounted for."""
    failures = [
        FailureSummary(key=one.row.key, kind=one.row.kind, at=now(), reason=one.why_not or "")
        for one in planned.beyond
    ]
    return render.failure_table(failures).splitlines()


def _print_lost(run: Run, status: RunStatus, lost: int) -> None:
    print_lines(render.failure_report(run, status))
    print_line(f"run {run.run_id} ended without {lost:,} of its shards")
