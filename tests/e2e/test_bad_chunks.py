"""One damaged block costs one chunk where that is wanted, and is told until it is mended."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.run import find_run
from delivery.messages import now
from producer.synthetic_export import SyntheticVolume, write_export
from tests.support.ledgers import fail
from tests.support.specs import made_info
from tests.support.volumes import tensorstore_voxels
from tests.support.workspace import Workspace

SIZE = (256, 128, 128)
BAD = ("--bad-chunks", "skip")


def files_with_frames(workspace: Workspace) -> Path:
    """The first export file; its shard has eight chunks."""
    return workspace.arrow(0)


def flip(arrow: Path) -> bytes:
    """Change one byte of the last frame of a file; returns the sound file."""
    sound = arrow.read_bytes()
    data = bytearray(sound)
    data[sound.rindex(b"\x28\xb5\x2f\xfd") + 9] ^= 1
    arrow.write_bytes(data)
    os.utime(arrow, ns=(1, 1))
    return sound


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two shards of eight chunks, one below them; a byte of one frame is flipped."""
    info = made_info(SIZE, [(2, 2, 2)], bits=[(3, 0)])
    spec, sample = VolumeSpec.parse(info), SyntheticVolume(SIZE)
    write_export(tmp_path / "export", spec.scales[0], sample)
    (tmp_path / "spec.json").write_text(json.dumps(info))
    return Workspace(tmp_path, sample, spec, "0.5")


def voxels(workspace: Workspace, scale: int = 0) -> np.ndarray:
    """All voxels of a scale, by TensorStore."""
    return np.asarray(tensorstore_voxels(workspace.volume, scale))


def test_a_hole_is_told_until_it_is_mended(workspace: Workspace) -> None:
    """Skip, tell everywhere, exit 1; the mended file makes its shard and all above it again."""
    arrow = files_with_frames(workspace)
    sound = flip(arrow)
    done = workspace.enqueue("--wait", *BAD)
    assert done.returncode == 1, done
    assert "1 shard made without 1 chunk that did not decode: s0/" in done.stdout
    assert len(workspace.shards(0)) == 2
    assert len(workspace.shards(1)) == 1

    status = workspace.of_run("status", "--json").document
    assert (status["ended"], status["succeeded"]) == (True, False)
    ((key, count),) = status["incomplete"].items()
    assert count == 1
    assert [scale["incomplete"] for scale in status["scales"]] == [1, 0]
    text = workspace.of_run("status").stdout
    assert "made without 1 chunk" in text
    assert "done, but not whole" in text

    errors = workspace.of_run("errors", "--details")
    assert errors.returncode == 1
    assert f"{key}: made without 1 chunk" in errors.stdout
    assert f"{arrow}, row 7: damaged zstd frame" in errors.stdout
    verify = workspace.of_run("verify", "--deep")
    assert verify.returncode == 1
    assert f"{key}: made without 1 chunk that does not decode: (1, 1, 1)" in verify.stdout
    report = workspace.of_run("report", "--out", "report.html")
    assert report.returncode == 0, report
    page = (workspace.folder / "report.html").read_text()
    assert "Chunks left out" in page
    assert "1, 1, 1" in page

    again = workspace.enqueue("--wait")
    assert again.returncode == 1, again
    assert "nothing to do" in again.stdout
    assert "1 shard made without 1 chunk that did not decode" in again.stdout

    kept = {path: path.stat().st_mtime_ns for path in workspace.shards(0)}
    arrow.write_bytes(sound)
    mended = workspace.enqueue("--wait")
    assert mended.returncode == 0, mended
    assert sum(path.stat().st_mtime_ns != time for path, time in kept.items()) == 1
    clean = workspace.of_run("verify", "--deep", "--values", "20")
    assert clean.returncode == 0, clean


def test_all_voxels_but_the_bad_chunks_are_there(workspace: Workspace) -> None:
    """The others are those of the sound export; the hole reads as zeros, also when voted on."""
    arrow = files_with_frames(workspace)
    assert workspace.enqueue("--wait").returncode == 0
    whole = voxels(workspace)
    workspace.volume.rename(workspace.folder / "sound")
    Path(f"{workspace.volume}.runs").rename(workspace.folder / "sound.runs")
    flip(arrow)
    assert workspace.enqueue("--wait", *BAD).returncode == 1
    found = voxels(workspace)
    assert (found[64:128, 64:128, 64:128] == 0).all()
    whole[64:128, 64:128, 64:128] = 0
    assert (found == whole).all()


def test_a_dead_shard_is_requeued_without_its_bad_chunks(workspace: Workspace) -> None:
    """By default it is a dead letter; the request of one shard is kept in the ledger."""
    flip(files_with_frames(workspace))
    assert workspace.enqueue("--wait").returncode == 1
    ((key, _),) = [
        (letter["key"], letter["reason"])
        for letter in workspace.of_run("dead-letters", "list", "--json").document["dead_letters"]
    ]
    assert len(workspace.shards(1)) == 0
    sent = workspace.of_run("dead-letters", "requeue", key, "--without-bad-chunks")
    assert sent.returncode == 0, sent
    fleet = workspace.run_subprocess(
        "fleet",
        "--until-drained",
        "--queue",
        "sqlite:queue.db",
        "--dest",
        "out",
        program="consumer",
    )
    assert fleet.returncode == 1, fleet
    assert workspace.run("runs", "--dest", "out", "--json").document[0]["state"] == "incomplete"
    assert "made without 1 chunk that did not decode" in fleet.stderr
    status = workspace.of_run("status", "--json").document
    assert status["incomplete"] == {key: 1}
    assert len(workspace.shards(1)) == 1

    fail(find_run(str(workspace.volume) + ".runs"), "s1/0", at=now())
    refused = workspace.of_run("dead-letters", "requeue", "s1/0", "--without-bad-chunks")
    assert refused.returncode == 2
    assert "s1/0 is made from shards, not from an export" in refused.stderr


def test_damage_of_a_file_is_no_bad_chunk(workspace: Workspace) -> None:
    """A file that was cut short stays a dead letter."""
    arrow = files_with_frames(workspace)
    arrow.write_bytes(arrow.read_bytes()[:-700])
    done = workspace.enqueue("--wait", *BAD)
    assert done.returncode == 1, done
    status = workspace.of_run("status", "--json").document
    assert (status["incomplete"], list(status["shards"].values())) == (
        {},
        ["failed", "done", "blocked"],
    )


def test_another_word_is_refused(workspace: Workspace) -> None:
    """Exit 2, before anything is written."""
    wrong = workspace.enqueue("--bad-chunks", "drop")
    assert wrong.returncode == 2
    assert "--bad-chunks 'drop' is not one of fail, skip" in wrong.stderr
