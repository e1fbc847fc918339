"""`constraints.txt` fits what `pyproject.toml` asks for."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]


def test_pins_satisfy_the_bounds() -> None:
    """Each pinned dependency is one that the package takes; all that it needs itself are pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "constraints.txt").read_text()
    found = re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)
    pins = {_plain(name): version for name, version in found}
    assert len(pins) > 100
    own = [Requirement(line) for line in project["dependencies"]]
    dev = [Requirement(line) for line in project["optional-dependencies"]["dev"]]
    assert [one.name for one in own if _plain(one.name) not in pins] == []
    for one in [*own, *dev]:
        pin = pins.get(_plain(one.name))
        assert pin is None or one.specifier.contains(pin), f"{one}: make constraints"


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
