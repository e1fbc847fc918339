"""Desired worker pools, held to Cloud Run's rules by the strict server."""

from typing import Any

import pytest
from google.cloud import run_v2

from delivery.broker.pubsub_names import PubSubNames
from infra import google_clients
from infra.pool_fields import differing_fields
from infra.pools import Pool, PoolSettings, pools
from memmodel.tiers import parse_tiers
from runtime.errors import UsageError
from runtime.settings import DEFAULT_TIERS
from tests.support.google_server import GoogleServer

Untyped = Any  # Google publishes no types


def wanted(tiers: str = DEFAULT_TIERS, prefix: str = "brain", image: str = "") -> tuple[Pool, ...]:
    """Pools of a queue."""
    names = PubSubNames.parse(f"pubsub://some-project/{prefix}")
    digest = image or "sha256:" + "0" * 64
    settings = PoolSettings(
        names,
        "us-central1",
        f"us-central1-docker.pkg.dev/some-project/shardlift/shardlift@{digest}",
        "shardlift-worker@some-project.iam.gserviceaccount.com",
        {"QUEUE_URL": names.url, "STATE_PATH": "gs://some-bucket/runs", "TIERS": tiers},
        "0.1.0",
    )
    return pools(settings, parse_tiers(tiers))


def made(client: Untyped, pool: Pool) -> Untyped:
    """Make a pool."""
    return client.create_worker_pool(
        parent=pool.name.partition("/workerPools/")[0],
        worker_pool_id=pool.pool_id,
        worker_pool=run_v2.WorkerPool(pool.new),
    ).result()


@pytest.mark.parametrize("tiers", [DEFAULT_TIERS, "0.5,1,3"])
def test_pools_of_all_sizes_are_taken(google_server: GoogleServer, tiers: str) -> None:
    """Memory and CPUs go together; each is made with no instance, and is then as desired."""
    client = google_clients.worker_pools()
    for pool in wanted(tiers):
        found = made(client, pool)
        assert found.name == pool.name
        assert google_server.worker_pools.count(pool.name) == 0
        document = run_v2.WorkerPool.to_dict(found)
        assert differing_fields(pool.fields, document) == []


def test_a_count_is_not_a_difference_but_an_image_is(google_server: GoogleServer) -> None:
    """The policy sets counts; what the service fills in is passed over."""
    client = google_clients.worker_pools()
    pool = wanted("4")[0]
    made(client, pool)
    google_server.worker_pools.set_count(pool.name, 9)
    found = run_v2.WorkerPool.to_dict(client.get_worker_pool(name=pool.name))
    assert differing_fields(pool.fields, found) == []
    newer = wanted("4", image="sha256:" + "1" * 64)[0]
    assert differing_fields(newer.fields, found) == ["template.containers.worker.image"]
    more = {**pool.fields, "labels": {"other": "1"}, "template": {"containers": []}}
    assert differing_fields(more, found) == ["labels.other", "template.containers"]


def test_a_worker_is_told_its_memory() -> None:
    """By the tier's own limit, since the cgroup of Cloud Run is not documented."""
    container = wanted("0.5,4")[0].fields["template"]["containers"][0]
    assert {"name": "WORKER_MEMORY", "value": "512MiB"} in container["env"]
    assert container["args"] == ["consumer", "work", "--tier", "512mi"]
    assert container["resources"] == {"limits": {"cpu": "1", "memory": "512Mi"}}


@pytest.mark.parametrize("tiers", ["0.3,2", "2,64"])
def test_sizes_that_cloud_run_lacks_are_refused(tiers: str) -> None:
    """Before anything is made."""
    with pytest.raises(UsageError, match="Cloud Run gives 512 MiB to 32 GiB"):
        wanted(tiers)


@pytest.mark.parametrize("prefix", ["Brain", "brain.v2", "brain_v2", "b" * 46])
def test_prefixes_that_name_no_pool_are_refused(prefix: str) -> None:
    """A queue's prefix may be longer and hold more than a pool's id."""
    with pytest.raises(UsageError, match="cannot name a worker pool"):
        wanted("4", prefix)
    assert wanted("4", "b" * 45)[0].pool_id == "b" * 45 + "-4gi"
