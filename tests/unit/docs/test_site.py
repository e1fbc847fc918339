"""The documentation as a site: it builds without a warning, and has every command and option."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from shardlift.__main__ import app

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the site, built strictly: a broken link or a page without a place fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "DOCS_REPO_URL": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_and_option_has_its_place(site: Path) -> None:
    """Made from the commands, so a page cannot be older than they are."""
    names = {path.parent.name for path in (site / "cli").glob("*/index.html")}
    assert {"enqueue", "status", "work", "fleet", "memory", "infra", "dead-letters"} <= names
    count = 0
    for name in names:
        page = (site / "cli" / name / "index.html").read_text()
        for option in options(name):
            assert re.search(rf"{option}\b", page), (name, option)
            count += 1
    assert count > 200


def options(name: str) -> Iterator[str]:
    """Options of a command and of those below it, by the command itself."""
    command = typer.main.get_command(app).get_command(None, name)  # type: ignore[attr-defined] # a group
    groups = [command]
    while groups:
        one = groups.pop()
        below: list[str] = one.list_commands(None) if hasattr(one, "list_commands") else []
        groups += [one.get_command(None, each) for each in below]
        shown = [each for each in one.params if not getattr(each, "hidden", False)]
        yield from (opt for each in shown if each.param_type_name == "option" for opt in each.opts)


def test_links_out_of_the_site_are_paths_in_the_repository(site: Path) -> None:
    """A page has no neighbour that is not in the site, and no address is invented."""
    front = (site / "index.html").read_text()
    assert "<code>CONTRIBUTING.md</code> in the repository" in front
    assert "../CONTRIBUTING.md" not in front


def test_links_out_of_the_site_lead_to_a_known_repository() -> None:
    """`DOCS_REPO_URL` names it; links within the site stay."""
    hook = runpy.run_path(str(ROOT / "docs/site/outside_links.py"))["on_page_markdown"]
    page = SimpleNamespace(file=SimpleNamespace(src_uri="decisions/0001.md"))
    config = SimpleNamespace(docs_dir="/somewhere/docs", repo_url="https://host/lab/lift/")
    shown = hook("[a](../json.md#b) and [`c`](../../README.md#d)", page=page, config=config)
    assert shown == ("[a](../json.md#b) and [`c`](https://host/lab/lift/blob/main/README.md#d)")


def test_a_reader_makes_no_request_to_others(site: Path) -> None:
    """Scripts and styles are the site's own."""
    front = (site / "index.html").read_text()
    assert "fonts.googleapis.com" not in front
    assert "unpkg.com" not in front
