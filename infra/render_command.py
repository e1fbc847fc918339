"""`infra render`: the same workers as text for other engines."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from delivery.broker.pubsub_names import PubSubNames
from infra import options
from infra.bucket_findings import Use
from infra.places import places
from infra.pool_configuration import pool_settings, state_root
from infra.pools import IDLE_S, Home, PoolSettings
from infra.render import crema, kubernetes, slurm, terraform
from infra.render.workers import Workers
from infra.scaling_policy import DEFAULT_PER_TIER
from memmodel.tiers import parse_tiers
from runtime import cli, common_options, settings
from runtime.errors import UsageError
from runtime.urls import is_remote, split_bucket

_PUBSUB: Final = "pubsub:"


class Engine(StrEnum):
    """What the text is for; the value is what users call it."""

    KUBERNETES = "kubernetes"
    SLURM = "slurm"
    TERRAFORM = "terraform"
    CREMA = "crema"


EngineArgument = Annotated[
    Engine,
    typer.Argument(
        metavar="kubernetes|slurm|terraform|crema",
        help="Jobs, an array script, or examples for Terraform and CREMA.",
        show_default=False,
    ),
]
PerTierOption = Annotated[
    int,
    typer.Option(
        "--max-per-tier",
        envvar=settings.MAX_INSTANCES_PER_TIER,
        min=1,
        metavar="N",
        help="Workers of each tier, at most.",
    ),
]
SpotOption = Annotated[
    bool,
    typer.Option("--spot/--no-spot", help="Kubernetes: on GKE's Spot nodes only, or on any nodes."),
]
IdleOption = Annotated[
    int,
    typer.Option(
        "--until-idle",
        metavar="SECONDS",
        min=0,
        help="Kubernetes and SLURM: without a message, before a worker ends.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write it there instead of stdout."),
]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(render)


def render(
    engine: EngineArgument,
    *,
    queue: options.QueueOption = None,
    project: common_options.ProjectOption = None,
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S,
    region: options.RegionOption = None,
    image: options.ImageOption = None,
    worker_account: options.AccountOption = None,
    source: common_options.OptionalSourceOption = None,
    dest: common_options.OptionalDestOption = None,
    state: common_options.StateOption = None,
    per_tier: PerTierOption = DEFAULT_PER_TIER,
    until_idle: IdleOption = IDLE_S,
    spot: SpotOption = True,
    out: OutOption = None,
) -> None:
    """Print the workers of a queue as text for another engine; nothing is made.

    Example: python -m infra render kubernetes --max-per-tier 50 --out workers.yaml
    """
    found = places(source, dest, state)
    if state_root(found[Use.STATE]) is None:
        raise UsageError(
            "which runs may the workers serve? No state root is given",
            hint="set STATE_PATH or DEST_PATH, or pass --state gs://BUCKET/PREFIX",
        )
    pools = pool_settings(  # what the workers have in common, as in our own pools
        _names(queue, project, base_name),
        region or "",
        image=image,
        account=worker_account,
        state=found[Use.STATE],
        tiers=tiers,
        lease_s=lease,
        home=Home.POOLS,
    )
    workers = Workers(
        names=pools.names,
        tiers=list(parse_tiers(tiers)),
        image=image,
        account=pools.service_account,
        environment=pools.environment,
        per_tier=per_tier,
        region=region,
        lease_s=lease,
        idle_s=until_idle,
    )
    buckets = {
        use: split_bucket(place)[0] if place and is_remote(place) else None
        for use, place in found.items()
    }
    _write(_text(engine, workers, pools, buckets, spot=spot), out)


def _text(
    engine: Engine,
    workers: Workers,
    pools: PoolSettings,
    buckets: dict[Use, str | None],
    *,
    spot: bool,
) -> str:
    match engine:
        case Engine.KUBERNETES:
            return kubernetes.render(workers, spot=spot)
        case Engine.SLURM:
            return slurm.render(workers)
        case Engine.CREMA:
            return crema.render(workers, _region(workers.region))
        case Engine.TERRAFORM:
            _region(workers.region)
            if not workers.image:
                raise UsageError(
                    "which image do the pools run?",
                    hint="pass --image IMAGE@DIGEST, or set WORKER_IMAGE",
                )
            return terraform.render(workers, pools, buckets)


def _names(queue: str | None, project: str | None, base_name: str) -> PubSubNames:
    """The queue, which workers on several machines share.

    Raises:
        UsageError: a file cannot be shared.
    """
    if queue is not None and not queue.startswith(_PUBSUB):
        raise UsageError(
            f"workers of several machines cannot share {queue}: SQLite does not work over NFS",
            hint="pass --queue pubsub://PROJECT_ID/PREFIX; on one node: python -m consumer fleet",
        )
    if queue is None and project is None:
        raise UsageError(
            "which queue do the workers serve?",
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


def _write(text: str, out: Path | None) -> None:
    if out is None:
        cli.print_lines(text.rstrip("\n"))
        return
    try:
        out.write_text(text.rstrip("\n") + "\n")
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written: {error.strerror}", hint="choose another path for --out"
        ) from error
    cli.print_stderr(f"written: {out}")
