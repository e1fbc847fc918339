"""`producer enqueue`: plan a run, publish its shards, and perhaps wait until all are done."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from braid.downsample.downsampler import Rule
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType
from delivery.broker import absolute_queue_url, open_broker
from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import State
from memmodel.spec_file import read_spec
from memmodel.tiers import Tier, parse_tiers, tier_of
from producer import render
from producer.fleet_process import FleetProcess, fleet_command
from producer.info import read_volume, write_info
from producer.launch import Preflight, Published, create, publish, publish_again, survey
from producer.planner import PlanResult
from producer.run_lookup import state_root
from producer.run_request import Request
from producer.wait import display, wait
from runtime import cli, settings
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import absolute, open_storage

SourceOption = Annotated[str | None, cli.SourceOption.__metadata__[0]]
SpecOption = Annotated[str | None, cli.SpecOption.__metadata__[0]]
ScalesOption = Annotated[str | None, cli.ScalesOption.__metadata__[0]]


@dataclass(frozen=True)
class Place:
    """Where a run lives and what works on it.

    Attributes:
        state: root of the runs, absolute.
        queue: absolute URL.
        fleet_options: for the fleet that `--wait` starts.
    """

    state: str
    queue: str
    tiers: tuple[Tier, ...]
    lease_s: int
    fleet_options: tuple[str, ...] = ()


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(enqueue)


def enqueue(
    *,
    source: SourceOption = None,
    dest: cli.DestOption,
    spec: SpecOption = None,
    scales: ScalesOption = None,
    downres: cli.DownresOption = "none",
    downres_rule: Annotated[
        str,
        typer.Option(
            "--downres-rule",
            metavar="mode|nonzero-mode",
            help="Majority of eight voxels; with nonzero-mode zeros do not vote, as in DVID.",
        ),
    ] = "mode",
    label_type: cli.LabelTypeOption = "labels",
    supervoxels: Annotated[
        bool, typer.Option("--supervoxels", help="The same as --label-type supervoxels.")
    ] = False,
    z_compress: Annotated[
        int,
        typer.Option(
            "--z-compress", min=0, metavar="N", help="Leave out N slices after each kept."
        ),
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make shards that exist, too; cancels other runs.")
    ] = False,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    gzip_level: cli.GzipOption = settings.DEFAULT_GZIP_LEVEL,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would take and cost; write nothing.")
    ] = False,
    wait_for_end: Annotated[
        bool, typer.Option("--wait", help="Stay until the run has ended; works on it, too.")
    ] = False,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="Do not continue an unfinished run.")
    ] = False,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Name the run yourself.")
    ] = None,
    state: cli.StateOption = None,
    queue: cli.QueueOption = settings.DEFAULT_QUEUE_URL,
    lease: cli.LeaseOption = settings.DEFAULT_LEASE_S,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="For --wait: memory that work may use."),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, metavar="N", help="For --wait: workers at once.")
    ] = None,
) -> None:
    """Plan a run and publish its shards to the queue, largest first.

    With --wait this is the whole job on one machine. The same command again continues a run that
    was interrupted. Shards that exist stay as they are, unless --overwrite.

    Example: python -m producer enqueue --source export --dest out --spec spec.json --scales 0
    --downres 1,2,3 --wait
    """
    made = _scales(scales, downres)
    request = Request(
        volume=_volume(spec, dest),
        source=_source(source, made[0]),
        dest=absolute(dest),
        scales=made[0],
        downres=made[1],
        rule=Rule(_one_of(downres_rule, list(Rule), "--downres-rule")),
        label_type=_label_type(label_type, supervoxels=supervoxels),
        z_compress=z_compress,
        gzip_level=gzip_level,
        overwrite=overwrite,
    )
    options = [*(("--memory", memory) if memory else ()), *(("--cpus", str(cpus)) if cpus else ())]
    place = Place(
        state_root(state, dest),
        absolute_queue_url(queue),
        parse_tiers(tiers),
        lease,
        tuple(options),
    )
    prospect = look(request, place, run_id, new_run=new_run)
    if dry_run:
        _say_dry(prospect, place)
        return
    if prospect.idle:
        write_info(open_storage(request.dest), request.volume)
        _say_idle(prospect)
        return
    run = begin(prospect, place, run_id)
    again = prospect.continues is not None
    if not finish(run, place, again=again, wait_for_end=wait_for_end):
        raise typer.Exit(EXIT_FINDINGS)


def look(request: Request, place: Place, run_id: str | None, *, new_run: bool = False) -> Preflight:
    """What the request comes to; what people should know beforehand goes to stderr."""
    prospect = survey(request, place.state, place.tiers, fresh=new_run)
    if run_id and prospect.continues and prospect.continues.run.run_id != run_id:
        prospect = survey(request, place.state, place.tiers, fresh=True)
    for note in prospect.notes:
        _note(note)
    return prospect


def begin(prospect: Preflight, place: Place, run_id: str | None = None) -> Run:
    """The run to work on, old or new; its tier table is printed."""
    if prospect.continues is not None:
        earlier = prospect.continues
        write_info(open_storage(prospect.request.dest), prospect.request.volume)
        typer.echo(f"continuing {earlier.run.run_id}, {earlier.to_go:,} to go")
        return earlier.run
    planned = prospect.planned
    run = create(prospect, place.state, place.queue, place.tiers, run_id)
    if planned is not None:
        _say_plan(planned, place.tiers)
    typer.echo(f"run {run.run_id}")
    return run


def finish(run: Run, place: Place, *, again: bool = False, wait_for_end: bool) -> bool:
    """Publish what is ready, stay until the end if asked to. Whether all is well so far.

    Args:
        run: the run.
        place: its queue is the run's own, whatever this says.
        again: it was published before, so that its queue may hold all that is ready.
        wait_for_end: stay, and on one machine work on it.
    """
    names = run.info.tiers
    place = replace(place, queue=run.info.queue, tiers=tuple(tier_of(name) for name in names))
    with open_broker(place.queue, names, place.lease_s) as broker:
        published = publish_again(run, broker) if again else publish(run, broker)
        _say_published(run, published)
        if published.status.succeeded:
            return True
        if wait_for_end:
            return _wait(run, broker, place)
    if not published.status.ended:
        typer.echo(f"next: {fleet_command(run)}")
    return not published.dead


def _wait(run: Run, broker: Broker, place: Place) -> bool:
    """Stay until the run has ended; on one machine, work on it meanwhile."""
    fleet = None
    with contextlib.ExitStack() as stack:
        try:
            if broker.one_machine:
                options = ("--lease", str(place.lease_s), *place.fleet_options)
                fleet = stack.enter_context(FleetProcess(run, place.queue, options))
            shown = stack.enter_context(display())
            progress = wait(run, broker, shown, fleet)
        except KeyboardInterrupt:
            _note(f"stopping; the same command continues run {run.run_id}")
            raise
    typer.echo(render.time_table(progress.scales))
    lost = sum(scale.failed + scale.given_up + scale.blocked for scale in progress.scales)
    if lost:
        _say_lost(run, lost)
        return False
    typer.echo(f"run {run.run_id} is done: {render.shards(progress.done)} in {run.info.dest}")
    return True


def _say_lost(run: Run, lost: int) -> None:
    records = run.failures.list().values()
    typer.echo(render.reasons((record.key, record.reason) for record in records))
    typer.echo(
        f"run {run.run_id} ended without {lost:,} of its shards; "
        f"look: python -m producer errors --run {run.uri}"
    )


def _say_published(run: Run, published: Published) -> None:
    status = published.status
    waiting = len(status.keys(State.WAITING))
    text = f"{render.shards(len(published.keys))} published to {run.info.queue}"
    if waiting:
        text += f"; {waiting:,} follow as their inputs get done"
    if published.status.succeeded:
        text = (
            f"nothing to do: all shards are there; --overwrite makes them again ({run.info.dest})"
        )
    typer.echo(text)
    for reason in render.reasons(published.dead).splitlines():
        _note(reason)


def _say_plan(planned: PlanResult, tiers: tuple[Tier, ...]) -> None:
    if planned.forecasts:
        typer.echo(render.tier_table(planned.forecasts, tiers))
    if planned.present:
        typer.echo(f"{render.of_shards(planned.present, 'exists', 'exist')} already")


def _say_idle(prospect: Preflight) -> None:
    """That all is there, and which runs made it."""
    if not prospect.shards:
        typer.echo("nothing to do: no file of the export meets the volume")
        return
    names = [earlier.run.run_id for earlier in prospect.history.makers(prospect.request)]
    runs = f"done in run{'s' if len(names) > 1 else ''} {', '.join(names)}"
    where = runs if names else "there, made by no run that is known"
    said = f"{render.of_shards(prospect.shards, 'is', 'are all')} {where}"
    typer.echo(f"nothing to do: {said}; --overwrite makes them again")


def _say_dry(prospect: Preflight, place: Place) -> None:
    if prospect.continues is not None:
        earlier = prospect.continues
        typer.echo(f"would continue {earlier.run.run_id}, {earlier.to_go:,} to go")
        return
    planned = prospect.planned
    if planned is None or prospect.idle:
        _say_idle(prospect)
        return
    _say_plan(planned, place.tiers)
    typer.echo()
    typer.echo(render.cost_table(planned.forecasts, place.tiers))
    scales = prospect.request.volume.scales
    paths = (f"s{index} {scales[index].code_path()}" for index in prospect.request.made)
    typer.echo(f"paths: {', '.join(paths)}")
    for forecast in planned.beyond[:5]:
        _note(f"{forecast.row.key}: {forecast.why_not}")
    typer.echo("nothing was written or published")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)  # noqa: T201 - for people, not a result


def _scales(scales: str | None, downres: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Scales to convert and to downsample; scale 0 is converted unless something else is asked."""
    coarse = () if downres.strip() in {"", "none"} else cli.parse_scales(downres, "--downres")
    if scales is None or not scales.strip():
        return (() if coarse else (0,)), coarse
    return (() if scales.strip() == "none" else cli.parse_scales(scales)), coarse


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
    """The spec's volume; without one, that of the info at the destination."""
    return read_spec(spec) if spec else read_volume(open_storage(dest))


def _label_type(label_type: str, *, supervoxels: bool) -> LabelType:
    if supervoxels:
        return LabelType.SUPERVOXELS
    return LabelType(_one_of(label_type, list(LabelType), "--label-type"))


def _one_of(text: str, allowed: Sequence[str], option: str) -> str:
    if text not in allowed:
        raise UsageError(f"{option} {text!r} is none of {', '.join(allowed)}")
    return text
