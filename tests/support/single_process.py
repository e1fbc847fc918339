"""Command whose fleet works in its own process: `python -m tests.support.single_process ...`.

For tests that need a process of their own, with another environment, but not its children.
"""

import runpy
import sys

from tests.support.in_process_fleet import in_process_fleets

if __name__ == "__main__":
    sys.argv[0] = "producer"
    with in_process_fleets():
        runpy.run_module("producer", run_name="__main__")
