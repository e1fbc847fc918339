"""The specs in `examples/specs`: what the page says printed them, prints them."""

import json
import re
from pathlib import Path

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from tests.support.commands import run_in_process

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "specs"
ROWS = re.findall(
    r"^\| \[([\w.]+)\].*\| `(--size [^`]*)` \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize(("name", "options"), ROWS, ids=[row[0] for row in ROWS])
def test_the_command_prints_the_spec(tmp_path: Path, name: str, options: str) -> None:
    """With the options of its row; and it is one that volumes are made of."""
    text = (FOLDER / name).read_text()
    done = run_in_process("producer", "spec", *options.split(), folder=tmp_path)
    assert done.document == json.loads(text)
    assert VolumeSpec.parse(json.loads(text), name).scales


def test_every_spec_has_a_row() -> None:
    """And there are some."""
    assert sorted(row[0] for row in ROWS) == sorted(path.name for path in FOLDER.glob("*.json"))
    assert len(ROWS) >= 4
