"""Options of the commands that make shards, and the group that both share."""

from dataclasses import dataclass
from typing import Annotated

import typer

from consumer.defaults import MOST_SLOTS
from runtime import common_options, settings

DrainedOption = Annotated[
    bool, typer.Option("--until-drained", help="End when every known run has ended.")
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        envvar=settings.WORKER_MEMORY,
        metavar="SIZE",
        help="Memory that workers may use, such as 16GiB. Default: what is free.",
    ),
]
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--slots",
        envvar=settings.WORKER_SLOTS,
        min=1,
        max=MOST_SLOTS,
        metavar="N",
        help="Shards that a worker holds at once; half of them are in work, as far as its memory "
        "allows. Default: 8 per CPU where source, destination or state is in a bucket, else 1.",
    ),
]
StatesOption = Annotated[
    list[str] | None,
    common_options.states(
        "State root: only runs below it are served. May be repeated. Default: the "
        "destination + '.runs'; a queue in a file names further ones."
    ),
]


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """What a worker or a fleet serves, with what, and until when."""

    queue: common_options.QueueOption = None
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS
    run: common_options.RunOption = None
    state: StatesOption = None
    dest: common_options.OptionalDestOption = None
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S
    memory: MemoryOption = None
    slots: SlotsOption = None
    until_drained: DrainedOption = False
