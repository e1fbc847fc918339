"""`producer enqueue`: plan a run, publish its shards, optionally wait for its end."""

from typing import Annotated

import typer

from runtime import common_options, settings


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
    from delivery.broker import absolute_queue_url
    from memmodel.tiers import parse_tiers
    from producer import request_options as parse
    from producer.actions.enqueue import EnqueueConfig, enqueue_run
    from producer.preflight import LaunchConfig, LaunchOptions
    from producer.run_lookup import state_root
    from producer.run_request import Request
    from producer.selection_request import parse_selection
    from runtime.storage import absolute

    converted, downsampled = parse.scales(scales, downres)
    fleet = parse.fleet_options(memory, cpus)
    request = Request(
        volume=parse.volume(spec, dest),
        source=parse.source(source, converted),
        dest=absolute(dest),
        scales=converted,
        downres=downsampled,
        rule=parse.rule(downres_rule),
        label_type=parse.label_type(context, label_type, supervoxels=supervoxels),
        z_compress=z_compress,
        gzip_level=gzip_level,
        overwrite=overwrite,
        bad_chunks=parse.bad_chunks(bad_chunks),
        selection=parse_selection(bbox, shards, limit),
    )
    config = LaunchConfig(
        state_root(state, dest),
        absolute_queue_url(queue or settings.DEFAULT_QUEUE_URL),
        parse_tiers(tiers),
        lease,
        fleet,
        queue_given=queue is not None,
    )
    options = LaunchOptions(run_id, new_run, partial, adopt, dry_run)
    how = EnqueueConfig(wait_for_end, sample, max_dollars, yes, as_json)
    enqueue_run(request, config, options, how)
