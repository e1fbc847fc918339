"""What every command line shares: common options, and errors as one line, a hint and an exit code.

A program's `__main__` ends in `run(app)`. A command returns nothing when all went well and raises
`typer.Exit(code)` for another exit code; it never prints an error itself.
"""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from runtime import log, settings
from runtime.errors import (
    EXIT_DONE,
    EXIT_FINDINGS,
    EXIT_INTERRUPTED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    ShardliftError,
)

_PLACE: Final = "DIR|gs://BUCKET/PREFIX"

SourceOption = Annotated[
    str,
    typer.Option(
        "--source",
        envvar=settings.SOURCE_PATH,
        metavar=_PLACE,
        help="The DVID export: the folder that holds s0/, s1/, ... with .arrow files in them.",
    ),
]
DestOption = Annotated[
    str,
    typer.Option(
        "--dest",
        envvar=settings.DEST_PATH,
        metavar=_PLACE,
        help="The Neuroglancer volume: info and shard files appear here.",
    ),
]
OptionalDestOption = Annotated[str | None, DestOption.__metadata__[0]]
SpecOption = Annotated[
    str,
    typer.Option(
        "--spec",
        envvar=settings.NG_SPEC_PATH,
        metavar="FILE",
        help="The volume's spec (JSON), as given to DVID or made by `producer spec`.",
    ),
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        envvar=settings.STATE_PATH,
        metavar=_PLACE,
        help="Where runs keep their plans and receipts. Default: the destination + '.runs'.",
    ),
]
QueueOption = Annotated[
    str,
    typer.Option(
        "--queue",
        envvar=settings.QUEUE_URL,
        metavar="URL",
        help="The queue: sqlite:FILE on one machine, or pubsub://PROJECT_ID/PREFIX.",
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
ScalesOption = Annotated[
    str,
    typer.Option(
        "--scales",
        envvar=settings.SCALES,
        metavar="N,N,...",
        help="Scales to convert from the export, such as 0 or 0,1 or 0-2.",
    ),
]
DownresOption = Annotated[
    str,
    typer.Option(
        "--downres",
        envvar=settings.DOWNRES_SCALES,
        metavar="N,N,...|none",
        help="Scales to make from the scale before each, as soon as its shards are done.",
    ),
]
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
        help="A silent worker's shard goes to another after so long; long shards renew it.",
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
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        envvar=settings.REGION,
        metavar="REGION",
        help="One region for source, destination and workers, such as us-central1.",
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


def new_app(text: str) -> typer.Typer:
    """A program or a group of commands that `run` can run.

    Args:
        text: what it is for; the first lines of its `--help`.
    """
    return typer.Typer(
        help=text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # `run` reports errors
        rich_markup_mode=None,  # brackets in a help text are brackets
    )


def run(
    app: typer.Typer,
    exit_codes: Mapping[type[Exception], int] | None = None,
    *,
    log_level: str = "info",
) -> NoReturn:
    """Run a program and exit as documented: no known error ends in a traceback.

    Args:
        app: the program.
        exit_codes: exit codes of other rooms' errors, which this room does not know; each is
            shown as its own text.
        log_level: where LOG_LEVEL is not set; a program that tells people how it goes logs less.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    code = EXIT_FINDINGS
    try:
        settings.load_dotenv()
        log.configure(level=log_level)
        code = _exit_code(app(standalone_mode=False))
    except Exception as error:  # noqa: BLE001 - the one place where errors become exit codes
        code = _report(error, exit_codes or {})
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        _say("interrupted")
    _flush_and_exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does, so that it cleans up; a worker has its own way."""
    raise KeyboardInterrupt


def _exit_code(returned: object) -> int:
    """Typer returns the code of a `typer.Exit`, else what the command itself returned."""
    return returned if isinstance(returned, int) else EXIT_DONE


def _report(error: Exception, exit_codes: Mapping[type[Exception], int]) -> int:
    """Say what went wrong in a line or two; the exit code it means."""
    log.trace(error)
    if isinstance(error, typer.Abort):
        return EXIT_INTERRUPTED
    if isinstance(error, ShardliftError):
        _say_error(str(error), error.hint)
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":  # its text is the whole help
        _say(error.format_message())  # type: ignore[attr-defined] # one of Typer's own
        return EXIT_USAGE
    if hasattr(error, "format_message"):  # Typer's own, whatever library its version keeps it in
        _say_error(error.format_message(), _usage_hint(error))
        return EXIT_USAGE
    for kind, code in exit_codes.items():
        if isinstance(error, kind):
            _say_error(str(error))
            return code
    return _report_unknown(error)


def _report_unknown(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
        return EXIT_DONE
    if isinstance(error, OSError) and error.strerror:
        _say_error(": ".join(filter(None, [error.strerror, _text(error.filename)])))
        return EXIT_UNREACHABLE
    first = str(error).splitlines()[0] if str(error) else ""
    place = _keep_traceback(error)
    _say_error(f"{type(error).__name__}: {first}".rstrip(": "), f"a bug; its traceback: {place}")
    return EXIT_FINDINGS


def _text(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else ""


def _usage_hint(error: Exception) -> str | None:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help shows what it takes" if context else None


def _keep_traceback(error: Exception) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="shardlift-", suffix=".traceback", delete=False, encoding="utf-8"
    ) as file:
        file.writelines(traceback.format_exception(error))
    return file.name


def _say_error(message: str, hint: str | None = None) -> None:
    _say(f"error: {' '.join(message.split())}")
    if hint:
        _say(f"hint: {' '.join(hint.split())}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - the one place that talks of errors


def _flush_and_exit(code: int) -> NoReturn:
    """Exit without a complaint when nobody reads our output any more (`... | head`)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def parse_scales(text: str, option: str = "--scales") -> tuple[int, ...]:
    """Scale numbers of `0`, `0,1` or `1-4`, ascending and without repeats.

    Raises:
        typer.BadParameter: the text is none of these.
    """
    scales: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise typer.BadParameter(
                f"expected scale numbers such as 0,1 or 1-4, found {text!r}", param_hint=option
            )
        scales.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(scales))
