"""Options of the commands of infra, and groups of them that commands share."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.models import OptionInfo

from infra.defaults import PER_TIER, Home
from runtime import common_options, settings

QueueOption = Annotated[
    str | None,
    typer.Option(
        "--queue",
        envvar=settings.QUEUE_URL,
        metavar="pubsub://PROJECT_ID/PREFIX",
        help="The queue. Default: made of PROJECT_ID and BASE_JOB_NAME.",
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
NumberOption = Annotated[
    int | None,
    typer.Option(
        "--project-number",
        metavar="NUMBER",
        help="Of the project, if it cannot be looked up. It names Pub/Sub's service account.",
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
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done; change nothing.")
]


def _account(*names: str, setting: str, text: str, default: str) -> OptionInfo:
    """Option that names a service account."""
    help_text = f"{text} Default: shardlift-{default}@..., which is made."
    option: OptionInfo = typer.Option(*names, envvar=setting, metavar="ADDRESS", help=help_text)
    return option


AccountOption = Annotated[
    str | None,
    _account(
        "--worker-account",
        "--service-account",
        setting=settings.WORKER_SERVICE_ACCOUNT,
        text="Account of the workers, of your own.",
        default="worker",
    ),
]
AutoscalerAccountOption = Annotated[
    str | None,
    _account(
        "--autoscaler-account",
        setting=settings.AUTOSCALER_SERVICE_ACCOUNT,
        text="Account of the autoscaler.",
        default="autoscaler",
    ),
]
BuildAccountOption = Annotated[
    str | None,
    _account(
        "--build-account",
        setting=settings.BUILD_SERVICE_ACCOUNT,
        text="Account that builds the image.",
        default="builder",
    ),
]


def _cap(name: str, setting: str, text: str, metavar: str = "N", *, least: int = 0) -> OptionInfo:
    """Option that limits workers."""
    option: OptionInfo = typer.Option(name, envvar=setting, min=least, metavar=metavar, help=text)
    return option


_PER_TIER = ("--max-per-tier", settings.MAX_INSTANCES_PER_TIER, "Workers of each tier, at most.")
PerTierOption = Annotated[int, _cap(*_PER_TIER)]
SomePerTierOption = Annotated[int, _cap(*_PER_TIER, least=1)]


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Which queue; its project and prefix where it has no URL yet."""

    queue: QueueOption = None
    project: common_options.ProjectOption = None
    base_name: common_options.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """Where the queue's runs read and write."""

    source: common_options.OptionalSourceOption = None
    dest: common_options.OptionalDestOption = None
    state: common_options.StateOption = None


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the workers of a queue have in common."""

    tiers: common_options.TiersOption = settings.DEFAULT_TIERS
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S
    region: RegionOption = None
    image: ImageOption = None
    worker_account: AccountOption = None


@dataclass(frozen=True, slots=True)
class ResourceOptions(WorkerOptions):
    """What the resources of a queue are."""

    project_number: NumberOption = None
    autoscaler_account: AutoscalerAccountOption = None
    build_account: BuildAccountOption = None
    home: HomeOption = Home.POOLS


@dataclass(frozen=True, slots=True)
class FirstRunOptions:
    """What a first run makes, for the command that starts it."""

    spec: common_options.OptionalSpecOption = None
    scales: common_options.OptionalScalesOption = None
    downres: common_options.OptionalDownresOption = None


@dataclass(frozen=True, slots=True)
class CapOptions:
    """Upper limits of the autoscaler; None where there is none."""

    per_tier: PerTierOption = PER_TIER
    total: Annotated[
        int | None, _cap("--max-instances", settings.MAX_INSTANCES, "Instances in all, at most.")
    ] = None
    dollars: Annotated[
        float | None,
        _cap(
            "--max-dollars-per-hour",
            settings.MAX_DOLLARS_PER_HOUR,
            "Of all instances at list prices, at most.",
            "DOLLARS",
        ),
    ] = None
    vcpus: Annotated[
        int | None,
        _cap("--max-vcpus", settings.MAX_VCPUS, "Of all instances: the region's quota."),
    ] = None
    memory: Annotated[
        float | None, _cap("--max-memory-gib", settings.MAX_MEMORY_GIB, "Likewise.", "GIB")
    ] = None
