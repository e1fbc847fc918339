"""Prior runs of a destination: which one a request continues, and which ones conflict with it."""

from pathlib import Path
from typing import Any

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.run import Run
from producer import run_request
from producer.prior_runs import PriorRuns
from producer.run_request import Request
from producer.synthetic_export import sample_spec
from runtime.errors import UsageError
from tests.support.ledgers import made_run

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


def test_a_run_of_version_0_1_0_is_continued(tmp_path: Path) -> None:
    """Its run.json has a version in its fingerprint and no output revision."""
    run = prior_run(tmp_path, version="0.1.0", fingerprint=OF_0_1_0)
    assert request().fingerprint != OF_0_1_0
    runs = PriorRuns(str(tmp_path), DEST)
    found = runs.unfinished(request())
    assert found is not None
    assert found.run.run_id == run.run_id
    assert not runs.others(request())
    runs.check(request(), {})


def test_a_run_of_another_version_is_continued(tmp_path: Path) -> None:
    """The package version does not matter, as long as the output revision is the same."""
    same = request().fingerprint
    prior_run(tmp_path, version="9.9.9", fingerprint=same, output_revision=1)
    assert PriorRuns(str(tmp_path), DEST).unfinished(request()) is not None


@pytest.mark.parametrize("fingerprint", [OF_0_1_0, None], ids=["0.1.0", "today"])
def test_a_run_of_another_output_revision_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fingerprint: str | None
) -> None:
    """Its bytes would differ, which the error says."""
    prior_run(tmp_path, version="0.1.0", fingerprint=fingerprint or request().fingerprint)
    monkeypatch.setattr(run_request, "OUTPUT_REVISION", 2)
    runs = PriorRuns(str(tmp_path), DEST)
    assert runs.unfinished(request()) is None
    with pytest.raises(UsageError, match="output_revision 1 there, 2 here"):
        runs.check(request(), {})
