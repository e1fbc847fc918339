"""`producer enqueue`: plan a run, publish its shards, optionally wait for its end."""

import functools
from collections.abc import Sequence
from typing import Annotated

import typer

from braid.downsample.downsampler import Rule
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType
from delivery.broker import SQLITE, absolute_queue_url
from memmodel.spec_file import read_spec
from memmodel.tiers import parse_size, parse_tiers
from producer import launch_output as output
from producer.begin import Begun, begin
from producer.cost_guard import confirm_cost
from producer.info import read_volume
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
from producer.run_lookup import state_root
from producer.run_request import BadChunks, Request
from producer.sample import (
    SampleResult,
    measure,
    sample_lines,
    sample_of,
    sampled_receipts,
    whole_of,
)
from producer.selection_request import parse_selection
from runtime import cli, common_options, settings
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import absolute, open_storage


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(enqueue)


def enqueue(
    context: typer.Context,
    *,
    source: common_options.OptionalSourceOption = None,
    dest: common_options.DestOption,
    spec: common_options.OptionalSpecOption = None,
    scales: common_options.OptionalScalesOption = None,
    downres: common_options.DownresOption = "none",
    downres_rule: Annotated[
        str,
        typer.Option(
            "--downres-rule",
            metavar="mode|nonzero-mode",
            help="Majority of eight voxels; with nonzero-mode zeros do not vote, as in DVID.",
        ),
    ] = "mode",
    label_type: common_options.LabelTypeOption = "labels",
    supervoxels: Annotated[
        bool, typer.Option("--supervoxels", help="The same as --label-type supervoxels.")
    ] = False,
    z_compress: Annotated[
        int,
        typer.Option(
            "--z-compress", min=0, metavar="N", help="Leave out N slices after each kept one."
        ),
    ] = 0,
    bbox: Annotated[
        str | None,
        typer.Option(
            "--bbox",
            metavar="X0:X1,Y0:Y1,Z0:Z1",
            help="Make only shards that meet this box of voxels of scale 0; X1, Y1, Z1 are not "
            "in it.",
        ),
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(
            "--shards",
            metavar="KEY,KEY,...",
            help="Make only these shards, such as s0/0a,s0/0b, and coarser ones that need no "
            "others.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, metavar="N", help="Make only the first N shards, and coarser ones."
        ),
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample",
            help="Make the three densest shards now, and print what the whole will take.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also make shards that exist; cancels other runs.")
    ] = False,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    gzip_level: common_options.GzipOption = settings.DEFAULT_GZIP_LEVEL,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print estimated work and cost; write nothing.")
    ] = False,
    wait_for_end: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait until the run has ended; on one machine, run its workers."
        ),
    ] = False,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="Do not continue an unfinished run.")
    ] = False,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Id of a new run.")
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Convert what is there of an export that lacks files; exit code 1."
        ),
    ] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take existing shards that no known run made.")
    ] = False,
    bad_chunks: Annotated[
        str,
        typer.Option(
            "--bad-chunks",
            metavar="fail|skip",
            help="Of a chunk that does not decode: its shard fails, or is made without it; "
            "then exit code 1.",
        ),
    ] = "fail",
    state: common_options.StateOption = None,
    queue: common_options.QueueOption = None,
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="For --wait: memory that workers may use."),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, metavar="N", help="For --wait: workers at once.")
    ] = None,
    max_dollars: Annotated[
        float,
        typer.Option(
            "--max-dollars",
            envvar=settings.MAX_DOLLARS,
            min=0,
            metavar="DOLLARS",
            help="Ask before a run in the cloud that is estimated to cost more.",
        ),
    ] = settings.DEFAULT_MAX_DOLLARS,
    yes: common_options.YesOption = False,
    as_json: common_options.JsonOption = False,
) -> None:
    """Plan a run and publish its shards to the queue, those that take longest first.

    With --wait this is the whole job on one machine. The same command again continues a run that
    was interrupted. Shards that exist stay as they are, unless --overwrite, or unless the source
    files or shards that they were made from have changed. With --bbox, --shards or --limit some of
    the shards are made; without them the same command makes the rest.

    Example: python -m producer enqueue --source export --dest out --spec spec.json --scales 0
    --downres 1,2,3 --wait
    """
    converted, downsampled = _scales(scales, downres)
    options = _fleet_options(memory, cpus)
    request = Request(
        volume=_volume(spec, dest),
        source=_source(source, converted),
        dest=absolute(dest),
        scales=converted,
        downres=downsampled,
        rule=Rule(_one_of(downres_rule, list(Rule), "--downres-rule")),
        label_type=_label_type(context, label_type, supervoxels=supervoxels),
        z_compress=z_compress,
        gzip_level=gzip_level,
        overwrite=overwrite,
        bad_chunks=_bad_chunks(bad_chunks),
        selection=parse_selection(bbox, shards, limit),
    )
    config = LaunchConfig(
        state_root(state, dest),
        absolute_queue_url(queue or settings.DEFAULT_QUEUE_URL),
        parse_tiers(tiers),
        lease,
        options,
        queue_given=queue is not None,
    )
    look = LaunchOptions(run_id, new_run, partial, adopt, dry_run)
    request, whole = _sampled(request, config, look) if sample else (request, [])

    def guard(found: Preflight) -> None:
        confirm_overwrite(found, yes=yes)
        confirm_cost(found, config, max_dollars, yes=yes)

    begun = begin(request, config, look, guard)
    output.print_notes_of(begun.found)
    if not as_json:
        output.print_begun(begun, config.tiers, dry_run=dry_run)
    waits = wait_for_end or sample
    result = _work(begun, config, wait_for_end=waits, quiet=as_json)
    if not dry_run and not sample and (wait_for_end or begun.run is None):
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


