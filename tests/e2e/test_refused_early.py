"""`enqueue`: what is wrong or contradictory is refused before anything is written."""

import os
from pathlib import Path

import pytest

from tests.support.commands import run_in_process
from tests.support.workspace import Workspace, clean_environment, error_line, make_small_workspace


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export of which nothing is ever made."""
    return make_small_workspace(tmp_path_factory.mktemp("refused") / "workspace")


@pytest.mark.parametrize(
    ("more", "said", "hint"),
    [
        (["--memory", "lots", "--wait"], "'lots' is not a memory size", "such as 16GiB or 512MiB"),
        (["--memory", "1", "--wait"], "'1' is not a memory size", "it lacks a unit: 1GiB or 1MiB?"),
        (["--supervoxels", "--label-type", "labels"], "contradict each other", "pass one of them"),
        (["--dest", "export"], "export is the export itself", "name another folder with --dest"),
        (["--dest", "export/s0"], "s0 is the export itself", "name another folder with --dest"),
    ],
)
def test_wrong_use_writes_nothing(shared: Workspace, more: list[str], said: str, hint: str) -> None:
    """Exit 2, what and what to do; neither plan nor queue nor info."""
    before = shared.files(".")
    done = shared.run(*shared.enqueue_command("--scales", "0", *more))
    assert done.returncode == 2
    assert said in error_line(done)
    assert f"hint: {hint}" in done.stderr
    assert shared.files(".") == before


@pytest.mark.parametrize("dest", ["README.md", "README.md/below"])
def test_a_file_in_the_way_is_named(tmp_path: Path, dest: str) -> None:
    """As it was typed, without a name that nobody typed."""
    workspace = make_small_workspace(tmp_path / "workspace")
    (workspace.folder / "README.md").write_text("text")
    done = workspace.run(*workspace.enqueue_command("--scales", "0", dest=dest))
    assert done.returncode == 3
    assert error_line(done).endswith(f"/{dest} is a file, or lies below one")


def test_a_flag_wins_over_the_environment(shared: Workspace) -> None:
    """LABEL_TYPE=labels in `.env` does not contradict --supervoxels."""
    command = shared.enqueue_command("--scales", "0", "--supervoxels", "--dry-run")
    environment = clean_environment() | {"LABEL_TYPE": "labels"}
    done = run_in_process("producer", *command, folder=shared.folder, environment=environment)
    assert done.returncode == 0, done.stderr
    both = [*command, "--label-type", "supervoxels"]
    done = run_in_process("producer", *both, folder=shared.folder, environment=dict(os.environ))
    assert done.returncode == 0, done.stderr


def test_a_dry_run_accounts_for_all_that_fits_no_tier(shared: Workspace) -> None:
    """Grouped and counted, with exit 1, as the run would end."""
    command = shared.enqueue_command("--scales", "0", "--downres", "1", "--dry-run")
    done = shared.run(*command, "--tiers", "0.01")
    assert done.returncode == 1
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    counts = [
        line.split()[1] for line in notes if "needs about" in line and "; such as" not in line
    ]
    assert sum(map(int, counts)) == 14
    assert any("add a larger tier with --tiers" in line for line in notes)
