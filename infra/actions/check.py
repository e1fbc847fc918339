"""Comparison of the cloud with what a queue needs."""

import typer

from infra.actions.change_report import ChangeReport
from infra.actions.inputs import infra_request, needed_region, queue_names
from infra.caller_rights import as_changes, needs_of
from infra.canary_check import check_pools
from infra.changes import FINDINGS, Action
from infra.commands.options import PlaceOptions, QueueOptions, ResourceOptions
from infra.defaults import POOLS
from infra.places import places as places_of_runs
from infra.steps import all_changes, parse_parts
from runtime import cli
from runtime.errors import EXIT_FINDINGS


def check_resources(
    target: QueueOptions,
    resources: ResourceOptions,
    places: PlaceOptions,
    *,
    only: str,
    canary_s: float | None,
    json: bool,
) -> None:
    """Print what is missing or differs; exit code 1 if anything does.

    Args:
        target: the queue.
        resources: what they are to be.
        places: of the queue's runs.
        only: parts, as `--only` names them.
        canary_s: in which an instance is to give a sign of life; None to start none.
        json: print one document.
    """
    parts = parse_parts(only)
    request = infra_request(queue_names(target), parts, resources, places)
    steps = request.steps()
    plans = steps.compare()
    caller = request.caller()
    changes = [
        *all_changes(plans),
        *as_changes(caller.lacking(needs_of(plans))),
        *as_changes(caller.lacking(request.usage_needs()), Action.NOTE),
    ]
    if canary_s is not None:
        changes += check_pools(
            request.names,
            needed_region(resources.region),
            places_of_runs(places.source, places.dest, places.state),
            cli.print_stderr,
            each=parts == {POOLS},
            most_s=canary_s,
        )
    ChangeReport(request.names.url, changes, steps.notes(), dry_run=True).print(json=json)
    if any(change.action in FINDINGS for change in changes):
        raise typer.Exit(EXIT_FINDINGS)
