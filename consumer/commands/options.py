"""Options of the commands that make shards."""

from typing import Annotated

import typer

from consumer.worker.slots import MOST_SLOTS
from runtime import settings

TierOption = Annotated[
    str, typer.Option("--tier", metavar="NAME", help="The tier to serve, such as 4gi or 512mi.")
]
DrainedOption = Annotated[
    bool, typer.Option("--until-drained", help="End when every known run has ended.")
]
IdleOption = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        min=0,
        metavar="SECONDS",
        help="End when no message came for so long; for jobs, which are paid until they end.",
    ),
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
CpusOption = Annotated[
    int | None,
    typer.Option("--cpus", min=1, metavar="N", help="Workers at once. Default: all CPUs."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, metavar="N", help="Threads per shard, at most. Default: all CPUs."
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
# Without `envvar`, which splits at blanks: the variable holds one place.
StatesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="DIR|gs://BUCKET/PREFIX",
        help="State root: only runs below it are served. May be repeated. Default: the "
        "destination + '.runs'; a queue in a file names further ones. "
        f"[env var: {settings.STATE_PATH}]",
        show_default=False,
    ),
]
OwnerOption = Annotated[
    int | None, typer.Option("--owner", hidden=True, help="Process id of the fleet.")
]
