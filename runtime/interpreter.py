"""Python interpreter of this process: its name in commands that are printed, packages it lacks.

Imports hardly anything, because it speaks where nothing else is installed.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn

from runtime.errors import EXIT_UNREACHABLE, EXIT_USAGE
from runtime.text import printable

_WRITTEN: Final = re.compile(r"(?<![\w/.-])python (?=-m )")  # in messages and docs
_ROOT: Final = Path(__file__).resolve().parents[1]
_MADE: Final = ".venv/bin/python"  # by `make demo`
_START_HINT: Final = (
    "is its memory, address space or number of files limited (ulimit -v, -n)? "
    "else install its packages again"
)
_OURS: Final = (
    "braid",
    "consumer",
    "delivery",
    "infra",
    "memmodel",
    "producer",
    "runtime",
    "shardlift",
)


def as_typed(text: str) -> str:
    """A text whose commands begin with `python -m`, as they work in the working directory.

    They name the interpreter that runs now, relative where it is below the working directory;
    `python` stays where a shell would start the same one.
    """
    return _WRITTEN.sub(lambda _: f"{python()} ", text)


def python() -> str:
    """The interpreter of this process as a shell starts it from the working directory."""
    if not sys.executable:
        return "python"
    own = Path(sys.executable)
    try:
        for name in ("python", "python3"):
            if (found := shutil.which(name)) and _same(Path(found), own):
                return name
        here = Path.cwd()
    except OSError:  # the working directory was deleted
        return shlex.quote(str(own))
    return shlex.quote(str(own.relative_to(here) if own.is_relative_to(here) else own))


def module_command(module: str) -> tuple[str, ...]:
    """Command that runs a module of ours in a process of its own.

    `-P`: the working directory is not searched for modules. A user's `consumer.py` or `types.py`
    there would be run in place of ours or of Python's own.
    """
    return (sys.executable, "-P", "-m", module)


def module_environment() -> dict[str, str]:
    """Environment for `module_command`: ours is found also in a checkout that is not installed."""
    # numpy's OpenBLAS starts a thread for each CPU, which serve nothing here; where a thread
    # cannot be had, it interrupts the process.
    found = {"OPENBLAS_NUM_THREADS": "1", **os.environ}
    searched = sys.path if sys.flags.safe_path else sys.path[1:]
    if str(_ROOT) not in map(os.path.realpath, searched):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), found.get("PYTHONPATH")]))
    return found


def _same(one: Path, other: Path) -> bool:
    """Whether two names start the same environment: the link's folder decides that, too."""
    return one.parent.resolve() == other.parent.resolve() and one.resolve() == other.resolve()


def missing_package(error: BaseException) -> tuple[str, str] | None:
    """Message and hint for a package that this interpreter lacks; None for other errors."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    if package in _OURS:
        return None
    made = _ROOT / _MADE
    message = f"{sys.executable or 'this Python'} has no package {package}, which shardlift needs"
    if made.exists() and not _same(made, Path(sys.executable)):
        here = Path(_MADE)
        shown = _MADE if here.exists() and _same(here, made) else shlex.quote(str(made))
        return message, f"the same command with shardlift's own: {_same_command(shown)}"
    install = shlex.join([sys.executable or "python", "-m", "pip", "install", "-e", str(_ROOT)])
    return message, f"install shardlift and what it needs: {install}"


def _same_command(interpreter: str) -> str:
    return f"{interpreter} {shlex.join(sys.orig_argv[1:])}"


def explain_missing_packages() -> None:
    """Let a program that ends in its imports, for want of a package, say so in two lines.

    Called by each program's package; of no effect where the package is imported as a library.
    """
    if sys.argv[:1] == ["-m"]:  # as long as Python looks for the program's `__main__`
        sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if found := missing_package(error):
        _end(*found, EXIT_USAGE)
    if isinstance(error, ImportError | MemoryError | OSError) and not _is_ours(error):
        what = str(error) or kind.__name__
        _end(f"{sys.executable} cannot start this program: {what}", _START_HINT, EXIT_UNREACHABLE)
    sys.__excepthook__(kind, error, trace)


def _is_ours(error: BaseException) -> bool:
    """Whether a module of ours lacks a name: a bug, whose traceback says more."""
    name = getattr(error, "name", None) or ""
    return name.partition(".")[0] in _OURS


def _end(message: str, hint: str, code: int) -> NoReturn:
    sys.stderr.write(f"error: {printable(' '.join(message.split()))}\nhint: {printable(hint)}\n")
    sys.stderr.flush()
    os._exit(code)  # an excepthook cannot choose the exit code otherwise
