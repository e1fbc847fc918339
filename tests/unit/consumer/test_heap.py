"""Pages that a process returns to the system."""

import subprocess
import sys

import pytest

HOLES = """
from consumer import heap
from memmodel import process_memory

heap.make_lean()
blocks = [bytearray(b"x" * 100_000) for _ in range(1000)]
del blocks[:-1]  # the last one lies above them
before = process_memory.rss_bytes()
heap.trim()
print(before - process_memory.rss_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed pages that way")
def test_freed_pages_below_others_are_returned() -> None:
    """The heap ends with a block in use, so they would stay until it goes."""
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000
