"""`infra up | check | start | stop | down`: the cloud resources of a queue.

They hold no state that is not in the ledger: after `down`, or after a restart of an emulator,
`infra up` and `producer replay --missing` restore a run. `down` asks first, because until then an
unfinished run stands still.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from typing import Final

import typer

from delivery.broker.pubsub_names import PubSubNames
from infra import options, unfinished_runs
from infra.bucket_step import kept_buckets
from infra.caller_rights import as_changes, needs_of, refuse_lacking
from infra.canary import MOST_S
from infra.canary_check import check_pools
from infra.changes import FINDINGS, Action, Change, summary, table
from infra.documents import changes_document
from infra.guide.next_command import enqueue_command, keep_given
from infra.guide.session import session_of
from infra.job_starter import start_tasks
from infra.places import places
from infra.pool_configuration import reason_for_no_pools, state_root
from infra.pools import Home
from infra.pubsub_admin import PubSubAdmin
from infra.request import InfraRequest
from infra.resources import is_emulator, open_homes
from infra.scaling_policy import DEFAULT_PER_TIER, Caps
from infra.steps import ALL_PARTS, BUCKETS, POOLS, TOPICS, all_changes, parse_parts
from infra.topics import Topics
from runtime import cli, common_options, settings
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import absolute
from runtime.text import counted

_PLACES: Final = (settings.SOURCE_PATH, settings.DEST_PATH, settings.STATE_PATH)

app = cli.new_app("Create, compare and delete the cloud resources of a queue.")


@app.command()
def up(
    *,
    queue: options.QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S,
    project_number: options.NumberOption = None,
    region: options.RegionOption = None,
    image: options.ImageOption = None,
    worker_account: options.AccountOption = None,
    autoscaler_account: options.AutoscalerAccountOption = None,
    build_account: options.BuildAccountOption = None,
    home: options.HomeOption = Home.POOLS,
    source: common_options.OptionalSourceOption = None,
    dest: common_options.OptionalDestOption = None,
    state: common_options.StateOption = None,
    spec: common_options.OptionalSpecOption = None,
    scales: common_options.OptionalScalesOption = None,
    downres: options.DownresOption = None,
    only: options.OnlyOption = ALL_PARTS,
    dry_run: options.DryRunOption = False,
    yes: common_options.YesOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Create what is missing and update what differs; idempotent.

    On a terminal it asks for what no setting has, shows what it will make, and asks once. With
    --yes it asks nothing, and keeps what options gave in .env, as answers are.

    Example: python -m infra up

    Example: python -m infra up --queue pubsub://my-project/brain --dry-run

    Example: python -m infra up --queue pubsub://my-project/brain --region us-central1
    """
    parts = parse_parts(only)
    given = {
        settings.PROJECT_ID: project or (PubSubNames.parse(queue).project if queue else None),
        settings.REGION: region,
        settings.SOURCE_PATH: source,
        settings.DEST_PATH: dest,
        settings.NG_SPEC_PATH: spec,
        settings.SCALES: scales,
        settings.DOWNRES_SCALES: downres,
        settings.STATE_PATH: state,
        settings.QUEUE_URL: queue,
    }
    session = session_of(parts, plain=yes or dry_run or json)
    with session.going_on() if session else nullcontext():
        if session:
            given |= session.settle(given, base_name)
        names = _names(given[settings.QUEUE_URL], given[settings.PROJECT_ID], base_name)
        if yes and not dry_run:
            keep_given({**given, settings.QUEUE_URL: names.url})
        request = InfraRequest(
            names, parts, tiers, lease, project_number, given[settings.REGION], image,
            worker_account, home, state, given[settings.SOURCE_PATH], given[settings.DEST_PATH],
            autoscaler_account, build_account,
        )  # fmt: skip
        changes, notes = session.make(request) if session else _make(request, dry_run=dry_run)
    next_line = enqueue_command({**given, settings.QUEUE_URL: names.url})
    _print_changes(
        names, changes, notes, json=json, dry_run=dry_run, brief=bool(session), then=next_line
    )


def _make(request: InfraRequest, *, dry_run: bool) -> tuple[list[Change], list[str]]:
    """Make what a request needs, or only find out; the changes, and notes."""
    steps = request.steps()
    plans = steps.compare()
    lacking = request.caller().lacking(needs_of(plans))
    if not dry_run:
        for line in table(as_changes(lacking), done=False).splitlines():
            cli.print_stderr(line)
        refuse_lacking(lacking)
        plans = steps.apply(plans)
    return [*all_changes(plans), *as_changes(lacking)], steps.notes()


