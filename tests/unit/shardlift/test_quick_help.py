"""Help pages, refused options and completion need nothing that takes time to import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ("producer", "consumer", "memmodel", "infra", "shardlift")


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_help_page_imports_what_the_command_works_with(program: str, tmp_path: Path) -> None:
    """Every command's page is there without numpy, Arrow, our models and all rooms' work."""
    environment = {k: v for k, v in os.environ.items() if k not in {"LOG_LEVEL", "PYTHONPATH"}}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.help_walk", program],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) > 1
