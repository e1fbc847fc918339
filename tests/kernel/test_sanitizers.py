"""The kernel tests on a build that traps every bad read, write and shift."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kernels_under_sanitizers() -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer find nothing in the kernel tests."""
    command = [sys.executable, "-m", "fuzz.sanitized", sys.executable, "-m", "pytest"]
    options = ["-o", "pythonpath=build/sanitized .", "-q", "-m", "not slow", "tests/kernel"]
    ran = subprocess.run(
        [*command, *options], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
