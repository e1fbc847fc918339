"""Environments that commands meet: variables, streams, folders and limits of odd machines."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from tests.support.workspace import Workspace

VARIABLES: Final[Mapping[str, Mapping[str, str | None]]] = {
    "odd time zone": {"TZ": "Nowhere/At_All"},
    "absolute time zone": {"TZ": ":/etc/passwd"},
    "far time zone": {"TZ": "XYZ-23:59:59"},
    "unknown language": {"LANG": "xx_YY.nonsense", "LC_ALL": "xx_YY.nonsense"},
    "no home": {"HOME": None},
    "home is not absolute": {"HOME": "."},
    "home is not writable": {"HOME": "/proc"},
    "no temporary folder": {"TMPDIR": "/nowhere", "TEMP": None, "TMP": None},
    "one column": {"COLUMNS": "1", "LINES": "1"},
    "no columns": {"COLUMNS": "0", "LINES": "0"},
    "garbage columns": {"COLUMNS": "many", "LINES": "-3"},
    "huge columns": {"COLUMNS": "9" * 30},
    "no terminal type": {"TERM": None},
    "unknown terminal type": {"TERM": "dumb-ish"},
    "colours forced": {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"},
    "empty settings": dict.fromkeys(
        ("QUEUE_URL", "STATE_PATH", "DEST_PATH", "TIERS", "LEASE_S", "SCALES", "LOG_LEVEL"), ""
    ),
    "garbage settings": {"TIERS": "x", "LEASE_S": "soon", "GZIP_LEVEL": "-1", "LOG_FORMAT": "xml"},
    "huge numbers": {"LEASE_S": "9" * 5_000, "STORAGE_RETRY_S": "inf", "GZIP_LEVEL": "1e9"},
    "NUL-like paths": {"STATE_PATH": "/\udcff/\udcfe", "DEST_PATH": "\udce9"},
    "long paths": {"STATE_PATH": "/" + "d" * 300, "DEST_PATH": "/dddddddd" * 600},
    "no path": {"PATH": None},
}
"""Variables to set, or to take away (None)."""

INTERPRETER: Final[Mapping[str, Mapping[str, str]]] = {
    "optimized": {"PYTHONOPTIMIZE": "2"},
    "safe path": {"PYTHONSAFEPATH": "1"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
    "C locale": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "POSIX locale": {"LC_ALL": "POSIX"},
    "ASCII streams": {"PYTHONIOENCODING": "ascii:strict"},
    "unbuffered": {"PYTHONUNBUFFERED": "1"},
    "development mode": {"PYTHONDEVMODE": "1"},
    "no byte code": {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"},
}
"""Variables that only a new interpreter reads."""

SHELL: Final[Mapping[str, str]] = {
    "no stdin": '"$@" <&-',
    "no stdout": '"$@" >&-',
    "no stderr": '"$@" 2>&-',
    "no streams": '"$@" <&- >&- 2>&-',
    "full stdout": '"$@" >/dev/full',
    "full stderr": '"$@" 2>/dev/full',
    "full streams": '"$@" >/dev/full 2>/dev/full',
    "reader gone": '"$@" | true; exit ${PIPESTATUS[0]}',
    "readers gone": '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}',
    "streams the wrong way": '"$@" 0>/dev/null 1</dev/null 2</dev/null',
    "stdin is a folder": '"$@" </',
    "further descriptors": 'exec 3</dev/null 4>/dev/null 9</dev/zero; "$@"',
    "umask 077": 'umask 077; "$@"',
    "umask 0": 'umask 0; "$@"',
    "umask 777": 'umask 777; "$@"',
    "deleted folder": 'mkdir -p "gone-$$"; cd "gone-$$"; rmdir "../gone-$$"; "$@"',
    "folder not writable": 'cd /proc; "$@"',
    "few files": 'ulimit -n 24; "$@"',
    "no core, small stack": 'ulimit -c 0 -s 1024; "$@"',
    "hang-up ignored": 'trap "" HUP; "$@"',
    "broken pipe ignored": 'trap "" PIPE; "$@" | true; exit ${PIPESTATUS[0]}',
    "no environment": f'env -i {shlex.quote(sys.executable)} "${{@:2}}"',
}
"""Shell commands that start the program `"$@"`."""


def reading_commands(workspace: Workspace) -> Sequence[tuple[str, ...]]:
    """Commands of all four programs on a finished run; none changes it."""
    folder = workspace.folder
    dest = ("--dest", str(workspace.volume))
    export, spec = str(workspace.export), str(folder / "spec.json")
    given = ("--source", export, *dest, "--spec", spec, "--tiers", "0.5")
    arrow = str(workspace.arrow())
    return (
        ("producer", "--help"),
        ("producer",),
        ("producer", "enqueue", "--help"),
        ("producer", "spec", "--size", "64,64,64", "--resolution", "8,8,8"),
        ("producer", "init", "--spec", spec, *dest),
        ("producer", "validate", "--source", export, "--spec", spec),
        ("producer", "offsets", "--source", export),
        ("producer", "enqueue", *given, "--scales", "0", "--dry-run"),
        ("producer", "enqueue", *given, "--scales", "x"),
        ("producer", "runs", *dest),
        ("producer", "runs", *dest, "--json"),
        ("producer", "status", *dest),
        ("producer", "status", *dest, "--json"),
        ("producer", "status", *dest, "--watch"),
        ("producer", "errors", *dest, "--details"),
        ("producer", "dead-letters", "list", *dest),
        ("producer", "dead-letters", "show", "s0/0", *dest),
        ("producer", "replay", "--missing", *dest),
        ("producer", "verify", *dest, "--values", "1"),
        ("producer", "report", *dest, "--out", str(folder / "report.html")),
        ("producer", "view", "--dest", str(folder / "nothing"), "--no-browser"),
        ("producer", "nonsense"),
        ("consumer", "--help"),
        ("consumer", "work", *dest, "--tier", "512mi", "--until-drained"),
        ("consumer", "work", *dest, "--tier", "nonsense"),
        ("consumer", "fleet", *dest, "--until-drained", "--memory", "1GiB"),
        ("memmodel", "estimate", arrow, "--spec", spec),
        ("memmodel", "labels", *dest),
        ("memmodel", "fit", *dest, "--out", str(folder / "fitted.json")),
        ("shardlift", "--help"),
        ("shardlift", "doctor", *dest),
        ("shardlift", "settings"),
        ("infra", "--help"),
        ("infra", "check"),
        ("infra", "up", "--dry-run"),
    )
