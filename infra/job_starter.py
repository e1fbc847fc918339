"""Start of job tasks by the scaling policy: as many workers as the ledgers say are worth it.

Workers of jobs end by themselves when they are idle, so that nothing has to stop them.
"""

from collections.abc import Sequence
from contextlib import closing

from delivery.broker.pubsub_names import PubSubNames
from delivery.messages import now
from infra.changes import Action, Change
from infra.defaults import Home
from infra.job_client import JobClient
from infra.pool_client import FoundPool
from infra.pool_resources import PoolResources
from infra.pools import TIER_LABEL
from infra.queue_runs import QueueRuns
from infra.scaling_policy import Caps, desired_counts
from infra.tiers_left import left_by_tier
from memmodel.tiers import tier_of
from runtime.errors import UsageError
from runtime.text import counted


def start_tasks(
    names: PubSubNames, region: str, roots: Sequence[str], caps: Caps, *, dry_run: bool
) -> list[Change]:
    """Run tasks of each tier's job; what is started.

    Args:
        names: of the queue.
        region: of the jobs.
        roots: state roots of the queue's runs.
        caps: upper limits.
        dry_run: start nothing.

    Raises:
        UsageError: the queue has no jobs.
    """
    client = JobClient(f"projects/{names.project}/locations/{region}")
    with closing(client):
        jobs = PoolResources(client, names, Home.JOBS).own()
        wanted = _wanted(names, jobs, roots, caps)
        changes = [_change(job, wanted[job.labels[TIER_LABEL]]) for job in jobs]
        begun = [
            client.set_count(job, wanted[job.labels[TIER_LABEL]])
            for job, change in zip(jobs, changes, strict=True)
            if change.action is Action.UPDATE and not dry_run
        ]
        client.run.wait(begun)
    return changes


def _wanted(
    names: PubSubNames, jobs: Sequence[FoundPool], roots: Sequence[str], caps: Caps
) -> dict[str, int]:
    if not jobs:
        raise UsageError(
            f"{names.url} has no jobs", hint="`python -m infra up --home jobs` makes them"
        )
    tiers = sorted(
        (tier_of(job.labels[TIER_LABEL]) for job in jobs), key=lambda tier: tier.limit_bytes
    )
    running = {job.labels[TIER_LABEL]: job.count for job in jobs}
    left = left_by_tier(QueueRuns(names.url, roots).read(all_again=True), now())
    return desired_counts(tiers, running, left, {}, caps)


def _change(job: FoundPool, count: int) -> Change:
    if count <= job.count:  # those that run end by themselves
        return Change(Action.OK, Home.JOBS.kind, job.pool_id, _running(job.count))
    note = f"{_running(job.count) or 'nothing runs'}; {counted(count - job.count, 'task')} more"
    return Change(Action.UPDATE, Home.JOBS.kind, job.pool_id, note)


def _running(count: int) -> str:
    return f"{counted(count, 'task')} running" if count else ""
