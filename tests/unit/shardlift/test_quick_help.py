"""Help pages, refused options and completion need nothing that takes time to import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ("memmodel",)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_help_page_imports_what_the_command_works_with(program: str) -> None:
    """Every command's page is there without numpy, Arrow, our models and all rooms' work."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.help_walk", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) > 1
