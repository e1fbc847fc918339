"""Options that commands of the producer share."""

from typing import Annotated, Final

import typer

_MOST_WORKERS: Final = 256

RunQueueOption = Annotated[
    str | None,
    typer.Option("--queue", metavar="URL", help="The queue. Default: the one of the run."),
]
TierOption = Annotated[
    str | None, typer.Option("--tier", metavar="NAME", help="Where to, such as 16gi.")
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", min=1, max=_MOST_WORKERS, metavar="N", help="Files to read at a time."
    ),
]
