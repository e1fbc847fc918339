"""Kernel tests on builds that trap every bad read, write and shift, and every race."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def check(folder: str, *options: str, mode: tuple[str, ...] = ()) -> None:
    """Run tests on a build of ours; nothing may be found."""
    pytest_on_it = [sys.executable, "-m", "fuzz.sanitized", *mode, sys.executable, "-m", "pytest"]
    paths = f"pythonpath=build/{folder} ."
    ran = subprocess.run(
        [*pytest_on_it, "-o", paths, "-q", "-m", "not slow", *options],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]


def test_kernels_under_sanitizers() -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer find nothing in the kernel tests."""
    check("sanitized", "tests/kernel")


def test_threads_under_the_race_detector() -> None:
    """ThreadSanitizer finds nothing where threads share a batch."""
    check("raced", "tests/kernel/test_payloads.py", "-k", "not portable", mode=("--races",))
