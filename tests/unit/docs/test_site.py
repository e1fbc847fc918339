"""The documentation as a site: it builds without a warning, and has every command and option."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the site, built strictly: a broken link or a page without a place fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_and_option_has_its_place(site: Path) -> None:
    """Made from the commands, so a page cannot be older than they are."""
    enqueue = (site / "cli" / "enqueue" / "index.html").read_text()
    assert all(name in enqueue for name in ("--downres-rule", "--run-id", "NG_SPEC_PATH"))
    names = {path.parent.name for path in (site / "cli").glob("*/index.html")}
    assert {"enqueue", "status", "work", "fleet", "memory", "infra", "dead-letters"} <= names


def test_links_out_of_the_site_lead_to_the_repository(site: Path) -> None:
    """A page has no neighbour that is not in the site."""
    front = (site / "index.html").read_text()
    assert "/blob/main/CONTRIBUTING.md" in front
    assert "../CONTRIBUTING.md" not in front


def test_a_reader_makes_no_request_to_others(site: Path) -> None:
    """Scripts and styles are the site's own."""
    front = (site / "index.html").read_text()
    assert "fonts.googleapis.com" not in front
    assert "unpkg.com" not in front
