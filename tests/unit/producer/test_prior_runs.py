"""Prior runs of a destination: which one a request continues, and which ones conflict with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.run import Run
from producer import prior_runs, run_request
from producer.prior_runs import PriorRuns
from producer.run_request import Request
from producer.synthetic_export import sample_spec
from runtime.errors import UsageError
from runtime.storage import ObjectInfo
from tests.support.ledgers import at, finish, made_run

SOURCE, DEST = "gs://bucket/export", "gs://bucket/volume"
OF_0_1_0 = "15c63c3a6c5ef4f4"  # as version 0.1.0 computed it for `request()`


def request() -> Request:
    """Three scales of a small volume."""
    volume = VolumeSpec.parse(sample_spec((390, 340, 260), 3))
    return Request(volume, SOURCE, DEST, (0,), (1, 2))


def prior_run(state: Path, **fields: Any) -> Run:  # noqa: ANN401 - any field
    """An unfinished run of the same settings."""
    volume = request().volume.to_info()
    return made_run(state, source=SOURCE, dest=DEST, volume=volume, **fields)


def continued(state: Path, asked: Request) -> list[str]:
    """Ids of the unfinished runs that make the bytes of a request."""
    return [earlier.run.run_id for earlier in PriorRuns(str(state), DEST).same(asked)]


def test_a_run_of_version_0_1_0_is_continued(tmp_path: Path) -> None:
    """Its run.json has a version in its fingerprint and no output revision."""
    run = prior_run(tmp_path, version="0.1.0", fingerprint=OF_0_1_0)
    assert request().fingerprint != OF_0_1_0
    assert continued(tmp_path, request()) == [run.run_id]
    runs = PriorRuns(str(tmp_path), DEST)
    assert not runs.others(request())
    runs.check(request(), {})


def test_a_run_of_another_version_is_continued(tmp_path: Path) -> None:
    """The package version does not matter, as long as the output revision is the same."""
    same = request().fingerprint
    run = prior_run(tmp_path, version="9.9.9", fingerprint=same, output_revision=1)
    assert continued(tmp_path, request()) == [run.run_id]


def test_a_source_spelled_otherwise_is_the_same_source(tmp_path: Path) -> None:
    """Version 0.1.0 kept `..` and links in its ledger and hashed them."""
    (tmp_path / "export").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "export")
    volume = request().volume.to_info()
    state = tmp_path / "runs"
    spelled = f"{tmp_path}/runs/../link"
    run = made_run(state, source=spelled, dest=DEST, volume=volume, fingerprint="of the spelling")
    assert continued(state, replace(request(), source=str(tmp_path / "export"))) == [run.run_id]


@pytest.mark.parametrize("fingerprint", [OF_0_1_0, None], ids=["0.1.0", "today"])
def test_a_run_of_another_output_revision_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fingerprint: str | None
) -> None:
    """Its bytes would differ, which the error says."""
    prior_run(tmp_path, version="0.1.0", fingerprint=fingerprint or request().fingerprint)
    monkeypatch.setattr(run_request, "OUTPUT_REVISION", 2)
    assert continued(tmp_path, request()) == []
    with pytest.raises(UsageError, match="output_revision 1 there, 2 here"):
        PriorRuns(str(tmp_path), DEST).check(request(), {})


def test_shards_of_an_older_run_with_other_settings_are_refused(tmp_path: Path) -> None:
    """Not only the newest run counts: each shard's own maker does."""
    ours = {"fingerprint": request().fingerprint}
    older = prior_run(tmp_path, run_id="older", label_type="supervoxels")
    newer = prior_run(tmp_path, run_id="newer", created=at(60), **ours)
    finish(older, "s0/00", finished=at(1))
    finish(newer, "s0/01", finished=at(61))
    older.cancel("by hand")
    file = ObjectInfo("8x8x8/0.shard", 1, None, at(1), None)
    runs = PriorRuns(str(tmp_path), DEST)
    with pytest.raises(UsageError, match=r"older .* label_type supervoxels there, labels here"):
        runs.check(request(), {0: {0: file}})


def test_a_scale_of_which_nothing_exists_is_refused(tmp_path: Path) -> None:
    """The hint names the scales between; a mistyped destination is possible, too."""
    asked = replace(request(), downres=(2,))
    runs = PriorRuns(str(tmp_path), DEST)
    with pytest.raises(UsageError, match="scale 2 is made from scale 1, of which nothing") as found:
        runs.check_inputs(asked, {0: {}, 1: {}, 2: {}}, {})
    assert "--downres 1,2" in (found.value.hint or "")
    alone = replace(request(), source=None, scales=(), downres=(1,))
    with pytest.raises(UsageError, match="scale 1 is made from scale 0") as found:
        runs.check_inputs(alone, {0: {}, 1: {}}, {})
    assert "check --dest" in (found.value.hint or "")


@pytest.mark.parametrize(("made", "wanted"), [([], "1,2,3,4"), ([1, 2], "3,4"), ([0], "1,2,3,4")])
def test_a_gap_is_filled_from_the_scales_that_exist(made: list[int], wanted: str) -> None:
    """The hint names the scales between what was made and what is asked for."""
    asked = replace(request(), scales=(), downres=(4,))
    assert prior_runs._nothing_of(3, asked, made).hint == f"say --downres {wanted}"
