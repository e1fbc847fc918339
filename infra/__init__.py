"""Cloud resources of a queue, compared, created and deleted by `python -m infra`."""

import sys

# `python -m` searches the working directory first, where a user's `runtime.py` or `numpy.py` may
# lie. (A library's import leaves the path as it is.)
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path[0] != __file__.rsplit("/", 2)[0]:
    del sys.path[0]

from runtime.interrupts import end_when_started_alone

end_when_started_alone()

from runtime.interpreter import explain_missing_packages  # noqa: E402 - it takes time

explain_missing_packages()
