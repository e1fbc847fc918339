"""`python -m infra` makes, compares and removes homes of workers: processes, a strict Cloud Run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.cloud import run_v2

from infra import google_clients
from runtime.settings import DEFAULT_TIERS
from tests.support.commands import CommandResult, run_in_process
from tests.support.emulator import new_queue_url
from tests.support.google_server import GoogleServer
from tests.support.ledgers import made_run, row
from tests.support.run_harness import small_spec

ROOT = Path(__file__).resolve().parents[2]
PARENT = "projects/shardlift-tests/locations/us-central1"
REPOSITORY = "us-central1-docker.pkg.dev/shardlift-tests/shardlift/shardlift"
IMAGE = f"{REPOSITORY}@sha256:{'0' * 64}"
NEWER = f"{REPOSITORY}@sha256:{'1' * 64}"
SIX = [2, 4, 8, 16, 24, 32]
PATCH = "run.projects.locations.workerPools.patch"
Untyped = Any  # Google publishes no types


class Infra:
    """The program's commands on one queue, against one Cloud Run."""

    def __init__(self, google: GoogleServer) -> None:
        self.google = google
        self.url = new_queue_url()
        self.prefix = self.url.rpartition("/")[2]
        self.settings = {
            "QUEUE_URL": self.url,
            "REGION": "us-central1",
            "WORKER_IMAGE": IMAGE,
            "STATE_PATH": "gs://some-bucket/runs",
            "STORAGE_RETRY_S": "5",
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of the program; a setting of "" is left out."""
        known = {k: v for k, v in os.environ.items() if k not in {"PROJECT_ID", "DEST_PATH"}}
        return {k: v for k, v in (known | self.settings).items() if v}

    def run(self, *arguments: str, code: int = 0) -> CommandResult:
        """Run a command of which the exit code is known."""
        if arguments[0] in {"up", "check", "down"} and "--only" not in arguments:
            arguments = (*arguments, "--only", "topics,pools")
        done = run_in_process("infra", *arguments, folder=ROOT, environment=self.environment)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def changes(self, *arguments: str, code: int = 0) -> dict[str, str]:
        """Action by pool or job."""
        document = self.run(*arguments, "--json", code=code).document
        changes = [c for c in document["changes"] if c["kind"] in {"pool", "job"}]
        return {f"{c['kind']} {c['name'].removeprefix(self.prefix)}": c["action"] for c in changes}

    def name(self, tier: str) -> str:
        """A pool's full name."""
        return f"{PARENT}/workerPools/{self.prefix}-{tier}"

    def counts(self) -> dict[str, int]:
        """Instances by pool."""
        pools = self.google.worker_pools
        return {name.rpartition(f"{self.prefix}-")[2]: pools.count(name) for name in pools.found}


@pytest.fixture
def infra(pubsub_emulator: str, google_server: GoogleServer) -> Infra:
    """On a queue and a Cloud Run of its own."""
    del pubsub_emulator
    return Infra(google_server)


def foreign(pool_id: str, **fields: object) -> None:
    """A pool that somebody else made."""
    pool = run_v2.WorkerPool(template={"containers": [{"image": "busybox"}]}, **fields)
    client = google_clients.worker_pools()
    client.create_worker_pool(parent=PARENT, worker_pool_id=pool_id, worker_pool=pool).result()


def test_up_makes_a_pool_per_tier_without_instances(infra: Infra) -> None:
    """Memory with the CPUs that go with it; a second time nothing is sent."""
    infra.settings["USER_PROJECT"] = "payer"
    assert infra.changes("up") == {f"pool -{gib}gi": "create" for gib in SIX}
    assert infra.counts() == {f"{gib}gi": 0 for gib in SIX}
    found = infra.google.worker_pools.found.get(infra.name("24gi"))
    (container,) = found["template"]["containers"]
    assert container["image"] == IMAGE
    assert container["resources"]["limits"] == {"cpu": "6", "memory": "24Gi"}
    assert container["args"] == ["consumer", "work", "--tier", "24gi"]
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "QUEUE_URL": infra.url,
        "STATE_PATH": "gs://some-bucket/runs",
        "USER_PROJECT": "payer",
        "STORAGE_RETRY_S": "5",
        "TIERS": DEFAULT_TIERS,
        "LEASE_S": "60",
        "LOG_FORMAT": "json",
        "WORKER_MEMORY": "24576MiB",
    }
    account = "shardlift-worker@shardlift-tests.iam.gserviceaccount.com"
    assert found["template"]["serviceAccount"] == account
    assert found["labels"]["shardlift-tier"] == "24gi"
    writes = len(infra.google.writes())
    assert set(infra.changes("up").values()) == {"ok"}
    assert set(infra.changes("check").values()) == {"ok"}
    assert len(infra.google.writes()) == writes == len(SIX)


