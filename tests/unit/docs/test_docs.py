"""The documentation's examples run, and its links lead somewhere."""

import importlib
import json
import re
from pathlib import Path

import pytest

import shardlift
from braid.precomputed.volume_spec import VolumeSpec
from producer.synthetic_export import SyntheticVolume, sample_spec, write_export

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_library_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python example of docs/library.md works, one after another, on a made-up export."""
    size = (150, 140, 130)
    spec = sample_spec(size)
    write_export(
        tmp_path / "export", VolumeSpec.parse(spec, "spec").scales[0], SyntheticVolume(size)
    )
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)
    shardlift.convert("export", "volume", "spec.json", tiers="0.5").wait()
    _run_examples("library.md", least=6)


def test_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does every example of docs/python.md."""
    monkeypatch.chdir(tmp_path)
    _run_examples("python.md", least=4)


def _run_examples(name: str, least: int) -> None:
    page = (ROOT / "docs" / name).read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= least
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)  # noqa: S102 - our own page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link and picture of a page exists."""
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    """Every `make` command of a page names a target of the Makefile."""
    named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(named) <= set(targets)


def test_stable_names_exist() -> None:
    """Every module and name that docs/stability.md promises can be imported."""
    page = (ROOT / "docs" / "stability.md").read_text()
    rows = re.findall(r"^\| (`braid[^|]*) \|([^|]*)\|", page, re.MULTILINE)
    promised = [(re.findall(r"`([\w.]+)`", row[0]), re.findall(r"`(\w+)`", row[1])) for row in rows]
    found = [
        hasattr(importlib.import_module(module), name)
        for modules, names in promised
        for module in modules
        for name in names
    ]
    assert len(found) > 15
    assert all(found)
