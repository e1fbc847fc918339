"""Start and stop of a queue's workers in the cloud."""

from infra.actions.change_report import ChangeReport
from infra.actions.inputs import needed_region, needed_root, queue_names
from infra.commands.options import QueueOptions
from infra.job_starter import start_tasks
from infra.resources import open_homes
from infra.scaling_policy import Caps


def start_workers(
    target: QueueOptions,
    region: str | None,
    state: str | None,
    per_tier: int,
    *,
    dry_run: bool,
    json: bool,
) -> None:
    """Run tasks of the queue's jobs, as many as the ledgers say are worth it.

    Args:
        target: the queue.
        region: of its jobs.
        state: root of its runs.
        per_tier: tasks, at most.
        dry_run: start none.
        json: print one document.
    """
    names = queue_names(target)
    root = needed_root(state, "where are the runs whose workers are to start?")
    caps = Caps(per_tier)
    changes = start_tasks(names, needed_region(region), [root], caps, dry_run=dry_run)
    ChangeReport(names.url, changes, dry_run=dry_run).print(json=json)


def stop_workers(target: QueueOptions, region: str | None, *, dry_run: bool, json: bool) -> None:
    """Set the queue's pools to 0 instances, and cancel its running jobs.

    Args:
        target: the queue.
        region: of its pools and jobs.
        dry_run: find out only.
        json: print one document.
    """
    names = queue_names(target)
    with open_homes(names, needed_region(region)) as homes:
        changes = homes.stops()
        if not dry_run:
            homes.stop()
    ChangeReport(names.url, changes, dry_run=dry_run).print(json=json)
