"""Options that commands of several programs share.

Each is declared once, so that a place, a queue or a run is named in the same way everywhere.
"""

from typing import Annotated, Final

import typer
from typer.models import OptionInfo

from runtime import settings

MOST_SAMPLES: Final = 1_000_000_000  # what a library's number holds
_SCALE_DIGITS: Final = 3  # no volume has a thousand scales
_LOCATION: Final = "DIR|gs://BUCKET/PREFIX"

_SOURCE = typer.Option(
    "--source",
    envvar=settings.SOURCE_PATH,
    metavar=_LOCATION,
    help="The DVID export: the folder that holds s0/, s1/, ... with .arrow files in them.",
)
SourceOption = Annotated[str, _SOURCE]
OptionalSourceOption = Annotated[str | None, _SOURCE]
_DEST = typer.Option(
    "--dest",
    envvar=settings.DEST_PATH,
    metavar=_LOCATION,
    help="The Neuroglancer volume: info and shard files appear here.",
)
DestOption = Annotated[str, _DEST]
OptionalDestOption = Annotated[str | None, _DEST]
_SPEC = typer.Option(
    "--spec",
    envvar=settings.NG_SPEC_PATH,
    metavar="FILE",
    help="The volume's spec (JSON), as given to DVID or made by `spec`.",
)
SpecOption = Annotated[str, _SPEC]
OptionalSpecOption = Annotated[str | None, _SPEC]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        envvar=settings.STATE_PATH,
        metavar=_LOCATION,
        help="Where runs keep their plans and receipts. Default: the destination + '.runs'.",
    ),
]
QueueOption = Annotated[
    str | None,
    typer.Option(
        "--queue",
        envvar=settings.QUEUE_URL,
        metavar="URL",
        help="The queue: sqlite:FILE on one machine, or pubsub://PROJECT_ID/PREFIX. "
        f"Default: the queue of the run, else {settings.DEFAULT_QUEUE_URL}.",
    ),
]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="ID",
        help="The run. Default: the newest below the state root.",
    ),
]
TiersOption = Annotated[
    str,
    typer.Option(
        "--tiers",
        envvar=settings.TIERS,
        metavar="GIB,GIB,...",
        help="Worker sizes in GiB, one queue each. A shard starts on the smallest that holds it.",
    ),
]
_SCALES = typer.Option(
    "--scales",
    envvar=settings.SCALES,
    metavar="N,N,...",
    help="Scales to convert from the export, such as 0 or 0,1 or 0-2.",
)
ScalesOption = Annotated[str, _SCALES]
OptionalScalesOption = Annotated[str | None, _SCALES]
_DOWNRES = typer.Option(
    "--downres",
    envvar=settings.DOWNRES_SCALES,
    metavar="N,N,...|none",
    help="Scales to make from the scale before each, as soon as its shards are done.",
)
DownresOption = Annotated[str, _DOWNRES]
OptionalDownresOption = Annotated[str | None, _DOWNRES]
LabelTypeOption = Annotated[
    str,
    typer.Option(
        "--label-type",
        envvar=settings.LABEL_TYPE,
        metavar="labels|supervoxels",
        help="labels: bodies as proofread; supervoxels: the pieces they are merged from.",
    ),
]
LeaseOption = Annotated[
    int,
    typer.Option(
        "--lease",
        envvar=settings.LEASE_S,
        metavar="SECONDS",
        min=1,
        max=600,
        help="Lease: a silent worker's shard goes to another worker after it; workers renew it.",
    ),
]
GzipOption = Annotated[
    int,
    typer.Option(
        "--gzip-level",
        envvar=settings.GZIP_LEVEL,
        min=1,
        max=12,
        help="Effort of chunk compression: 1 is fast, 12 is small.",
    ),
]
ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project",
        envvar=settings.PROJECT_ID,
        metavar="PROJECT_ID",
        help="The Google Cloud project. Not needed on one machine.",
    ),
]
BaseNameOption = Annotated[
    str,
    typer.Option(
        "--base-name",
        envvar=settings.BASE_JOB_NAME,
        metavar="NAME",
        help="The first part of the names of all cloud resources.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask whether to go on.")]


def states(text: str) -> OptionInfo:
    """Option that names several state roots.

    Args:
        text: what they are for.
    """
    # Without `envvar`, which splits at blanks: the variable holds one place.
    option: OptionInfo = typer.Option(
        "--state",
        metavar=_LOCATION,
        help=f"{text} [env var: {settings.STATE_PATH}]",
        show_default=False,
    )
    return option


def parse_scales(text: str, option: str = "--scales") -> tuple[int, ...]:
    """Parse scale numbers such as `0`, `0,1` or `1-4`; ascending and without repeats.

    Raises:
        typer.BadParameter: the text has another form.
    """
    scales: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last) if dash else (first,)
        if not all(end.isdecimal() and len(end) <= _SCALE_DIGITS for end in ends):
            raise typer.BadParameter(
                f"expected scale numbers such as 0,1 or 1-4, found {text!r}", param_hint=option
            )
        scales.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(scales))
