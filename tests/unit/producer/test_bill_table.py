"""Tables of work and cost: widths, words, what is not known; the guard over a run's cost."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from memmodel.bill import SOFT_DELETE, TRANSFER, Share, bill
from memmodel.bucket_places import BucketPlace, DataPlaces
from memmodel.tiers import GIB, parse_tiers
from memmodel.usage import Usage
from producer import bill_table, render
from producer.data_places import find_places
from producer.export_listing import ScaleListing
from producer.planner import PlanInputs, make_plan
from producer.run_request import Request
from producer.synthetic_export import sample_spec
from tests.support.export_listings import export_file
from tests.support.gcs_server import GcsServer
from tests.support.workspace import Workspace, make_small_workspace

PUBSUB = "pubsub://shardlift-tests/brain"
WEEK_S = 604_800


def test_tables_fit_the_terminal() -> None:
    """A real-sized plan: thousands of shards, terabytes, several tiers."""
    volume = VolumeSpec.parse(sample_spec((700, 500, 300), 3))
    cells = [(x, y, 0) for x in range(0, 700, 256) for y in range(0, 500, 256)]
    files = [
        export_file(f"s0/{x}_{y}_{z}.arrow", (x, y, z), 1 << (40 - x // 32)) for x, y, z in cells
    ]
    asked = Request(volume, "/source", "/dest", (0,), (1, 2))
    tiers = parse_tiers("0.2,0.3,0.5,2")
    nothing: dict[int, dict[int, object]] = {0: {}, 1: {}, 2: {}}
    planned = make_plan(asked, PlanInputs({0: ScaleListing(0, tuple(files))}, nothing), tiers)  # type: ignore[arg-type]
    found = bill_table.bill_of(planned.forecasts, asked)
    tables = (
        render.tier_table(planned.forecasts, tiers),
        bill_table.work_table(planned.forecasts, tiers),
        bill_table.bill_table(found),
    )
    for table in tables:
        assert max(map(len, table.splitlines())) <= render.WIDTH
    shards = [int(line.split()[1]) for line in tables[0].splitlines()[1:]]
    assert sum(shards) == len(planned.forecasts)
    total = next(line for line in tables[1].splitlines() if line.startswith("all"))
    assert int(total.split()[1]) == len(planned.forecasts)
    assert total.split()[-1] == f"${found.total():,.2f}"  # one sum, in both tables
    assert "for data in buckets" in tables[2]


def test_a_bill_in_words() -> None:
    """Ways to rent workers side by side, utilisation by name, what recurs, what is kept."""
    usage = Usage(360_000, 40_000, 8_000, 1_000, bytes_out=400 * GIB, bytes_in=500 * GIB)
    dest = BucketPlace("us-central1", soft_delete_s=WEEK_S)
    places = DataPlaces(BucketPlace("us-east1"), dest, "us-central1")
    found = bill([Share(parse_tiers("4")[0], "convert", usage)], places)
    assert bill_table.bill_table(found).splitlines() == [
        "cost                          worker pool      job  Spot VM",
        "workers, 4 d 04 h                   $5.76    $9.36    $1.34",
        "idling (x 1.05/1.04/1.05)           $0.29    $0.37    $0.07",
        "requests, 48,000                    $0.06    $0.06    $0.06",
        "messages, 1,000                   < $0.01  < $0.01  < $0.01",
        "transfer between regions           $10.00   $10.00   $10.00",
        "soft delete (7 days)                $1.84    $1.84    $1.84",
        "in all                             $17.94   $21.63   $13.30",
        "storage, 400 GiB, each month        $8.00    $8.00    $8.00",
        "list prices of 2026-11-26, us-central1, no free tiers; docs/cost.md explains",
    ]


def test_buckets_are_looked_at(
    gcs: GcsServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Location and soft delete, on by default, by the bucket; a missing one cannot be checked."""
    monkeypatch.setenv("REGION", "us-central1")
    policy = {"softDeletePolicy": {"retentionDurationSeconds": str(WEEK_S)}}
    gcs.state.bucket_properties[bucket] = {"location": "US-EAST1", **policy}
    found = find_places("/folder", f"gs://{bucket}/volume")
    assert found == DataPlaces(None, BucketPlace("us-east1", True, WEEK_S), "us-central1")
    gcs.state.bucket_properties[bucket] = {"location": "US"}
    assert find_places(None, f"gs://{bucket}/volume").dest == BucketPlace("us", False, WEEK_S)
    missing = find_places("gs://no-such-bucket/export", f"gs://{bucket}/volume")
    assert [reason.split(":")[0] for reason in missing.unknown] == ["gs"]
    monkeypatch.delenv("REGION")
    assert "set REGION" in find_places(None, f"gs://{bucket}/volume").unknown[0]
    found_bill = bill([Share(parse_tiers("4")[0], "convert", Usage(1, bytes_out=GIB))], missing)
    assert found_bill.line(TRANSFER) is None
    assert found_bill.line(SOFT_DELETE) == pytest.approx(0.026 * 7 / 30.4375)
    text = bill_table.bill_table(found_bill)
    assert "transfer between regions          unknown" in text
    assert "cannot be checked: gs://no-such-bucket" in text


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A small export."""
    return make_small_workspace(tmp_path)


def guarded(workspace: Workspace, *options: str) -> list[str]:
    """`enqueue` of a run that costs more than its limit of nothing, on rented workers."""
    limits = ("--queue", PUBSUB, "--max-dollars", "0")
    return workspace.enqueue_command("--scales", "0", *limits, *options)


def test_a_dear_run_is_refused_without_a_terminal(workspace: Workspace) -> None:
    """Exit 2 with the bill; nothing is written; neither dry runs nor one machine ask."""
    before = workspace.files(".")
    done = workspace.run(*guarded(workspace))
    assert done.returncode == 2
    assert "idling (x" in done.stderr
    assert "start a run of about $0.01, more than the $0.00 of MAX_DOLLARS" in done.stderr
    assert "hint: if that is meant, pass --yes" in done.stderr
    assert workspace.files(".") == before
    assert workspace.run(*guarded(workspace, "--dry-run")).returncode == 0
    command = workspace.enqueue_command("--scales", "0", "--max-dollars", "0")
    assert workspace.run(*command).returncode == 0  # the embedded queue rents nothing


def test_a_dear_run_asks_on_a_terminal(workspace: Workspace) -> None:
    """No is 130, and nothing is written."""
    before = workspace.files(".")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "producer", *guarded(workspace)],
        cwd=workspace.folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while b"?" not in said:
        said += os.read(ours, 4096)
    os.write(ours, b"n\n")
    assert process.wait(60) == 130
    os.close(ours)
    assert b"Start a run of about $0.01, more than the $0.00 of MAX_DOLLARS?" in said
    assert workspace.files(".") == before
