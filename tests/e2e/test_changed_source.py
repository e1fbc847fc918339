"""`enqueue` and `verify` while the export changes: late, changed, lost and cut files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from producer.tensorstore_reader import Volume, vote
from tests.support.commands import CommandResult
from tests.support.workspace import Workspace, converted_workspace, error_line, make_small_workspace

ALL = ("--deep", "--values", "60")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run of 12 + 2 shards; tests copy it."""
    return converted_workspace(tmp_path_factory.mktemp("made") / "workspace")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An export of the same kind with nothing made of it."""
    return make_small_workspace(tmp_path / "workspace")


def move(name: str, source: Path, target: Path) -> None:
    """Move an Arrow file and its index between two folders."""
    target.mkdir(parents=True, exist_ok=True)
    for ending in ("arrow", "csv"):
        shutil.move(source / f"{name}.{ending}", target)


def labels(workspace: Workspace) -> NDArray[np.uint64]:
    """Voxels of scale 0 as the sample has them."""
    return workspace.sample.labels((0, 0, 0), workspace.sample.size)


def assert_voxels(workspace: Workspace, truth: NDArray[np.uint64]) -> None:
    """Both scales hold these voxels and their votes."""
    volume = Volume(str(workspace.volume))
    for index, scale in enumerate(workspace.spec.scales):
        expected = vote(truth, (2, 2, 2), "mode") if index else truth
        assert np.array_equal(volume.read(index, (0, 0, 0), scale.size), expected)


def keys(ended: CommandResult) -> set[str]:
    """Keys of the findings of `verify --json`; the exit code must agree."""
    found = {one["key"] for one in ended.document["findings"]}
    assert ended.returncode == (1 if found else 0), ended
    return found


def test_files_that_arrive_late(workspace: Workspace) -> None:
    """The same command makes their shards and the coarse ones made from them; verify finds both."""
    s0, late = workspace.export / "s0", workspace.folder / "late"
    move("64_0_0", s0, late)
    assert workspace.enqueue("--wait").returncode == 0
    assert keys(workspace.of_run("verify", *ALL, "--json")) == set()
    move("64_0_0", late, s0)
    assert len(keys(workspace.of_run("verify", "--json"))) == 2
    kept = {path: path.stat().st_mtime_ns for path in workspace.shards()}
    done = workspace.enqueue("--wait")
    assert done.returncode == 0, done.stderr
    assert "made again because an input is" in done.stdout
    assert_voxels(workspace, labels(workspace))
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())
    assert keys(workspace.of_run("verify", *ALL, "--json")) == set()
    assert "nothing to do" in workspace.enqueue("--wait").stdout


def test_a_file_that_changes_while_a_run_is_unfinished(workspace: Workspace) -> None:
    """The run is cancelled with the reason, and another takes its place."""
    assert workspace.enqueue().returncode == 0
    again = workspace.enqueue()
    assert "continuing" in again.stdout
    os.utime(workspace.arrow(), ns=(1, 1))
    replaced = workspace.enqueue()
    assert replaced.returncode == 0, replaced.stderr
    name = f"s0/{workspace.arrow().name}"
    assert "is out of date, and ends here" in replaced.stderr
    assert f"source files changed: {name}" in replaced.stderr
    states = [run["state"] for run in workspace.of_run("runs", "--json").document]
    assert states == ["cancelled", "unfinished"]
    assert workspace.enqueue("--wait").returncode == 0
    assert_voxels(workspace, labels(workspace))


@pytest.mark.slow  # starts fleets; `make test` has five minutes for all
def test_files_that_go(workspace: Workspace) -> None:
    """Their shard is made from what is left: zeros have no file, and coarse shards follow."""
    assert workspace.enqueue("--wait").returncode == 0
    move("0_0_0", workspace.export / "s0", workspace.folder / "gone")
    before = len(workspace.shards())
    done = workspace.enqueue("--wait")
    assert done.returncode == 0, done.stderr
    assert "is made again: source files went: s0/0_0_0.arrow" in done.stdout
    assert len(workspace.shards()) == before - 1
    truth = labels(workspace)
    truth[:64, :64, :64] = 0
    assert_voxels(workspace, truth)
    assert keys(workspace.of_run("verify", *ALL, "--json")) == set()


def test_a_shard_that_was_cut(workspace: Workspace) -> None:
    """The same command makes it again, and says why."""
    assert workspace.enqueue("--wait").returncode == 0
    shard = workspace.shards()[0]
    os.truncate(shard, 100)
    done = workspace.enqueue("--wait")
    assert done.returncode == 0, done.stderr
    assert "its file is 100 bytes, its receipt says" in done.stdout
    assert_voxels(workspace, labels(workspace))


def test_an_export_that_is_not_whole(workspace: Workspace) -> None:
    """Exit 2 naming the file; --partial converts the rest and never ends with 0."""
    arrow = workspace.arrow()
    arrow.rename(workspace.folder / arrow.name)
    refused = workspace.enqueue("--wait")
    assert refused.returncode == 2
    assert f"is not whole: s0/{arrow.stem}.csv" in error_line(refused)
    assert not workspace.volume.exists()
    for expected in ("is done", "nothing to do"):
        done = workspace.enqueue("--wait", "--partial")
        assert (done.returncode, expected in done.stdout) == (1, True), done
        assert done.stderr.count(f"s0/{arrow.stem}.csv: an index without") == 2
    assert "partial: the export lacked 1 file" in workspace.of_run("status").stdout
    assert keys(workspace.of_run("verify", "--json")) == {f"s0/{arrow.stem}.csv"}
    assert workspace.of_run("report", "--out", "report.html").returncode == 0
    assert "partial: " in (workspace.folder / "report.html").read_text()
    (workspace.folder / arrow.name).rename(arrow)
    assert workspace.enqueue("--wait").returncode == 0
    assert_voxels(workspace, labels(workspace))


def test_one_destination_with_several_names(made: Workspace, tmp_path: Path) -> None:
    """Links, `..` and relative paths: its runs are found, and other settings refused."""
    folder = tmp_path / "workspace"
    shutil.copytree(made.folder, folder / "real", symlinks=True)
    workspace = Workspace(folder / "real", made.sample, made.spec, made.tiers)
    (folder / "link").symlink_to(folder / "real" / "out")
    (folder / "parent").symlink_to(folder / "real")
    adopted = workspace.enqueue("--adopt")
    assert adopted.returncode == 0, adopted.stderr
    common = ("--source", "export", "--spec", "spec.json", "--scales", "0", "--tiers", "0.5")
    for dest in ("../link", "../parent/out", "../real/./out", str(folder / "link")):
        same = workspace.run("enqueue", *common, "--dest", dest)
        assert (same.returncode, "nothing to do" in same.stdout) == (0, True), same
        other = workspace.run("enqueue", *common, "--dest", dest, "--supervoxels")
        assert other.returncode == 2
        assert "label_type labels there, supervoxels here" in error_line(other)


@pytest.mark.slow  # starts fleets; `make test` has five minutes for all
def test_coarse_scales_after_overwriting_their_base(workspace: Workspace) -> None:
    """A note says that they are old and how to make them; verify finds them."""
    assert workspace.enqueue("--wait").returncode == 0
    move("0_0_0", workspace.export / "s0", workspace.folder / "gone")
    base = workspace.enqueue_command("--scales", "0", "--queue", "sqlite:queue.db", "--wait")
    done = workspace.run(*base, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert "scale 1 is made from scale 0 and stays as it is" in done.stderr
    assert "--downres 1" in done.stderr
    found = keys(workspace.of_run("verify", "--json"))
    assert found
    assert all(key.startswith("s1/") for key in found)
    assert workspace.enqueue("--wait").returncode == 0
    assert keys(workspace.of_run("verify", *ALL, "--json")) == set()


def test_gaps(made: Workspace) -> None:
    """A scale without its input and a mistyped destination end with 2 and write nothing."""
    skipped = made.run(*made.enqueue_command("--scales", "none", "--downres", "1", dest="typo"))
    assert skipped.returncode == 2
    assert "scale 1 is made from scale 0, of which nothing exists at" in error_line(skipped)
    assert not (made.folder / "typo").exists()
    assert not (made.folder / "typo.runs").exists()


def test_verify_without_a_ledger(made: Workspace, tmp_path: Path) -> None:
    """A volume alone is compared with export and spec; without these it cannot be."""
    shutil.copytree(made.volume, tmp_path / "copy")
    command = ("verify", "--dest", str(tmp_path / "copy"))
    assert made.run(*command).returncode == 2
    alone = (*command, "--source", "export", "--spec", "spec.json")
    assert keys(made.run(*alone, *ALL, "--json")) == set()
    shard = next(iter(sorted((tmp_path / "copy" / made.spec.scales[0].key).glob("*.shard"))))
    shard.unlink()
    assert keys(made.run(*alone, "--deep", "--json")) == {f"s0/{shard.stem}"}
