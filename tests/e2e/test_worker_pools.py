"""Whole runs on worker pools: a stand-in for Cloud Run starts and stops real workers."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import MAX_DELIVERIES
from delivery.broker.pubsub_names import PubSubNames
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import ShardState, read_status
from delivery.messages import decode
from delivery.publishing import expected_tier
from infra.queue_pools import AUTOSCALER
from memmodel.run_context import tier_chooser
from tests.support.cloud_run_instances import CloudRunInstances
from tests.support.commands import CommandResult, run_in_process
from tests.support.emulator import make_topology, new_queue_url, remove_topology
from tests.support.google_server import GoogleServer
from tests.support.late_metrics import UNDELIVERED, LateMetrics
from tests.support.scaled_pools import REGION, make_pools, pool_name
from tests.support.waiting import wait_for
from tests.support.workspace import Workspace, clean_environment, make_small_workspace

SMALL, LARGE = "512mi", "1gi"
BALLAST = str(600 << 20)  # more than the smaller tier has
WITHIN_S = 240.0  # less than the quiet time after which shards are published again
LATE_S = 4.0  # of the metrics

pytestmark = pytest.mark.slow


class Cloud:
    """Queue, bucket, pools and instances of one test."""

    def __init__(
        self, workspace: Workspace, queue: str, bucket: str, instances: CloudRunInstances
    ) -> None:
        self.workspace, self.queue, self.instances = workspace, queue, instances
        self.prefix = PubSubNames.parse(queue).prefix
        self.state = f"gs://{bucket}/runs"
        self._bucket = bucket

    def run(self, program: str, *arguments: str, region: str = REGION) -> CommandResult:
        """A command that knows queue, state and region."""
        more = {"QUEUE_URL": self.queue, "STATE_PATH": self.state, "REGION": region}
        env = clean_environment() | more | {"LEASE_S": "10", "MAX_INSTANCES": "4"}
        return run_in_process(program, *arguments, folder=self.workspace.folder, environment=env)

    def enqueue(self, dest: str, *more: str, region: str = REGION) -> CommandResult:
        """Enqueue both scales; without a region no instance is started."""
        scales = ("--scales", "0", "--downres", "1", "--tiers", "0.5,1")
        command = self.workspace.enqueue_command(dest=f"gs://{self._bucket}/{dest}")
        done = self.run("producer", *command, *scales, *more, region=region)
        assert done.returncode == 0, done.stderr
        return done

    def await_end(self) -> list[Run]:
        """Wait until all pools are at 0 and no instance runs; the runs, which succeeded."""
        wait_for(self._is_quiet, "all pools at 0", WITHIN_S)
        runs = list_runs(self.state)
        for run in runs:
            assert read_status(run).succeeded, self.logs
        assert not list(self.instances.killed_busy()), self.logs
        return runs

    def _is_quiet(self) -> bool:
        return not any(self.counts.values()) and not self.instances.running()

    @property
    def counts(self) -> dict[str, int]:
        """Instances that each pool is to have."""
        pools = self.instances.google.worker_pools
        return {name.rpartition("/")[2]: pools.count(name) for name in pools.found}

    @property
    def logs(self) -> str:
        """Logs of all instances."""
        return "\n".join(f"{one.pool}: {one.text}" for one in self.instances.all)


@contextmanager
def made_cloud(
    folder: Path, google: GoogleServer, bucket: str, ballast: str = BALLAST
) -> Iterator[Cloud]:
    """A queue with two tiers, their pools, one for the autoscaler, and an export."""
    workspace = make_small_workspace(folder / "work")
    queue = new_queue_url()
    make_topology(queue, (SMALL, LARGE))
    make_pools(queue, (SMALL, LARGE), poll_s=1.0, MAX_INSTANCES="4")
    environment = clean_environment() | {
        "QUEUE_URL": queue,
        "STATE_PATH": f"gs://{bucket}/runs",
        "REGION": REGION,
        "TIERS": "0.5,1",
        "LEASE_S": "10",
        "MAX_INSTANCES": "4",
    }
    # Every shard is too big for the smaller tier, though the model says that it fits.
    heavy = {f"{PubSubNames.parse(queue).prefix}-{SMALL}": {"WORK_BALLAST_BYTES": ballast}}
    with CloudRunInstances(google, folder, environment, heavy) as instances:
        yield Cloud(workspace, queue, bucket, instances)
    remove_topology(queue)


@pytest.fixture
def cloud(
    tmp_path: Path, google_server: GoogleServer, pubsub_emulator: str, bucket: str
) -> Iterator[Cloud]:
    """Cloud of a test, without metrics."""
    del pubsub_emulator
    with made_cloud(tmp_path, google_server, bucket) as found:
        yield found


def test_a_run_starts_its_workers_and_ends_them(cloud: Cloud) -> None:
    """With a pyramid and escalations: nothing is lost, no busy worker is stopped, all end at 0."""
    assert "worker pools: " in cloud.enqueue("one").stderr
    shown = cloud.run("producer", "status", "--json").document["pools"]
    assert shown["watched"]
    assert shown["counts"][SMALL] > 0
    assert shown["dollars_per_hour"] > 0
    (run,) = cloud.await_end()
    assert run.placements.list(), cloud.logs
    assert any(one.tier == LARGE for one in run.receipts.list().values())
    shown = cloud.run("producer", "status", "--json").document["pools"]
    assert not any(shown["counts"].values())


def test_the_autoscaler_dies_and_another_run_comes_at_the_end(cloud: Cloud) -> None:
    """It is started again and goes on; the second run finds its workers."""
    cloud.enqueue("one")
    own = f"{cloud.prefix}-{AUTOSCALER}"
    for _ in range(3):
        wait_for(lambda: cloud.instances.running(own), "an autoscaler", WITHIN_S)
        time.sleep(2)  # somewhere in its work
        for one in cloud.instances.running(own):
            one.kill()
    (first,) = list_runs(cloud.state)
    wait_for(lambda: read_status(first).ended, "the first run's end", WITHIN_S)
    cloud.enqueue("two")
    assert len(cloud.await_end()) == 2


def test_enqueue_waits_and_watches_without_a_pool_for_the_autoscaler(
    cloud: Cloud, google_server: GoogleServer
) -> None:
    """The same loop runs in the command, which leaves all pools at 0."""
    own = next(name for name in google_server.worker_pools.found if name.endswith(AUTOSCALER))
    google_server.worker_pools.found.remove(own)
    google_server.fail("workerPools.create", 9, 403)  # nor may this account make one
    done = cloud.enqueue("one", "--wait")
    assert "note" not in done.stderr, done.stderr
    cloud.await_end()


def test_a_shard_that_only_the_metrics_show_gets_its_worker(
    tmp_path: Path,
    google_server: GoogleServer,
    pubsub_emulator: str,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pub/Sub moved it up, without a note in the ledger; late numbers keep no pool running."""
    del pubsub_emulator
    monkeypatch.setenv("MAX_INSTANCES_PER_TIER", "3")  # leaves one for the larger tier
    with made_cloud(tmp_path, google_server, bucket, ballast="0") as cloud:
        cloud.enqueue("one", region="")
        (run,) = list_runs(cloud.state)
        moved = move_up(cloud.queue)
        assert undelivered(run.uri)[LARGE] == 0  # for all that the ledger says
        names, monitoring = PubSubNames.parse(cloud.queue), google_server.monitoring
        with LateMetrics(monitoring, names, lambda: undelivered(run.uri, moved), LATE_S):
            wait_for(lambda: monitoring.series, "the first metrics", WITHIN_S)
            google_server.worker_pools.set_count(pool_name(cloud.queue, AUTOSCALER), 1)
            cloud.await_end()
        assert any(UNDELIVERED in request.filter for request in monitoring.requests)
        assert not run.placements.list(), cloud.logs
        tiers = {key: receipt.tier for key, receipt in run.receipts.list().items()}
        assert [key for key in tiers if tiers[key] == LARGE] == [moved], cloud.logs


def move_up(queue: str) -> str:
    """Deliver a shard as often as workers may die over it, so that Pub/Sub moves it; its key."""
    moved, held = "", []
    with open_broker(queue, (SMALL, LARGE), 60) as broker:
        deliveries = 0
        while (delivery := broker.lease(SMALL, 2.0)) is not None:
            key = decode(delivery.data).key
            moved = moved or key
            if key == moved:
                deliveries += 1
                broker.nack(delivery)
            else:
                held.append(delivery)
        assert deliveries == MAX_DELIVERIES
        for delivery in held:
            broker.publish(SMALL, [decode(delivery.data)])
            broker.ack(delivery)
    return moved


def undelivered(uri: str, moved: str = "") -> dict[str, int]:
    """Messages that are not acked, by tier: shards that are ready or in work.

    Args:
        uri: of the run.
        moved: a shard that is on the larger tier, whatever the ledger says.
    """
    run = Run(uri)
    status, placements, choose = read_status(run), run.placements.list(), tier_chooser(run)
    tiers = Counter(
        LARGE if row.key == moved else expected_tier(row, status, choose, placements)
        for row in run.plan.rows_of(status.keys(ShardState.READY))
    )
    return {tier: tiers[tier] for tier in (SMALL, LARGE)}