def test_a_count_is_no_drift_and_survives_another_image(infra: Infra) -> None:
    """One PATCH of the template for each pool; also a count that is set while it is sent."""
    infra.settings["TIERS"] = "2,4"
    infra.run("up")
    infra.google.worker_pools.set_count(infra.name("2gi"), 3)
    assert set(infra.changes("check").values()) == {"ok"}
    infra.google.before(
        r"workerPools\.patch", lambda _: infra.google.worker_pools.set_count(infra.name("4gi"), 7)
    )
    infra.settings["WORKER_IMAGE"] = NEWER
    output = infra.run("check", code=1).stdout
    assert f"update   pool         {infra.prefix}-2gi  template.containers.worker.image" in output
    before = len(infra.google.writes())
    assert infra.changes("up") == {"pool -2gi": "update", "pool -4gi": "update"}
    sent = infra.google.writes()[before:]
    assert [(one.method, one.query["updateMask"]) for one in sent] == [(PATCH, "template")] * 2
    assert infra.counts() == {"2gi": 3, "4gi": 7}
    infra.settings["WORKER_IMAGE"] = ""
    assert set(infra.changes("check").values()) == {"ok"}  # pools keep the image they have


def test_what_others_added_stays(infra: Infra) -> None:
    """Only fields that infra sets are compared and written."""
    infra.settings["TIERS"] = "2"
    infra.run("up")
    client = google_clients.worker_pools()
    pool = client.get_worker_pool(name=infra.name("2gi"))
    pool.labels["team"] = "neurons"
    pool.template.annotations["note"] = "kept"
    pool.template.containers[0].env[0].value = "elsewhere"
    client.update_worker_pool(worker_pool=pool).result()
    assert "template.containers.worker.env.LEASE_S" in infra.run("check", code=1).stdout
    assert infra.changes("up") == {"pool -2gi": "update"}
    found = infra.google.worker_pools.found.get(infra.name("2gi"))
    assert found["labels"]["team"] == "neurons"
    assert found["template"]["annotations"] == {"note": "kept"}
    assert infra.changes("check") == {"pool -2gi": "ok"}


def test_foreign_pools_are_named_and_stay(infra: Infra) -> None:
    """Under our prefix; pools of a queue with a longer prefix are not even named."""
    infra.settings["TIERS"] = "2"
    foreign(f"{infra.prefix}-web")
    other = Infra(infra.google)
    other.url = f"{infra.url}-b"
    other.prefix, other.settings["QUEUE_URL"] = f"{infra.prefix}-b", other.url
    other.settings["TIERS"] = "2"
    other.run("up", "--only", "pools")
    expected = {"pool -2gi": "create", "pool -web": "extra"}
    assert infra.changes("up", "--dry-run") == expected
    assert infra.changes("up") == expected
    infra.settings["TIERS"] = "4"
    assert infra.changes("up")["pool -2gi"] == "extra"
    expected = {"pool -2gi": "delete", "pool -4gi": "delete", "pool -web": "extra"}
    assert infra.changes("down", "--yes") == expected
    assert set(infra.counts()) == {"web", "b-2gi"}


def test_a_foreign_pool_in_the_way_is_a_conflict(infra: Infra) -> None:
    """Nothing is made then."""
    infra.settings["TIERS"] = "2,4"
    foreign(f"{infra.prefix}-4gi")
    assert infra.changes("check", code=1)["pool -4gi"] == "conflict"
    done = infra.run("up", code=2)
    assert f"pool {infra.prefix}-4gi was not made for this queue" in done.stderr
    assert set(infra.counts()) == {"4gi"}
    assert "to create" in infra.run("check", "--only", "topics", code=1).stdout


def test_down_with_running_instances_needs_yes(infra: Infra) -> None:
    """It says how many run."""
    infra.settings["TIERS"] = "2"
    infra.run("up")
    infra.google.worker_pools.set_count(infra.name("2gi"), 3)
    done = infra.run("down", code=2)
    assert f"would delete 5 resources of {infra.url} with 3 running instances" in done.stderr
    assert "hint: if that is meant, pass --yes" in done.stderr
    assert "3 running instances" in infra.run("down", "--dry-run").stdout
    assert infra.counts() == {"2gi": 3}
    infra.run("down", "--yes")
    assert infra.counts() == {}
    assert "nothing there" in infra.run("down").stdout


