"""`infra autoscale`: set the instances of worker pools by what the ledgers say is left."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.broker.pubsub_names import PubSubNames
from infra import queue_pools
from infra.autoscaler import Autoscaler, Look
from infra.documents import AutoscaleDocument, InstancesDocument
from infra.options import QueueOption, RegionOption
from infra.pool_client import PoolClient
from infra.queue_runs import QueueRuns
from infra.scaling_policy import DEFAULT_PER_TIER, Caps
from memmodel.tiers import parse_tiers, tier_of
from runtime import cli, common_options, log, settings
from runtime.errors import EXIT_FINDINGS, UnreachableError, UsageError
from runtime.text import counted

POLL_S: Final = 30.0
OVERDUE_POLLS: Final = 6  # after which nothing seems to watch the pools
CRON_S: Final = 900.0  # likewise after `--once`

_log = log.get()

StatesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="DIR|gs://BUCKET/PREFIX",
        help=f"State root of the queue's runs. May be repeated. [env var: {settings.STATE_PATH}]",
        show_default=False,
    ),
]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.command()(autoscale)
    parent.command()(instances)


def autoscale(
    *,
    queue: QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    region: RegionOption = None,
    state: StatesOption = None,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, as from cron, instead of until the end.")
    ] = False,
    start: Annotated[
        bool,
        typer.Option("--start", help="Also start the autoscaler's own pool; `enqueue` does this."),
    ] = False,
    until_stopped: Annotated[
        bool,
        typer.Option(
            "--until-stopped", help="Look until SIGTERM, also after the end: for a pool of its own."
        ),
    ] = False,
    poll: Annotated[
        float, typer.Option("--poll", metavar="SECONDS", min=0.05, help="Between two looks.")
    ] = POLL_S,
    per_tier: Annotated[
        int,
        typer.Option(
            "--max-per-tier",
            envvar=settings.MAX_INSTANCES_PER_TIER,
            min=0,
            metavar="N",
            help="Instances of each tier, at most.",
        ),
    ] = DEFAULT_PER_TIER,
    total: Annotated[
        int | None,
        typer.Option(
            "--max-instances",
            envvar=settings.MAX_INSTANCES,
            min=0,
            metavar="N",
            help="Instances in all, at most.",
        ),
    ] = None,
    dollars: Annotated[
        float | None,
        typer.Option(
            "--max-dollars-per-hour",
            envvar=settings.MAX_DOLLARS_PER_HOUR,
            min=0,
            metavar="DOLLARS",
            help="Of all instances at list prices, at most.",
        ),
    ] = None,
    vcpus: Annotated[
        int | None,
        typer.Option(
            "--max-vcpus",
            envvar=settings.MAX_VCPUS,
            min=0,
            metavar="N",
            help="Of all instances: the region's quota.",
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            "--max-memory-gib",
            envvar=settings.MAX_MEMORY_GIB,
            min=0,
            metavar="GIB",
            help="Likewise.",
        ),
    ] = None,
    json: common_options.JsonOption = False,
) -> None:
    """Set the instances of a queue's worker pools by what the ledgers of its runs say is left.

    Up at about four shards an instance, never down while a tier has work, to 0 as soon as nothing
    is left. The command ends when all runs have ended and all pools are at 0; its own pool, too.

    Example: python -m infra autoscale --once
    """
    caps = Caps(
        per_tier,
        total=_limit(total),
        dollars_per_hour=_limit(dollars),
        vcpus=_limit(vcpus),
        memory_gib=_limit(memory),
    )
    names = _names(queue, project, base_name)
    with _open(
        names,
        region,
        _roots(state),
        tiers=tiers,
        lease_s=lease,
        caps=caps,
        in_own_pool=until_stopped,
    ) as autoscaler:
        if once:
            watched_s = OVERDUE_POLLS * POLL_S if start else CRON_S
            _print(names, autoscaler.tick(watched_s, start=start), json=json)
        else:
            _loop(autoscaler, poll, start=start, until_stopped=until_stopped)
        if autoscaler.given_up:
            cli.print_stderr(f"given up: {autoscaler.given_up}")
            raise typer.Exit(EXIT_FINDINGS)


def instances(
    *,
    queue: QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    region: RegionOption = None,
    json: common_options.JsonOption = False,
) -> None:
    """Show the instances that the worker pools of a queue have now, and dollars per hour.

    Example: python -m infra instances --queue pubsub://my-project/brain --region us-central1
    """
    names = _names(queue, project, base_name)
    client = PoolClient(_parent(names, region))
    try:
        pools = queue_pools.read_pools(client, names)
    finally:
        client.close()
    watching = pools.own is not None and pools.own.count > 0
    if json:
        document = InstancesDocument(
            queue=names.url,
            counts=dict(pools.counts),
            dollars_per_hour=queue_pools.dollars_per_hour(pools.counts),
            autoscaler=pools.own.count if pools.own else None,
        )
        cli.print_document(document)
        return
    cli.print_line(f"{_counts(pools.counts)}{', the autoscaler runs' if watching else ''}")


def _loop(autoscaler: Autoscaler, poll_s: float, *, start: bool, until_stopped: bool) -> None:
    """Look again and again, until nothing is left and all pools are at 0."""
    watched_s = OVERDUE_POLLS * max(poll_s, POLL_S)
    while True:
        try:
            if autoscaler.tick(watched_s, start=start).over and not until_stopped:
                return
            start = False
        except UnreachableError as error:
            _log.warning(log.AUTOSCALING_FAILED, reason=str(error))
        time.sleep(poll_s)


@contextmanager
def _open(
    names: PubSubNames,
    region: str | None,
    roots: Sequence[str],
    *,
    tiers: str,
    lease_s: int,
    caps: Caps,
    in_own_pool: bool,
) -> Iterator[Autoscaler]:
    usual = {tier.name for tier in parse_tiers(tiers)}

    def open_with(more: Sequence[str]) -> Broker:
        sorted_names = sorted({*usual, *more}, key=lambda name: tier_of(name).limit_bytes)
        return open_broker(names.url, sorted_names, lease_s)

    client = PoolClient(_parent(names, region))
    autoscaler = Autoscaler(
        client,
        names,
        QueueRuns(names.url, roots),
        open_with,
        caps=caps,
        region=region or "",
        in_own_pool=in_own_pool,
    )
    try:
        yield autoscaler
    finally:
        autoscaler.close()


def _print(names: PubSubNames, look: Look, *, json: bool) -> None:
    left = None if look.left is None else {name: one.shards for name, one in look.left.items()}
    if json:
        document = AutoscaleDocument(
            queue=names.url, counts=dict(look.counts), left=left, over=look.over
        )
        cli.print_document(document)
        return
    shards = "unknown" if left is None else f"{sum(left.values()):,}"
    cli.print_line(f"{_counts(look.counts)}; shards left: {shards}")


def _counts(counts: Mapping[str, int]) -> str:
    running = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    whole = counted(sum(counts.values()), "instance")
    return f"{whole}{running and f' ({running})'}, ${queue_pools.dollars_per_hour(counts):.2f}/h"


def _names(queue: str | None, project: str | None, base_name: str) -> PubSubNames:
    if queue is None and project is None:
        raise UsageError(
            "which queue? Worker pools serve queues on Pub/Sub",
            hint="pass --queue pubsub://PROJECT_ID/PREFIX, or set PROJECT_ID",
        )
    return PubSubNames.parse(queue or f"pubsub://{project}/{base_name}")


def _parent(names: PubSubNames, region: str | None) -> str:
    if region is None:
        raise UsageError("which region? Pass --region, or set REGION: that of the pools")
    return f"projects/{names.project}/locations/{region}"


def _roots(state: list[str] | None) -> Sequence[str]:
    given = settings.get(settings.STATE_PATH)
    roots = state or ([given] if given else [])
    if not roots:
        raise UsageError(
            "where are the runs of the queue? No state root is given",
            hint="pass --state, or set STATE_PATH; several: --state ROOT --state ROOT",
        )
    return roots


def _limit(value: float | None) -> float:
    return math.inf if value is None else value
