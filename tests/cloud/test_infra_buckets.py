"""`infra` looks at buckets, makes those that are missing, and leaves the others alone."""

import pytest

from tests.support.cloud_project import CloudProject
from tests.support.gcs_server import GcsServer
from tests.support.google_server import GoogleServer

BUCKETS = ("--only", "buckets")


@pytest.fixture
def cloud(pubsub_emulator: str, google_server: GoogleServer, gcs: GcsServer) -> CloudProject:
    """An empty project."""
    del pubsub_emulator
    return CloudProject(google_server, gcs)


def test_up_makes_missing_buckets_in_one_call_each(cloud: CloudProject) -> None:
    """Regional, standard, uniform access, no soft delete; the export's is not ours to make."""
    before = cloud.writes()
    expected = {cloud.source: ["warn"], cloud.dest: ["create"], cloud.state: ["create"]}
    assert cloud.actions("bucket", "up", *BUCKETS, "--dry-run") == expected
    assert cloud.writes() == before
    assert cloud.actions("bucket", "up", *BUCKETS) == expected
    assert cloud.writes() == before + 2
    for name in (cloud.dest, cloud.state):
        found = cloud.gcs.bucket(name)
        assert (found["location"], found["locationType"]) == ("US-CENTRAL1", "region")
        assert found["storageClass"] == "STANDARD"
        assert found["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
        assert found["softDeletePolicy"]["retentionDurationSeconds"] == "0"
        assert found["metageneration"] == "1"
    assert cloud.source not in cloud.gcs.state.buckets
    assert cloud.actions("bucket", "up", *BUCKETS)[cloud.state] == ["ok"]
    assert cloud.writes() == before + 2


def test_a_new_bucket_has_its_price(cloud: CloudProject) -> None:
    """As people read it, and as data."""
    found = {one["name"]: one for one in cloud.changes("up", *BUCKETS, "--dry-run")}
    assert found[cloud.dest]["price"] == {"dollars": 0.02, "per": "GiB and month"}
    assert found[cloud.source]["price"] is None
    assert "$0.02 per GiB and month" in cloud.run("up", *BUCKETS, "--dry-run").stdout


def test_up_turns_soft_delete_of_the_destination_off_and_nothing_else(cloud: CloudProject) -> None:
    """Of a bucket with everything wrong; those of source and state stay as they are."""
    cloud.gcs.make_bucket(cloud.dest, location="EU", versioning={"enabled": True})
    cloud.gcs.make_bucket(cloud.source, location="US-CENTRAL1")
    cloud.gcs.make_bucket(cloud.state, location="US-CENTRAL1")
    before = {name: cloud.gcs.bucket(name) for name in (cloud.source, cloud.dest, cloud.state)}
    said = cloud.run("check", *BUCKETS, code=1).stdout
    assert "+ 23 % of a month's storage: $0.0046 per GiB written" in said
    assert "`up` turns it off, and changes nothing else" in said
    assert cloud.gcs.bucket(cloud.dest) == before[cloud.dest]
    expected = ["warn", "update", "warn", "note"]  # location, soft delete, versions, CORS
    assert cloud.actions("bucket", "up", *BUCKETS)[cloud.dest] == expected
    after = cloud.gcs.bucket(cloud.dest)
    changed = {key for key in after if after[key] != before[cloud.dest][key]}
    assert changed == {"softDeletePolicy", "metageneration", "updated", "etag"}
    assert after["softDeletePolicy"]["retentionDurationSeconds"] == "0"
    for name in (cloud.source, cloud.state):
        assert cloud.gcs.bucket(name) == before[name]
    writes = cloud.writes()
    assert cloud.actions("bucket", "up", *BUCKETS)[cloud.dest] == ["warn", "warn", "note"]
    assert cloud.writes() == writes


def test_a_bucket_that_changes_meanwhile_is_read_again(cloud: CloudProject) -> None:
    """The precondition on its metageneration fails; soft delete still goes off."""
    cloud.gcs.make_bucket(cloud.dest, location="US-CENTRAL1")
    cloud.gcs.fail(rf"/b/{cloud.dest}\?", times=2, how=412, method="PATCH")
    cloud.run("up", *BUCKETS)
    kept = cloud.gcs.bucket(cloud.dest)["softDeletePolicy"]["retentionDurationSeconds"]
    assert kept == "0"


@pytest.mark.parametrize("how", ["lost", 503, "reset"])
def test_passing_trouble_is_retried(cloud: CloudProject, how: int | str) -> None:
    """A bucket whose making got no answer is there; that counts as made."""
    cloud.gcs.make_bucket(cloud.dest, location="US-CENTRAL1")
    cloud.gcs.fail(r"/storage/v1/b\?", how=how, method="POST")
    cloud.gcs.fail(rf"/b/{cloud.dest}", how=how, method="PATCH")
    cloud.run("up", *BUCKETS)
    assert cloud.state in cloud.gcs.state.buckets
    assert cloud.actions("bucket", "check", *BUCKETS, code=1)[cloud.dest] == ["note", "ok"]


def test_a_look_that_is_denied_is_not_a_failure(cloud: CloudProject) -> None:
    """No role on objects allows it: it cannot be checked, and that is said."""
    for name in (cloud.source, cloud.dest, cloud.state):
        cloud.gcs.make_bucket(name, location="US-CENTRAL1")
        cloud.gcs.state.denied[name] = {"storage.buckets.get"}
    done = cloud.run("check", *BUCKETS)
    assert done.stdout.count("cannot be checked") == 3
    assert "storage.buckets.get" in done.stdout
    before = cloud.writes()
    assert cloud.actions("bucket", "up", *BUCKETS) == {
        cloud.source: ["skip"],
        cloud.dest: ["skip"],
        cloud.state: ["skip"],
    }
    assert cloud.writes() == before


def test_a_source_whose_readers_pay_is_a_finding(cloud: CloudProject) -> None:
    """Without a project that pays, not even a look is allowed."""
    cloud.gcs.make_bucket(cloud.source, location="US-CENTRAL1", billing={"requesterPays": True})
    cloud.settings |= {"DEST_PATH": "", "STATE_PATH": ""}
    assert cloud.actions("bucket", "check", *BUCKETS, code=1) == {cloud.source: ["warn"]}
    assert "set USER_PROJECT" in cloud.run("check", *BUCKETS, code=1).stdout
    cloud.settings["USER_PROJECT"] = "lab-that-pays"
    assert cloud.actions("bucket", "check", *BUCKETS) == {cloud.source: ["note", "ok"]}


def test_a_name_that_is_taken_is_said(cloud: CloudProject) -> None:
    """A bucket of another project looks like one that cannot be checked."""
    cloud.gcs.state.others_buckets.add(cloud.dest)
    cloud.settings |= {"SOURCE_PATH": "", "STATE_PATH": f"gs://{cloud.dest}/runs"}
    assert cloud.actions("bucket", "up", *BUCKETS) == {cloud.dest: ["skip"]}


def test_without_a_region_no_bucket_is_made(cloud: CloudProject) -> None:
    """Its location cannot be changed afterwards."""
    cloud.settings["REGION"] = ""
    before = cloud.writes()
    assert cloud.actions("bucket", "up", *BUCKETS)[cloud.dest] == ["warn"]
    assert "set REGION" in cloud.run("check", *BUCKETS, code=1).stdout
    assert cloud.writes() == before


def test_down_leaves_buckets_and_says_so(cloud: CloudProject) -> None:
    """They hold data."""
    cloud.run("up", "--only", "buckets,topics")
    cloud.gcs.make_bucket(cloud.source)
    assert cloud.run("down", "--yes").stdout.count("holds data: it stays, and is billed") == 3
    assert {cloud.source, cloud.dest, cloud.state} <= cloud.gcs.state.buckets.keys()


def test_folders_of_this_machine_have_no_bucket(cloud: CloudProject, tmp_path: object) -> None:
    """Nothing is looked at."""
    cloud.settings |= {"SOURCE_PATH": str(tmp_path), "DEST_PATH": "", "STATE_PATH": ""}
    before = len(cloud.gcs.seen)
    assert cloud.changes("check", *BUCKETS) == []
    assert len(cloud.gcs.seen) == before


def test_the_real_cloud_is_left_alone_while_the_queue_is_emulated(
    cloud: CloudProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test on this machine must not make buckets and accounts in a project."""
    for name in cloud.google.environment():
        monkeypatch.delenv(name)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    done = cloud.run("check", code=1)
    said = "the queue is an emulator's and the cloud is not: left out: apis, buckets, accounts"
    assert said in done.stderr
    assert {one["kind"] for one in cloud.changes("check", code=1)} == {
        "topic",
        "subscription",
        "binding",
    }
