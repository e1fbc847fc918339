"""Answers that are refused as they are typed, and what is offered."""

import json
from pathlib import Path

import pytest

from infra.guide import checks
from infra.guide.regions import REGIONS, check_region
from runtime.errors import ShardliftError, UsageError
from runtime.storage import open_storage
from tests.support.gcs_server import GcsServer
from tests.support.google_server import GoogleServer
from tests.support.run_harness import small_spec


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """A spec of three scales."""
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(small_spec((200, 150, 100), 3).to_info()))
    return str(path)


@pytest.fixture
def export(bucket: str) -> str:
    """An export of scales 0 and 2 beside other folders."""
    storage = open_storage(f"gs://{bucket}/export")
    for name in ("s0/0_0_0.arrow", "s0/0_0_0.csv", "s2/0_0_0.arrow", "notes/a.txt", "s10x/a.arrow"):
        storage.write(name, b"x")
    return f"gs://{bucket}/export"


def test_regions() -> None:
    """Known ones pass; others are refused with those that look like them."""
    for region in REGIONS:
        check_region(region)
    with pytest.raises(UsageError) as refused:
        check_region("us-central")
    assert "us-central1" in (refused.value.hint or "")
    assert len(REGIONS) == len(set(REGIONS)) > 40


def test_a_project_is_looked_up(google_server: GoogleServer) -> None:
    """By its id; a refusal is told in words, trouble of the service as such."""
    google_server.projects.add("my-lab", 4711)
    assert checks.project("my-lab", {}) == "number 4711"
    for text in ("My Lab", "a", "x" * 40):
        with pytest.raises(UsageError, match="is not a project id"):
            checks.project(text, {})
    with pytest.raises(UsageError, match="does not exist, or these credentials may not see it"):
        checks.project("other-lab", {})


def test_a_source_is_an_export(export: str, gcs: GcsServer) -> None:
    """Its scales by its folders; the folder of a scale, and one without Arrow files, are none."""
    del gcs
    assert checks.source(export, {}) == "an export of scales 0, 2"
    for place, why in (
        (f"{export}/s0", "holds no export"),
        ("/data/export", "need the export in a bucket"),
        ("gs://no-such-bucket-here/x", "no such bucket"),
    ):
        with pytest.raises(ShardliftError, match=why):
            checks.source(place, {})
    open_storage(f"{export}2").write("s0/0_0_0.csv", b"x")
    with pytest.raises(UsageError, match=r"holds no \.arrow file"):
        checks.source(f"{export}2", {})


def test_scales_are_of_spec_and_export(spec: str, export: str, gcs: GcsServer) -> None:
    """Those to convert are in both; those to make are other ones of the spec."""
    del gcs
    known = {"SOURCE_PATH": export, "NG_SPEC_PATH": spec}
    assert checks.scales("0,2", known) == "from the export"
    for text, why in (
        ("1", "the export has no scale 1"),
        ("7", "the spec has no scale 7"),
        ("x", "scale numbers"),
    ):
        with pytest.raises(UsageError, match=why):
            checks.scales(text, known)
    known["SCALES"] = "0"
    assert checks.other_scales(known) == "1,2"
    assert checks.downres("1,2", known) == "each from the scale before"
    assert checks.downres("none", known) == "no other scale is made"
    for text, why in (("0,1", "both converted and downsampled"), ("3", "the spec has no scale 3")):
        with pytest.raises(UsageError, match=why):
            checks.downres(text, known)
    assert checks.other_scales({**known, "SCALES": "0-2"}) == "none"


def test_the_one_spec_of_a_folder_is_offered(spec: str) -> None:
    """Among other files; of two, none."""
    folder = Path(spec).parent
    (folder / "package.json").write_text("{}")
    assert checks.only_spec(folder) == "spec.json"
    (folder / "other.json").write_text(Path(spec).read_text())
    assert checks.only_spec(folder) is None


def test_a_destination_can_be_written_or_made(bucket: str, export: str) -> None:
    """In a bucket that exists, or does not yet; never in the export or over it."""
    known = {"PROJECT_ID": "my-lab", "REGION": "us-central1", "SOURCE_PATH": export}
    assert checks.dest(f"gs://{bucket}/volume", known) == "can be written"
    assert checks.dest(f"gs://{bucket}-new/volume", known).endswith("to be made in us-central1")
    for place in (export, f"{export}/s0", f"gs://{bucket}/export/"):
        with pytest.raises(UsageError, match="lie in one another"):
            checks.dest(place, known)
    with pytest.raises(UsageError, match="is a whole bucket"):
        checks.dest(f"gs://{bucket}-new", known)