def _fleet_options(memory: str | None, cpus: int | None) -> tuple[str, ...]:
    """Options of the fleet that --wait starts; raises UsageError if it would refuse them."""
    if memory:
        parse_size(memory)
    given = {"--memory": memory, "--cpus": str(cpus) if cpus else None}
    return tuple(text for name, value in given.items() if value for text in (name, value))


def _scales(scales: str | None, downres: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Scales to convert and to downsample; by default scale 0 is converted."""
    coarse = (
        () if downres.strip() in {"", "none"} else common_options.parse_scales(downres, "--downres")
    )
    if scales is None or not scales.strip():
        return (() if coarse else (0,)), coarse
    return (() if scales.strip() == "none" else common_options.parse_scales(scales)), coarse


def _source(source: str | None, scales: tuple[int, ...]) -> str | None:
    if not scales:
        return None
    if source is None:
        raise UsageError(
            "--source is missing: scales are converted from an export",
            hint=f"pass --source or set {settings.SOURCE_PATH}",
        )
    return absolute(source)


def _volume(spec: str | None, dest: str) -> VolumeSpec:
    """The volume of the spec; without a spec, of the info at the destination."""
    return read_spec(spec) if spec else read_volume(open_storage(dest))


def _label_type(context: typer.Context, label_type: str, *, supervoxels: bool) -> LabelType:
    chosen = LabelType(_one_of(label_type, list(LabelType), "--label-type"))
    if not supervoxels:
        return chosen
    given = context.get_parameter_source("label_type")  # the flag wins over LABEL_TYPE
    if given is not None and given.name == "COMMANDLINE" and chosen is not LabelType.SUPERVOXELS:
        raise UsageError(
            f"--supervoxels and --label-type {label_type} contradict each other",
            hint="pass one of them",
        )
    return LabelType.SUPERVOXELS


def _bad_chunks(text: str) -> BadChunks:
    chosen: BadChunks = "skip" if text == "skip" else "fail"
    _one_of(text, ["fail", "skip"], "--bad-chunks")
    return chosen


def _one_of(text: str, allowed: Sequence[str], option: str) -> str:
    if text not in allowed:
        raise UsageError(f"{option} {text!r} is not one of {', '.join(allowed)}")
    return text
