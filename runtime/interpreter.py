"""Python interpreter of this process: its name in commands that are printed, packages it lacks.

Imports hardly anything, because it speaks where nothing else is installed.
"""

import contextlib
import os
import re
import shlex
import shutil
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn

from runtime.errors import EXIT_UNREACHABLE, EXIT_USAGE
from runtime.text import printable

_WRITTEN: Final = re.compile(r"(?<![\w/.-])python (?=-m )")  # in messages and docs
_NAME: Final = "shardlift"
_GROUPS: Final = {"memmodel": "memory ", "infra": "infra "}  # others have no word of their own
_COMMAND: Final = re.compile(r"(?<![\w/.-])python -m (producer|consumer|memmodel|infra|shardlift) ")
_ROOT: Final = Path(__file__).resolve().parents[1]
_OWN_COMMAND: Final = "SHARDLIFT_COMMAND"  # variable of processes that `shardlift` starts
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

    The one place that decides how a command is printed: `shardlift status` where this process, or
    the one that started it, was started as `shardlift`, else `python -m producer status`. Both are
    named as a shell finds the same one, by a path where it would find none or another.
    """
    if not _WRITTEN.search(text):  # most texts, of each event of a log
        return text
    if own := _own_command():
        text = _by(own, text)
    return _WRITTEN.sub(lambda _: f"{python()} ", text)


def as_named(text: str) -> str:
    """A text whose commands begin with `python -m`, as they work where the environment is active.

    For files that run elsewhere: as `as_typed`, without a path of this machine.
    """
    own = _own_command()
    if own is None:
        return text
    return _by(f"python -m {_NAME}" if own.endswith(f"-m {_NAME}") else _NAME, text)


def _by(own: str, text: str) -> str:
    """A text whose commands begin with `shardlift`, as it is named."""
    return _COMMAND.sub(lambda found: f"{own} {_GROUPS.get(found[1], '')}", text)


def _own_command() -> str | None:
    """`shardlift` as it was typed, if this process or the one above was started so; else None."""
    started = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    if started is None or _NAME not in (started.name, started.parent.name):
        return os.environ.get(_OWN_COMMAND) or None
    if started.name != _NAME:  # .../shardlift/__main__.py
        return f"{python()} -m {_NAME}" if started.stem == "__main__" else None
    found = shutil.which(_NAME)
    if not started.is_file() or (found and _same(Path(found), started)):
        return _NAME
    return shlex.quote(_near(started.absolute()))


def _near(path: Path) -> str:
    """A path as it is typed in the working directory, relative where it is below."""
    try:
        here = Path.cwd()
    except OSError:  # the working directory was deleted
        return str(path)
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def python() -> str:
    """The interpreter of this process as a shell starts it from the working directory."""
    if not sys.executable:
        return "python"
    own = Path(sys.executable)
    with contextlib.suppress(OSError):  # the working directory was deleted
        for name in ("python", "python3"):
            if (found := shutil.which(name)) and _same(Path(found), own):
                return name
    return shlex.quote(_near(own))


def module_command(module: str) -> tuple[str, ...]:
    """Command that runs a module of ours in a process of its own.

    `-P`: the working directory is not searched for modules. A user's `consumer.py` or `types.py`
    there would be run in place of ours or of Python's own.
    """
    return (sys.executable, "-P", "-m", module)


def module_environment() -> dict[str, str]:
    """Environment for `module_command`: ours is found also in a checkout that is not installed.

    And what the process prints for people begins as the command that they typed.
    """
    # numpy's OpenBLAS starts a thread for each CPU, which serve nothing here; where a thread
    # cannot be had, it interrupts the process.
    found = {"OPENBLAS_NUM_THREADS": "1", **os.environ}
    searched = sys.path if sys.flags.safe_path else sys.path[1:]
    if str(_ROOT) not in map(os.path.realpath, searched):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), found.get("PYTHONPATH")]))
    if own := _own_command():
        found[_OWN_COMMAND] = own
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


def start_failure(error: BaseException) -> tuple[str, str] | None:
    """Message and hint for a library that cannot be loaded; None for errors of other kinds."""
    kinds = ImportError | MemoryError | OSError
    if not isinstance(error, kinds) and not _failed_in_import(error):
        return None
    if _is_ours(error):
        return None
    what = str(error) or type(error).__name__
    return f"{sys.executable} cannot start this program: {what}", _START_HINT


def import_failure(error: BaseException) -> tuple[str, str] | None:
    """As `start_failure`, of an import that a command made when it ran; else None."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_name != "<module>":
        trace = trace.tb_next
    imports = trace is not None or isinstance(error, ImportError | SystemError)
    return start_failure(error) if imports else None


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if found := missing_package(error):
        _end(*found, EXIT_USAGE)
    if found := start_failure(error):
        _end(*found, EXIT_UNREACHABLE)
    sys.__excepthook__(kind, error, trace)


def _failed_in_import(error: BaseException) -> bool:
    """Whether Python's own import system failed, which without memory ends in a SystemError."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1].filename if frames else ""
    return isinstance(error, SystemError) and last.startswith("<frozen importlib")


def _is_ours(error: BaseException) -> bool:
    """Whether a module of ours lacks a name: a bug, whose traceback says more."""
    name = getattr(error, "name", None) or ""
    return name.partition(".")[0] in _OURS


def _end(message: str, hint: str, code: int) -> NoReturn:
    sys.stderr.write(f"error: {printable(' '.join(message.split()))}\nhint: {printable(hint)}\n")
    sys.stderr.flush()
    os._exit(code)  # an excepthook cannot choose the exit code otherwise
