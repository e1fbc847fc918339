"""`enqueue --bbox`, `--shards`, `--limit`: some of the shards, then the rest; no hole unsaid."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from delivery.ledger.run import Run, list_runs
from producer.tensorstore_reader import Volume, vote
from tests.support.workspace import Workspace, error_line, make_workspace

PYRAMID = ("--scales", "0", "--downres", "1,2")
BOX = "0:128,0:128,0:100"  # 2 x 2 x 2 chunks of scale 0, one shard of scale 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export of which the shards of a box are made."""
    workspace = make_workspace(tmp_path_factory.mktemp("made"))
    done = workspace.run_subprocess(*workspace.enqueue_command(*PYRAMID, "--bbox", BOX, "--wait"))
    assert done.returncode == 0, done.stderr
    (workspace.folder / "stdout").write_text(done.stdout)
    (workspace.folder / "stderr").write_text(done.stderr)
    return workspace


@pytest.fixture
def workspace(made: Workspace, tmp_path: Path) -> Workspace:
    """The same export with nothing made of it."""
    shutil.copytree(made.export, tmp_path / "export")
    shutil.copy(made.folder / "spec.json", tmp_path)
    return Workspace(tmp_path, made.sample, made.spec)


def truths(workspace: Workspace) -> list[np.ndarray]:
    """Voxels of each scale of the whole."""
    found = [workspace.sample.labels((0, 0, 0), workspace.sample.size)]
    for _ in workspace.spec.scales[1:]:
        found.append(vote(found[-1], (2, 2, 2), "mode"))
    return found


def runs_of(workspace: Workspace) -> list[Run]:
    """The runs of the usual destination, oldest first."""
    return list(list_runs(str(workspace.folder / "out.runs")))


def test_a_box_is_made_and_nothing_else(made: Workspace) -> None:
    """Every voxel of the box is right; outside no shard exists; coarser ones need all inputs."""
    volume, (fine, coarse, _) = Volume(str(made.folder / "out")), truths(made)
    assert np.array_equal(volume.read(0, (0, 0, 0), (128, 128, 100)), fine[:100, :128, :128])
    assert np.array_equal(volume.read(1, (0, 0, 0), (64, 64, 50)), coarse[:50, :64, :64])
    assert [len(made.shards(scale)) for scale in range(3)] == [8, 1, 0]


def test_it_says_what_is_left_out(made: Workspace) -> None:
    """`enqueue`, `status`, `runs`, `verify` and `report` know that it is not the whole."""
    said = "left out: 14 of scale 0, 3 of scale 1, 1 of scale 2; the same command without --bbox"
    assert (made.folder / "stdout").read_text().count(said) == 2  # at its begin and its end
    note = "1 shard of the selection is left to a run of the whole, since not all that it is made"
    assert note in (made.folder / "stderr").read_text()
    status = made.of_run("status")
    assert f"selection: the box {BOX}; {said}" in status.stdout
    assert made.of_run("status", "--json").document["selection"]["left_out"] == {
        "0": 14,
        "1": 3,
        "2": 1,
    }
    assert "done, selection" in made.of_run("runs").stdout
    verified = made.of_run("verify", "--values", "5")
    assert verified.returncode == 0, verified.stdout
    assert "9 shards against receipts and source, 5 chunks voxel for voxel" in verified.stdout
    assert "of a selection: 18 shards are not made yet" in verified.stdout
    assert made.of_run("verify", "--json").document["left_out"] == {"0": 14, "1": 3, "2": 1}
    page = made.folder / "report.html"
    assert made.of_run("report", "--out", str(page)).returncode == 0
    assert "left out: 14 of scale 0" in page.read_text()


def test_a_lost_shard_of_a_selection_is_a_finding(made: Workspace) -> None:
    """Only what was never to be made is left out."""
    made.shards()[0].rename(made.folder / "kept")
    try:
        found = made.of_run("verify")
        assert (found.returncode, found.stdout.count("its file is gone")) == (1, 1)
    finally:
        (made.folder / "kept").rename(made.folder / "out" / made.spec.scales[0].key / "00.shard")


def test_the_same_selection_again_does_nothing(made: Workspace) -> None:
    """It is done, and says again what it is not."""
    done = made.run(*made.enqueue_command(*PYRAMID, "--bbox", BOX))
    assert (done.returncode, len(runs_of(made))) == (0, 1)
    assert done.stdout.startswith("nothing to do: 9 shards are all done in run ")
    assert "left out: 14 of scale 0" in done.stdout


def test_a_coarser_scale_is_not_made_from_a_selection(made: Workspace) -> None:
    """What a selection left out must not become zeros."""
    done = made.run(*made.enqueue_command("--scales", "none", "--downres", "1"))
    assert done.returncode == 2
    assert "made a selection of it, and left out 14 shards" in error_line(done)
    assert "--downres 1, makes all" in done.stderr


