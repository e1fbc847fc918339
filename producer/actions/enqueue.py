"""A run planned and published, on request to its end; or a sample of it made and measured."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from delivery.broker import SQLITE
from producer import launch_output as output
from producer.begin import Begun, begin
from producer.cost_guard import confirm_cost
from producer.launch import LaunchResult, PublishReport, publish_and_wait
from producer.launch_report import enqueue_document
from producer.overwrite_guard import confirm_overwrite
from producer.planner import ShardForecast
from producer.preflight import (
    ExportChangedError,
    LaunchConfig,
    LaunchOptions,
    Preflight,
    check_still_whole,
)
from producer.run_request import Request
from producer.sample import (
    SampleResult,
    measure,
    sample_lines,
    sample_of,
    sampled_receipts,
    whole_of,
)
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError


@dataclass(frozen=True, slots=True)
class EnqueueConfig:
    """How a run is enqueued.

    Attributes:
        wait_for_end: wait until the run has ended.
        sample: make the densest shards, and say what the whole will take.
        max_dollars: ask before a run in the cloud that is estimated to cost more.
        yes: do not ask.
        as_json: print a JSON document.
    """

    wait_for_end: bool
    sample: bool
    max_dollars: float
    yes: bool
    as_json: bool

    def confirm(self, config: LaunchConfig, found: Preflight) -> None:
        """Ask before finished work is replaced, and before much is spent."""
        confirm_overwrite(found, yes=self.yes)
        confirm_cost(found, config, self.max_dollars, yes=self.yes)


def enqueue_run(
    request: Request, config: LaunchConfig, look: LaunchOptions, how: EnqueueConfig
) -> None:
    """Plan a run, publish its shards, and print what became of it.

    Args:
        request: the volume and what to make of it.
        config: places of the run, its queue and its tiers.
        look: what the launch may do beyond.
        how: to sample, wait, ask and print.

    Raises:
        typer.Exit: shards are lost, or cannot be made.
        ExportChangedError: the export changed while the run was under way.
    """
    dry_run, sample, as_json = look.dry_run, how.sample, how.as_json
    request, whole = _sampled(request, config, look) if sample else (request, [])
    begun = begin(request, config, look, functools.partial(how.confirm, config))
    output.print_notes_of(begun.found)
    if not as_json:
        output.print_begun(begun, config.tiers, dry_run=dry_run)
    waits = how.wait_for_end or sample
    result = _work(begun, config, wait_for_end=waits, quiet=as_json)
    if not dry_run and not sample and (how.wait_for_end or begun.run is None):
        output.print_empty_scales(begun.found)
    measured = None
    if sample and not (result and result.lost):
        measured = _measured(begun, whole, config, quiet=as_json)
    changed = _changed(begun.found, config) if result and waits and not result.lost else None
    if as_json:
        why = str(changed) if changed else None
        cli.print_document(
            enqueue_document(begun, result, dry_run=dry_run, sample=measured, changed=why)
        )
    if changed is not None:
        raise changed
    output.print_problems(begun.found.problems, "still")
    if begun.found.problems or not _succeeded(begun, result, dry_run=dry_run):
        raise typer.Exit(EXIT_FINDINGS)


def _work(
    begun: Begun, config: LaunchConfig, *, wait_for_end: bool, quiet: bool
) -> LaunchResult | None:
    """Publish the run of a launch, and wait for its end on request; None if there is no run."""
    run = begun.run
    if run is None:
        return None
    said = _say_nothing if quiet else functools.partial(output.print_published, run)
    result = publish_and_wait(
        run, config, again=begun.again, wait_for_end=wait_for_end, on_published=said
    )
    if not quiet:
        output.print_result(run, result)
    return result


def _sampled(
    request: Request, config: LaunchConfig, look: LaunchOptions
) -> tuple[Request, Sequence[ShardForecast]]:
    """The request of a sample, and the forecasts of the whole."""
    _check_sample(request, dry_run=look.dry_run)
    whole = whole_of(request, config, look)
    return sample_of(request, whole), whole


def _measured(
    begun: Begun, whole: Sequence[ShardForecast], config: LaunchConfig, *, quiet: bool
) -> SampleResult:
    """What the sample says of the whole, also as text on stdout."""
    receipts = sampled_receipts(begun.found, begun.run)
    here = config.queue.startswith(SQLITE)
    measured = measure(begun.found.request, whole, receipts, here=here)
    if not quiet:
        cli.print_line()
        cli.print_lines(sample_lines(measured))
    return measured


def _say_nothing(_: PublishReport) -> None: ...


def _succeeded(begun: Begun, result: LaunchResult | None, *, dry_run: bool) -> bool:
    """Whether all shards can be made, and none that was made lacks chunks."""
    if result is not None:
        return result.succeeded
    planned = begun.found.planned
    beyond = dry_run and planned is not None and planned.beyond
    return not (begun.found.incomplete or beyond)


def _changed(found: Preflight, config: LaunchConfig) -> ExportChangedError | None:
    """How the export changed while the run was under way, if it did; shards are not lost for it."""
    try:
        check_still_whole(found, config)
    except ExportChangedError as error:
        return error
    return None


def _check_sample(request: Request, *, dry_run: bool) -> None:
    """Raise UsageError for options that contradict --sample."""
    given = {"--dry-run": dry_run, "--overwrite": request.overwrite}
    given["--bbox, --shards and --limit"] = request.selection is not None
    for option, contradicts in given.items():
        if contradicts:
            raise UsageError(
                f"--sample and {option} contradict each other: the sample makes the densest shards",
                hint="pass one of them",
            )
