"""`infra check --canary`: one instance, a sign of life or the reason, and no instance after it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from infra.documents import ChangesDocument
from infra.pool_client import PoolClient
from infra.pool_resources import LEFT_BY_CANARY
from runtime.storage import open_storage
from tests.support.cloud_run_instances import CloudRunInstances
from tests.support.commands import CommandResult, run_in_process
from tests.support.emulator import make_topology, new_queue_url, remove_topology
from tests.support.google_api.calls import Call
from tests.support.google_server import GoogleServer
from tests.support.waiting import wait_for
from tests.support.workspace import clean_environment

REGION: Final = "us-central1"
PARENT: Final = f"projects/shardlift-tests/locations/{REGION}"
IMAGE: Final = f"{REGION}-docker.pkg.dev/shardlift-tests/shardlift/shardlift@sha256:{'0' * 64}"
SECONDS: Final = "120"  # in which a worker starts, on a busy machine


class Cloud:
    """Two pools without instances, made by `infra up`."""

    def __init__(self, google: GoogleServer, bucket: str, folder: Path) -> None:
        self.google, self.bucket, self.folder = google, bucket, folder
        self.queue = new_queue_url()
        self.prefix = self.queue.rpartition("/")[2]
        self.settings = {
            "QUEUE_URL": self.queue,
            "REGION": REGION,
            "STATE_PATH": f"gs://{bucket}/runs",
            "WORKER_IMAGE": IMAGE,
            "TIERS": "0.5,1",
            "STORAGE_RETRY_S": "5",
        }
        make_topology(self.queue, ("512mi", "1gi"))
        self.run("up", "--only", "pools")

    @property
    def environment(self) -> dict[str, str]:
        """Of the program."""
        unset = {"PROJECT_ID", "DEST_PATH", "SOURCE_PATH"}
        known = {name: value for name, value in clean_environment().items() if name not in unset}
        return known | self.settings

    def run(self, *arguments: str, code: int = 0) -> CommandResult:
        """A command of which the exit code is known."""
        done = run_in_process("infra", *arguments, folder=self.folder, environment=self.environment)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def canary(self, *more: str, code: int = 0, seconds: str = SECONDS) -> list[dict[str, Any]]:
        """What was found of each pool."""
        options = ("--only", "topics,pools", "--canary", "--canary-timeout", seconds, "--json")
        done = self.run("check", *options, *more, code=code)
        changes = done.document["changes"]
        assert len(ChangesDocument.model_validate_json(done.stdout).changes) == len(changes)
        return [one for one in changes if one["kind"] == "canary"]

    def instances(self, **environment: str) -> CloudRunInstances:
        """A Cloud Run that starts real workers, with more variables."""
        return CloudRunInstances(self.google, self.folder, clean_environment() | environment)

    def name(self, tier: str = "512mi") -> str:
        """Full name of a pool."""
        return f"{PARENT}/workerPools/{self.prefix}-{tier}"

    @property
    def counts(self) -> dict[str, int]:
        """Instances by tier."""
        pools = self.google.worker_pools
        return {name.rpartition("-")[2]: pools.count(name) for name in pools.found}

    @property
    def files(self) -> list[str]:
        """Objects in the bucket."""
        return [one.path for one in open_storage(f"gs://{self.bucket}").list("")]


@pytest.fixture
def cloud(
    tmp_path: Path, google_server: GoogleServer, pubsub_emulator: str, bucket: str
) -> Iterator[Cloud]:
    """Pools that nobody has tried yet."""
    del pubsub_emulator
    made = Cloud(google_server, bucket, tmp_path)
    yield made
    remove_topology(made.queue)


def test_a_worker_answers(cloud: Cloud) -> None:
    """Of the smallest pool, in which then no instance is left; its log tells of it."""
    with cloud.instances() as instances:
        (found,) = cloud.canary()
        assert found["action"] == "ok"
        assert found["name"] == f"{cloud.prefix}-512mi"
        assert "answered after" in found["note"]
        assert cloud.counts == {"512mi": 0, "1gi": 0}
        (worker,) = instances.all
        assert worker.events("canary_answered")
        wait_for(lambda: not instances.running(), "no instance")
    assert not cloud.files


@pytest.mark.slow
def test_each_pool_is_tried_where_only_pools_are_checked(cloud: Cloud) -> None:
    """One after another; what a worker cannot read is named, with exit code 1."""
    cloud.settings |= {"SOURCE_PATH": "gs://no-such-bucket/export"}
    with cloud.instances():
        found = cloud.canary("--only", "pools", code=1)
    assert [one["name"].rpartition("-")[2] for one in found] == ["512mi", "1gi"]
    for one in found:
        assert one["action"] == "warn"
        assert "no-such-bucket" in one["note"]
    assert cloud.counts == {"512mi": 0, "1gi": 0}


def test_an_image_that_is_missing_is_named(cloud: Cloud) -> None:
    """By Cloud Run's own condition, at once."""
    with cloud.instances() as instances:
        instances.missing.add(IMAGE)
        (found,) = cloud.canary(code=1)
    assert found["action"] == "warn"
    assert f"Image '{IMAGE}' not found." in found["note"]
    assert cloud.counts == {"512mi": 0, "1gi": 0}