@app.command()
def check(
    *,
    queue: options.QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S,
    project_number: options.NumberOption = None,
    region: options.RegionOption = None,
    image: options.ImageOption = None,
    worker_account: options.AccountOption = None,
    autoscaler_account: options.AutoscalerAccountOption = None,
    build_account: options.BuildAccountOption = None,
    home: options.HomeOption = Home.POOLS,
    source: common_options.OptionalSourceOption = None,
    dest: common_options.OptionalDestOption = None,
    state: common_options.StateOption = None,
    only: options.OnlyOption = ALL_PARTS,
    canary: options.CanaryOption = False,
    canary_timeout: options.CanaryTimeoutOption = MOST_S,
    json: common_options.JsonOption = False,
) -> None:
    """Compare; exit code 1 if something is missing or differs.

    Example: python -m infra check --queue pubsub://my-project/brain

    Example: python -m infra check --canary --only pools
    """
    parts = parse_parts(only)
    request = InfraRequest(
        _names(queue, project, base_name), parts, tiers, lease, project_number,
        region, image, worker_account, home, state, source, dest, autoscaler_account,
        build_account,
    )  # fmt: skip
    steps = request.steps()
    plans = steps.compare()
    caller = request.caller()
    changes = [
        *all_changes(plans),
        *as_changes(caller.lacking(needs_of(plans))),
        *as_changes(caller.lacking(request.usage_needs()), Action.NOTE),
    ]
    if canary:
        changes += check_pools(
            request.names,
            _region(region),
            places(source, dest, state),
            cli.print_stderr,
            each=parts == {POOLS},
            most_s=canary_timeout,
        )
    _print_changes(request.names, changes, steps.notes(), json=json, dry_run=True)
    if any(change.action in FINDINGS for change in changes):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def start(
    *,
    queue: options.QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    region: options.RegionOption = None,
    state: common_options.StateOption = None,
    per_tier: options.PerTierOption = DEFAULT_PER_TIER,
    dry_run: options.DryRunOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Run tasks of the jobs of `up --home jobs`, as many as the ledgers say are worth it.

    Example: python -m infra start --queue pubsub://my-project/brain --state gs://bucket/volume.runs
    """
    names = _names(queue, project, base_name)
    root = state_root(state)
    if root is None:
        raise UsageError(
            "where are the runs whose workers are to start?",
            hint="set STATE_PATH or DEST_PATH, or pass --state gs://BUCKET/PREFIX",
        )
    caps = Caps(per_tier)
    changes = start_tasks(names, _region(region), [root], caps, dry_run=dry_run)
    _print_changes(names, changes, json=json, dry_run=dry_run)


@app.command()
def stop(
    *,
    queue: options.QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    region: options.RegionOption = None,
    dry_run: options.DryRunOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Set all worker pools to 0 instances and cancel running jobs; workers release their shards.

    Example: python -m infra stop --queue pubsub://my-project/brain --region us-central1
    """
    names = _names(queue, project, base_name)
    with open_homes(names, _region(region)) as homes:
        changes = homes.stops()
        if not dry_run:
            homes.stop()
    _print_changes(names, changes, json=json, dry_run=dry_run)


@app.command()
def down(
    *,
    queue: options.QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    region: options.RegionOption = None,
    state: common_options.StateOption = None,
    only: options.OnlyOption = ALL_PARTS,
    dry_run: options.DryRunOption = False,
    yes: common_options.YesOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Delete the pools and queues of all tiers; plan, receipts and volume stay.

    Unfinished runs of the queue are named if --state or STATE_PATH tells where runs are.

    Example: python -m infra down --queue pubsub://my-project/brain --dry-run
    """
    names, parts = _names(queue, project, base_name), parse_parts(only)
    reason = reason_for_no_pools(region)
    with ExitStack() as stack:
        homes = None
        changes: list[Change] = []
        if POOLS in parts and region is not None and reason is None:
            homes = stack.enter_context(open_homes(names, region))
            changes += homes.leftovers()
        topics = None
        if TOPICS in parts:
            admin = stack.enter_context(closing(PubSubAdmin(names.url)))
            topics = Topics(admin, names, emulator=is_emulator())
            changes += topics.leftovers()
        if BUCKETS in parts:
            changes += kept_buckets(places(*map(settings.get, _PLACES)))
        for note in unfinished_runs.notes(names.url, absolute(state)) if state else ():
            cli.print_stderr(f"note: {note}")
        deletions = [change for change in changes if change.action is Action.DELETE]
        if deletions and not dry_run:
            deed = f"delete {counted(len(deletions), 'resource')} of {names.url}"
            if running := homes.running if homes else 0:
                deed += f" with {counted(running, 'running instance')}"
            cli.confirm(deed, yes=yes)
            if homes is not None:
                homes.remove(deletions)
            if topics is not None:
                topics.remove([change for change in deletions if change.kind in Topics.KINDS])
    notes = [reason] if POOLS in parts and reason and deletions and not dry_run else []
    _print_changes(names, changes, notes, json=json, dry_run=dry_run)


def _names(queue: str | None, project: str | None, base_name: str) -> PubSubNames:
    if queue is None and project is None:
        raise UsageError(
            "which queue? An embedded one needs no infra",
            hint="pass --queue pubsub://PROJECT_ID/PREFIX, or set PROJECT_ID",
        )
    return PubSubNames.parse(queue or f"pubsub://{project}/{base_name}")


def _region(region: str | None) -> str:
    if region is None:
        raise UsageError(
            "in which region are the worker pools?",
            hint="set REGION or pass --region, such as us-central1",
        )
    return region


def _print_changes(
    names: PubSubNames,
    changes: Sequence[Change],
    notes: Sequence[str] = (),
    *,
    json: bool,
    dry_run: bool,
    brief: bool = False,
    then: str | None = None,
) -> None:
    """Print changes: a line each, unless a session showed them, and how many there are.

    Args:
        names: of the queue.
        changes: that were made, or would be.
        notes: for people.
        json: print one document.
        dry_run: nothing was made.
        brief: leave the lines out.
        then: the next command, if it is known.
    """
    if json:
        document = changes_document(names.url, changes, notes, dry_run=dry_run, then=then)
        cli.print_document(document)
        return
    for note in notes:
        cli.print_stderr(f"note: {note}")
    if changes and not brief:
        cli.print_lines(table(changes, done=not dry_run))
    cli.print_line(f"{names.url}: {summary(changes, done=not dry_run) or 'nothing there'}")
    if then and not dry_run:
        cli.print_line(f"next: {then}")
