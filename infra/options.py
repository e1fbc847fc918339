"""Options that commands of infra share."""

from typing import Annotated

import typer

from infra.pools import Home
from runtime import settings

QueueOption = Annotated[
    str | None,
    typer.Option(
        "--queue",
        envvar=settings.QUEUE_URL,
        metavar="pubsub://PROJECT_ID/PREFIX",
        help="The queue. Default: made of PROJECT_ID and BASE_JOB_NAME.",
    ),
]
DownresOption = Annotated[
    str | None,
    typer.Option(
        "--downres",
        envvar=settings.DOWNRES_SCALES,
        metavar="N,N,...|none",
        help="Scales of a first run to make from the scale before each.",
    ),
]
CanaryOption = Annotated[
    bool,
    typer.Option(
        "--canary",
        help="Also start one instance of the smallest pool, with `--only pools` of each, for a "
        "sign of life.",
    ),
]
CanaryTimeoutOption = Annotated[
    float,
    typer.Option(
        "--canary-timeout",
        metavar="SECONDS",
        min=1,
        help="In which --canary waits for a sign of life.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done; change nothing.")
]
NumberOption = Annotated[
    int | None,
    typer.Option(
        "--project-number",
        metavar="NUMBER",
        help="Of the project, if it cannot be looked up. It names Pub/Sub's service account.",
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        envvar=settings.REGION,
        metavar="REGION",
        help="Of worker pools and new buckets, such as us-central1. Default: none are made.",
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        envvar=settings.WORKER_IMAGE,
        metavar="IMAGE@DIGEST",
        help="Container image of the workers. Default: `up` builds one of the sources of a clone.",
    ),
]
AccountOption = Annotated[
    str | None,
    typer.Option(
        "--worker-account",
        "--service-account",
        envvar=settings.WORKER_SERVICE_ACCOUNT,
        metavar="ADDRESS",
        help="Account of the workers, of your own. Default: shardlift-worker@..., which is made.",
    ),
]
AutoscalerAccountOption = Annotated[
    str | None,
    typer.Option(
        "--autoscaler-account",
        envvar=settings.AUTOSCALER_SERVICE_ACCOUNT,
        metavar="ADDRESS",
        help="Account of the autoscaler. Default: shardlift-autoscaler@..., which is made.",
    ),
]
BuildAccountOption = Annotated[
    str | None,
    typer.Option(
        "--build-account",
        envvar=settings.BUILD_SERVICE_ACCOUNT,
        metavar="ADDRESS",
        help="Account that builds the image. Default: shardlift-builder@..., which is made.",
    ),
]
HomeOption = Annotated[
    Home,
    typer.Option(
        "--home",
        help="Worker pools, which the autoscaler counts, or jobs, whose workers end when idle.",
    ),
]
OnlyOption = Annotated[
    str,
    typer.Option(
        "--only",
        metavar="PART,PART",
        help="Only some parts: apis, buckets, topics, accounts, image, pools.",
    ),
]
PerTierOption = Annotated[
    int,
    typer.Option(
        "--max-per-tier",
        envvar=settings.MAX_INSTANCES_PER_TIER,
        min=0,
        metavar="N",
        help="Tasks of each tier, at most.",
    ),
]
