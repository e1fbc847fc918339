"""Creation and update of a queue's resources, with a guided session on a terminal."""

from contextlib import nullcontext
from dataclasses import replace

from delivery.broker.pubsub_names import PubSubNames
from infra.actions.change_report import ChangeReport
from infra.actions.inputs import infra_request, queue_names
from infra.caller_rights import as_changes, needs_of, refuse_lacking
from infra.changes import Change, table
from infra.commands.options import FirstRunOptions, PlaceOptions, QueueOptions, ResourceOptions
from infra.guide.next_command import enqueue_command, keep_given
from infra.guide.session import session_of
from infra.request import InfraRequest
from infra.steps import all_changes, parse_parts
from runtime import cli, settings


def make_resources(
    target: QueueOptions,
    resources: ResourceOptions,
    places: PlaceOptions,
    first_run: FirstRunOptions,
    *,
    only: str,
    dry_run: bool,
    yes: bool,
    json: bool,
) -> None:
    """Create what is missing and update what differs.

    Args:
        target: the queue.
        resources: what they are to be.
        places: of the queue's runs.
        first_run: what a first run makes.
        only: parts, as `--only` names them.
        dry_run: find out only.
        yes: ask nothing, and keep what options gave.
        json: print one document.
    """
    parts = parse_parts(only)
    given = _given(target, resources, places, first_run)
    session = session_of(parts, plain=yes or dry_run or json)
    with session.going_on() if session else nullcontext():
        if session:
            given |= session.settle(given, target.base_name)
        names = queue_names(
            QueueOptions(given[settings.QUEUE_URL], given[settings.PROJECT_ID], target.base_name)
        )
        given[settings.QUEUE_URL] = names.url
        if yes and not dry_run:
            keep_given(given)
        request = infra_request(
            names,
            parts,
            replace(resources, region=given[settings.REGION]),
            PlaceOptions(given[settings.SOURCE_PATH], given[settings.DEST_PATH], places.state),
        )
        changes, notes = session.make(request) if session else _make(request, dry_run=dry_run)
    report = ChangeReport(names.url, changes, notes, dry_run, then=enqueue_command(given))
    report.print(json=json, brief=bool(session))


def _given(
    target: QueueOptions,
    resources: ResourceOptions,
    places: PlaceOptions,
    first_run: FirstRunOptions,
) -> dict[str, str | None]:
    """Settings that options, environment and `.env` have, of those that a session asks for."""
    project = PubSubNames.parse(target.queue).project if target.queue else None
    return {
        settings.PROJECT_ID: target.project or project,
        settings.REGION: resources.region,
        settings.SOURCE_PATH: places.source,
        settings.DEST_PATH: places.dest,
        settings.NG_SPEC_PATH: first_run.spec,
        settings.SCALES: first_run.scales,
        settings.DOWNRES_SCALES: first_run.downres,
        settings.STATE_PATH: places.state,
        settings.QUEUE_URL: target.queue,
    }


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
