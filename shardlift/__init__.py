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


def __getattr__(name: str) -> str:
    """`__version__`, found when it is used: package metadata takes as long as all else here."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - see above

    return version("shardlift")
