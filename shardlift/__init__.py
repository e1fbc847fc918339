"""One front door to the programs: the command `shardlift`, and its version."""

import sys

# `python -m` searches the working directory first, where a user's `runtime.py` or `numpy.py` may
# lie. (A library's import leaves the path as it is.)
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path[0] != __file__.rsplit("/", 2)[0]:
    del sys.path[0]

from runtime.interrupts import end_when_started_alone

end_when_started_alone()

from runtime.interpreter import explain_missing_packages  # noqa: E402 - it takes time

explain_missing_packages()


TYPE_CHECKING = False  # typing's, without its import; type checkers know it
if TYPE_CHECKING:
    from runtime.errors import ShardliftError as Error
    from runtime.errors import UnreachableError, UsageError
    from shardlift.conversion import convert, open_run
    from shardlift.run import Run, RunFailedError
    from shardlift.small_export import demo_export
    from shardlift.volume_view import VolumeView

    __version__: str

__all__ = [
    "Error",
    "Run",
    "RunFailedError",
    "UnreachableError",
    "UsageError",
    "VolumeView",
    "__version__",
    "convert",
    "demo_export",
    "open_run",
]

_PLACES = {
    "Error": ("runtime.errors", "ShardliftError"),
    "Run": ("shardlift.run", "Run"),
    "RunFailedError": ("shardlift.run", "RunFailedError"),
    "UnreachableError": ("runtime.errors", "UnreachableError"),
    "UsageError": ("runtime.errors", "UsageError"),
    "VolumeView": ("shardlift.volume_view", "VolumeView"),
    "convert": ("shardlift.conversion", "convert"),
    "demo_export": ("shardlift.small_export", "demo_export"),
    "open_run": ("shardlift.conversion", "open_run"),
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are used: they take longer than all else here."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - see above

        return version("shardlift")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - likewise

    module, attribute = _PLACES[name]
    found: object = getattr(import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