def test_a_wrong_variable_is_named(cloud: Cloud) -> None:
    """The worker ends at its start each time: its log says why, before the time is over."""
    with cloud.instances(LOG_LEVEL="loud"):
        (found,) = cloud.canary(code=1, seconds="600")
    assert "the worker ends at its start" in found["note"]
    assert "LOG_LEVEL" in found["note"]
    assert cloud.counts == {"512mi": 0, "1gi": 0}


@pytest.mark.parametrize(
    ("how", "said"),
    [(200, "its log is empty"), (403, "needs roles/logging.viewer")],
)
def test_without_a_sign_of_life_the_log_has_the_last_word(
    cloud: Cloud, how: int, said: str
) -> None:
    """As far as the caller may read it."""
    if how != 200:
        cloud.google.fail("logging.entries.list", 99, how)
    (found,) = cloud.canary(code=1, seconds="2")
    assert found["note"].startswith("no sign of life within 2 s; ")
    assert said in found["note"]
    assert cloud.counts == {"512mi": 0, "1gi": 0}


@pytest.mark.slow
def test_rights_that_were_just_granted_are_waited_for(cloud: Cloud) -> None:
    """They take a while to hold."""
    cloud.google.fail("workerPools.patch", 2, 403)
    with cloud.instances():
        assert cloud.canary()[0]["action"] == "ok"


@pytest.mark.parametrize("how", [503, 409, "reset", "lost"])
def test_trouble_leaves_no_instance(cloud: Cloud, how: int | str) -> None:
    """Of the network, or with another program."""
    cloud.google.fail("workerPools.patch", 1, how)
    cloud.google.before("workerPools.get", lambda _call: cloud.google.fail("patch", 1, how))
    cloud.canary(code=1, seconds="1")
    assert cloud.counts == {"512mi": 0, "1gi": 0}


def test_workers_that_run_need_no_canary(cloud: Cloud) -> None:
    """Nothing is changed then; nor is a count that another program sets meanwhile."""
    client = PoolClient(PARENT)
    pool = client.get(cloud.name("1gi"))
    assert pool
    client.set_count(pool, 3, "2026-11-26T00:00:00Z")
    (found,) = cloud.canary()
    assert (found["action"], found["note"]) == ("skip", "workers run already: 3 instances")
    cloud.google.worker_pools.set_count(cloud.name("1gi"), 0)

    def publish(_call: Call) -> None:
        small = client.get(cloud.name())
        assert small
        client.set_count(small, 5, "2026-11-26T00:00:01Z")

    cloud.google.before("workerPools.get", publish)
    cloud.canary(code=1, seconds="1")
    assert cloud.counts == {"512mi": 5, "1gi": 0}
    client.close()


Process = subprocess.Popen[bytes]


def killer(process: Process, at: int, how: signal.Signals) -> Callable[[Call], None]:
    """Signals a process as it makes its nth call."""
    calls = 0

    def kill(_call: Call) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            process.send_signal(how)

    return kill


def start(cloud: Cloud) -> Process:
    """The command as a process of its own."""
    options = ("--only", "pools", "--canary", "--canary-timeout", "20")
    command = [sys.executable, "-m", "infra", "check", *options]
    return subprocess.Popen(
        command,
        cwd=cloud.folder,
        env=cloud.environment | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("how", "at"),
    [
        (signal.SIGINT, 2),
        *(
            pytest.param(how, at, marks=pytest.mark.slow)
            for how in (signal.SIGINT, signal.SIGTERM)
            for at in (1, 2, 3, 4)
        ),
    ],
)
def test_interrupted_at_any_step_no_instance_is_left(
    cloud: Cloud, how: signal.Signals, at: int
) -> None:
    """Before, at and after the change of the count; the exit code is that of Ctrl-C."""
    process = start(cloud)
    cloud.google.before(r"workerPools\.(patch|get)", killer(process, at, how), times=9)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert cloud.counts == {"512mi": 0, "1gi": 0}
    assert not cloud.files


def test_what_a_killed_canary_leaves_is_found_and_stopped(cloud: Cloud) -> None:
    """SIGKILL cannot be handled: the next check says so, the next canary takes over."""
    process = start(cloud)
    cloud.google.before("workerPools.get", killer(process, 1, signal.SIGKILL))
    assert process.wait(120) == -signal.SIGKILL
    assert cloud.counts == {"512mi": 1, "1gi": 0}
    assert LEFT_BY_CANARY in cloud.run("check", "--only", "pools", code=1).stdout
    cloud.canary(code=1, seconds="1")
    assert cloud.counts == {"512mi": 0, "1gi": 0}
    assert not cloud.files


def test_a_canary_needs_a_state_root(cloud: Cloud) -> None:
    """Through which it answers."""
    del cloud.settings["STATE_PATH"]
    del cloud.settings["WORKER_IMAGE"]
    done = cloud.run("check", "--only", "pools", "--canary", code=2)
    assert "a canary answers through the state root" in done.stderr