def test_the_whole_goes_on_from_selections(workspace: Workspace) -> None:
    """Boxes, keys, the first few, then all: every voxel is right, no shard is made twice."""
    command = workspace.enqueue_command(*PYRAMID, "--wait")
    for selection in (("--limit", "2"), ("--shards", "s0/05,s0/10"), ("--bbox", BOX), ()):
        done = workspace.run(*command, *selection)
        assert done.returncode == 0, done.stderr
    receipts = Counter(key for run in runs_of(workspace) for key in run.receipts.list())
    assert len(receipts) == 27
    assert set(receipts.values()) == {1}
    volume = Volume(str(workspace.folder / "out"))
    for scale, truth in zip(workspace.spec.scales, truths(workspace), strict=True):
        assert np.array_equal(volume.read(scale.index, (0, 0, 0), scale.size), truth)
    verified = workspace.of_run("verify", "--values", "20")
    assert verified.returncode == 0
    assert "27 shards against receipts and source" in verified.stdout
    assert "selection" not in verified.stdout + verified.stderr


def test_an_unfinished_selection_ends_when_the_whole_begins(workspace: Workspace) -> None:
    """The whole makes what is left of it; another selection lets it go on."""
    command = workspace.enqueue_command(*PYRAMID)
    assert workspace.run(*command, "--limit", "2").returncode == 0
    again = workspace.run(*command, "--limit", "2")
    assert again.stdout.startswith("continuing ")
    assert "selection: the first 2 shards; left out: 20 of scale 0" in again.stdout
    other = workspace.run(*command, "--shards", "s0/10")
    assert other.returncode == 0
    assert "out of date" not in other.stderr
    whole = workspace.run(*command)
    assert whole.stderr.count("what is left of its selection is made by a run of more") == 2
    assert [run.cancelled() is not None for run in runs_of(workspace)] == [True, True, False]


def test_a_selection_of_a_run_that_is_under_way_is_refused(workspace: Workspace) -> None:
    """The unfinished run makes these shards; nothing is written."""
    command = workspace.enqueue_command(*PYRAMID)
    assert workspace.run(*command).returncode == 0
    refused = workspace.run(*command, "--limit", "2")
    assert refused.returncode == 2
    why = "is not finished, and it makes all of the first 2 shards, and more"
    assert why in error_line(refused)
    assert len(runs_of(workspace)) == 1


def test_overwrite_remakes_the_selection_alone(made: Workspace, tmp_path: Path) -> None:
    """Shards beyond it stay as they are."""
    shutil.copytree(made.export, tmp_path / "export")
    shutil.copy(made.folder / "spec.json", tmp_path)
    workspace = Workspace(tmp_path, made.sample, made.spec)
    assert workspace.run(*workspace.enqueue_command("--limit", "3", "--wait")).returncode == 0
    again = workspace.enqueue_command("--shards", "s0/01", "--overwrite", "--wait")
    assert workspace.run(*again).returncode == 0
    assert [list(run.receipts.list()) for run in runs_of(workspace)] == [
        ["s0/00", "s0/01", "s0/02"],
        ["s0/01"],
    ]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--bbox", "1:2,3:4"), "--bbox '1:2,3:4' is not a box"),
        (("--bbox", "5:1,0:9,0:9"), "is empty: x begins at 5 and ends before 1"),
        (("--bbox", "200:300,0:9,0:9"), "--bbox lies outside the volume: the box 200:300,0:9,0:9"),
        (("--shards", " , "), "--shards names no shard"),
        (("--shards", "s0"), "'s0' is not a shard key"),
        (("--shards", "s0/99"), "--shards names s0/99, which has no source"),
        (("--shards", "s2/0"), "s2/0, which is made from s1/0: that is neither made nor named"),
        (("--shards", "s5/0"), "s5/0, and scale 5 is not made by this command"),
        (("--shards", "s0/00", "--limit", "1"), "--shards and --limit contradict each other"),
        (("--shards", "s0/00", "--bbox", BOX), "--shards and --bbox contradict each other"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    workspace: Workspace, options: tuple[str, ...], error: str
) -> None:
    """One line each, exit code 2, nothing written."""
    before = workspace.files(".")
    done = workspace.run(*workspace.enqueue_command(*PYRAMID, *options))
    assert done.returncode == 2
    assert error in error_line(done)
    assert workspace.files(".") == before


def test_a_box_without_data_is_refused(workspace: Workspace) -> None:
    """An empty selection is no success."""
    for path in sorted((workspace.export / "s0").glob("0_0_0*")):
        path.unlink()
    done = workspace.run(*workspace.enqueue_command("--bbox", "0:9,0:9,0:9"))
    assert done.returncode == 2
    assert "nothing is selected: no file of the export meets the box 0:9" in error_line(done)