def test_stop_sets_all_counts_to_0(infra: Infra) -> None:
    """Also while another program scales; what is 0 already is not written."""
    infra.settings["TIERS"] = "2,4"
    infra.run("up", "--only", "pools")
    infra.google.worker_pools.set_count(infra.name("2gi"), 3)
    assert infra.changes("stop", "--dry-run") == {"pool -2gi": "update", "pool -4gi": "ok"}
    assert infra.counts() == {"2gi": 3, "4gi": 0}
    infra.google.before(
        PATCH, lambda _: infra.google.worker_pools.set_count(infra.name("2gi"), 9), times=2
    )
    infra.google.fail(PATCH, how="lost")
    output = infra.run("stop").stdout
    assert f"updated  pool         {infra.prefix}-2gi  3 instances to 0" in output
    assert infra.counts() == {"2gi": 0, "4gi": 0}
    before = len(infra.google.writes())
    assert infra.changes("stop") == {"pool -2gi": "ok", "pool -4gi": "ok"}
    assert len(infra.google.writes()) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"TIERS": "0.3,2"}, "tier 307mi cannot be a worker pool"),
        ({"QUEUE_URL": f"pubsub://shardlift-tests/{'q' * 46}"}, "cannot name a worker pool"),
        ({"QUEUE_URL": "pubsub://shardlift-tests/Big.Brain"}, "cannot name a worker pool"),
        ({"STATE_PATH": ""}, "worker pools need a state root"),
        ({"REGION": "Europe/West"}, "'Europe/West' is not a region of Google Cloud"),
        ({"WORKER_IMAGE": "my image"}, "'my image' is not a container image"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    infra: Infra, settings: Mapping[str, str], message: str
) -> None:
    """One line and a hint; no request was sent."""
    infra.settings |= settings
    done = infra.run("up", code=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not infra.google.seen
    infra.settings["REGION"] = ""
    output = infra.run("check", code=1).stdout
    assert " 0 ok" not in output
    assert "ok       topic" not in output


def test_without_region_or_image_no_pool_is_made(infra: Infra) -> None:
    """Topics are; what is left out is said."""
    infra.settings |= {"TIERS": "2", "WORKER_IMAGE": ""}
    output = infra.run("up").stdout
    assert "no image is configured: set WORKER_IMAGE or pass --image" in output
    assert "4 created, 2 skip" in output
    infra.settings["REGION"] = ""
    said = "no region is configured, so worker pools are left out: set REGION"
    assert f"note: {said}" in infra.run("up").stderr
    assert infra.run("check", "--json").document["notes"] == [said]
    assert said in infra.run("up", "--only", "pools", code=2).stderr
    assert "in which region" in infra.run("stop", code=2).stderr
    assert not infra.google.writes()


def test_an_emulated_queue_gets_no_pools_in_the_real_cloud(
    infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would serve nothing, for money."""
    monkeypatch.delenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN")
    infra.settings["TIERS"] = "2"
    assert "the queue is an emulator's and Cloud Run is not" in infra.run("up").stderr


def test_an_image_without_digest_is_noted(infra: Infra) -> None:
    """Its tag may move."""
    infra.settings["TIERS"] = "2"
    done = infra.run("up", "--image", "ghcr.io/lab/shardlift:2", "--only", "pools")
    assert "has no digest" in done.stderr
    assert "unknown" in infra.run("up", "--only", "unknown", code=2).stderr


@pytest.mark.parametrize("how", ["lost", 503, "reset", 409])
@pytest.mark.parametrize("pattern", ["create", "patch", "delete"])
def test_passing_trouble_is_retried(infra: Infra, pattern: str, how: int | str) -> None:
    """A request whose answer is lost is sent again; it counts as done."""
    infra.settings["TIERS"] = "2,4"
    infra.google.fail(rf"workerPools\.{pattern}", how=how)
    infra.run("up", "--only", "pools")
    infra.settings["WORKER_IMAGE"] = NEWER
    infra.run("up", "--only", "pools")
    assert set(infra.changes("check", "--only", "pools").values()) == {"ok"}
    infra.run("down", "--yes", "--only", "pools")
    assert infra.counts() == {}


def test_operations_that_fail_are_said(infra: Infra) -> None:
    """Cloud Run takes the request and finds later that it may not."""
    infra.settings["TIERS"] = "2"
    infra.google.operations.polls = 1
    infra.google.operations.fail_next(7, "Permission denied on image")
    done = infra.run("up", "--only", "pools", code=2)
    assert "Cloud Run refuses this account: Permission denied on image" in done.stderr
    pool = infra.google.worker_pools.found.get(infra.name("2gi"))
    state = {"type": "Ready", "state": "CONDITION_FAILED", "message": "Image not found"}
    infra.google.worker_pools.found.put(infra.name("2gi"), {**pool, "terminalCondition": state})
    assert "not ready: Image not found" in infra.run("check", "--only", "pools").stdout


@pytest.mark.parametrize("at", range(1, 6))
def test_killed_at_any_call_up_converges(infra: Infra, at: int) -> None:
    """The process is killed before its n-th call takes effect; `up` again completes the work."""
    infra.settings["TIERS"] = "2,4"
    infra.run("up", "--only", "topics")
    foreign(f"{infra.prefix}-web")
    begun = infra.google.count(".")
    process = subprocess.Popen(
        [sys.executable, "-m", "infra", "up", "--only", "pools"], cwd=ROOT, env=infra.environment
    )
    infra.google.before(".", killer(process, at), times=at)
    assert process.wait(120) in {-signal.SIGKILL, 0}
    assert infra.google.count(".") >= begun + at - 1
    infra.google.heal()
    infra.run("up")
    assert set(infra.changes("check").values()) == {"ok", "extra"}
    assert infra.counts() == {"2gi": 0, "4gi": 0, "web": 1}


def killer(process: "subprocess.Popen[bytes]", at: int) -> Callable[[object], None]:
    """An action that kills a process at its n-th call."""
    left = [at]

    def act(_call: object) -> None:
        left[0] -= 1
        if not left[0]:
            process.kill()

    return act


def test_jobs_run_the_same_image_until_idle(infra: Infra) -> None:
    """Made, compared and removed as pools are; pools of the same queue are left over."""
    infra.settings["TIERS"] = "2,4"
    infra.run("up", "--only", "pools")
    jobs = ("--home", "jobs", "--only", "pools")
    expected = {"job -2gi": "create", "job -4gi": "create", "pool -2gi": "extra"}
    assert infra.changes("up", *jobs) == {**expected, "pool -4gi": "extra"}
    job = infra.google.jobs.found.get(f"{PARENT}/jobs/{infra.prefix}-4gi")
    task = job["template"]["template"]
    pool = infra.google.worker_pools.found.get(infra.name("4gi"))["template"]
    arguments = ["consumer", "work", "--tier", "4gi", "--until-idle", "60"]
    assert task["containers"] == [{**pool["containers"][0], "args": arguments}]
    assert task["serviceAccount"] == pool["serviceAccount"]
    assert task["timeout"] == "604800s"
    writes = len(infra.google.writes())
    assert infra.changes("up", *jobs)["job -4gi"] == "ok"
    assert len(infra.google.writes()) == writes
    infra.settings["WORKER_IMAGE"] = NEWER
    assert infra.changes("up", *jobs)["job -2gi"] == "update"
    assert infra.changes("check", *jobs)["job -2gi"] == "ok"
    client = google_clients.jobs()
    request = {"name": job["name"], "overrides": {"task_count": 5}}
    client.run_job(request=request).result()
    assert "5 running instances" in infra.run("down", *jobs[2:], code=2).stderr
    assert "5 instances to 0" in infra.run("stop").stdout
    assert infra.changes("stop")["job -4gi"] == "ok"
    assert set(infra.changes("down", "--yes", *jobs[2:]).values()) == {"delete"}
    assert not list(infra.google.jobs.found)
    assert infra.counts() == {}


def test_start_runs_as_many_tasks_as_the_ledger_is_worth(infra: Infra, tmp_path: Path) -> None:
    """One for each of the last eight shards; those that run are not started again."""
    infra.settings |= {"TIERS": "2,4", "STATE_PATH": str(tmp_path / "runs")}
    assert "has no jobs" in infra.run("start", code=2).stderr
    infra.run("up", "--only", "pools", "--home", "jobs")
    infra.settings["WORKER_IMAGE"] = ""
    assert infra.changes("start") == {"job -2gi": "ok", "job -4gi": "ok"}
    rows = [row(f"s0/{number}") for number in range(4)]
    volume = small_spec((512, 256, 128), 1).to_info()
    made_run(tmp_path / "runs", rows, queue=infra.url, downres=(), volume=volume)
    assert "4 tasks more" in infra.run("start", "--dry-run").stdout
    assert not list(infra.google.jobs.executions)
    infra.run("start", "--max-per-tier", "3")
    assert infra.changes("start") == {"job -2gi": "update", "job -4gi": "ok"}
    found = [infra.google.jobs.executions.get(name) for name in infra.google.jobs.executions]
    assert sorted(one["taskCount"] for one in found) == [1, 3]
    assert infra.changes("start") == {"job -2gi": "ok", "job -4gi": "ok"}
    infra.settings["STATE_PATH"] = ""
    assert "where are the runs" in infra.run("start", code=2).stderr


def test_results_are_one_json_document(infra: Infra) -> None:
    """With notes beside the changes."""
    infra.settings["TIERS"] = "2"
    document = json.loads(infra.run("up", "--json", "--dry-run").stdout)
    assert document["queue"] == infra.url
    assert document["dry_run"] is True
    pools = [one for one in document["changes"] if one["kind"] == "pool"]
    name = f"{infra.prefix}-2gi"
    change = {"action": "create", "kind": "pool", "name": name, "note": "", "price": None}
    assert pools == [change]
    assert document["next"] is None  # no export is named
    assert not infra.google.writes()
