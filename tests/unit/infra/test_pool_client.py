"""Client of worker pools against the strict server."""

import pytest
from google.api_core import exceptions as api

from infra.pool_client import PoolClient
from infra.pools import Pool
from runtime.errors import ShardliftError, UnreachableError, UsageError
from tests.support.google_server import GoogleServer
from tests.unit.infra.test_pools import wanted

PARENT = "projects/some-project/locations/us-central1"


@pytest.fixture
def client(google_server: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> PoolClient:
    """A client that retries for a second."""
    del google_server
    monkeypatch.setenv("STORAGE_RETRY_S", "1")
    return PoolClient(PARENT)


def make(client: PoolClient, pool: Pool) -> None:
    """Make a pool and wait for it."""
    client.run.wait([client.create(pool.pool_id, pool.new)])


def test_a_pool_is_made_counted_and_deleted(
    client: PoolClient, google_server: GoogleServer
) -> None:
    """Operations may be pending for a while."""
    pool = wanted("4")[0]
    assert client.get(pool.name) is None
    google_server.operations.polls = 2
    make(client, pool)
    found = client.get(pool.name)
    assert found is not None
    assert (found.pool_id, found.count) == ("brain-4gi", 0)
    assert found.labels["shardlift-tier"] == "4gi"
    client.set_count(found, 5)
    assert google_server.worker_pools.count(pool.name) == 5
    assert [one.count for one in client.list()] == [5]
    assert client.delete(pool.name) is not None
    assert client.delete(pool.name) is None
    client.close()


def test_a_count_is_set_only_on_the_version_that_was_read(
    client: PoolClient, google_server: GoogleServer
) -> None:
    """Whoever came between wins; so does this caller, if its own answer was lost."""
    pool = wanted("4")[0]
    make(client, pool)
    old = client.get(pool.name)
    assert old is not None
    google_server.worker_pools.set_count(pool.name, 3)
    with pytest.raises(api.Conflict):
        client.set_count(old, 0)
    assert google_server.worker_pools.count(pool.name) == 3
    new = client.get(pool.name)
    assert new is not None
    google_server.fail("workerPools.patch", how="lost")
    with pytest.raises(api.Conflict):
        client.set_count(new, 4)
    assert google_server.worker_pools.count(pool.name) == 4


def test_a_changed_template_does_not_touch_the_count(
    client: PoolClient, google_server: GoogleServer
) -> None:
    """Also one that changes in between."""
    pool = wanted("4")[0]
    newer = wanted("4", image="sha256:" + "1" * 64)[0]
    make(client, pool)
    found = client.get(pool.name)
    assert found is not None
    google_server.before(
        "workerPools.patch", lambda _call: google_server.worker_pools.set_count(pool.name, 6)
    )
    client.update(found, newer.fields, ["template"])
    assert google_server.writes()[-1].query["updateMask"] == "template"
    changed = client.get(pool.name)
    assert changed is not None
    assert changed.count == 6
    assert changed.fields["template"]["containers"][0]["image"].endswith("1" * 64)


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        (503, UnreachableError, "cannot be reached (ServiceUnavailable: a fault, as ordered)"),
        ("reset", UnreachableError, "cannot be reached (ConnectionError"),
        (403, UsageError, "Cloud Run refuses this account: a fault, as ordered"),
        (400, UsageError, "Cloud Run refuses the request: a fault, as ordered"),
    ],
)
def test_trouble_is_one_line(
    client: PoolClient,
    google_server: GoogleServer,
    how: int | str,
    kind: type[ShardliftError],
    text: str,
) -> None:
    """Passing trouble is retried first."""
    google_server.fail("workerPools", how=how, times=1000)
    with pytest.raises(kind) as caught:
        list(client.list())
    assert text in str(caught.value)
    assert "http://" not in str(caught.value)
    assert (google_server.count("workerPools.list") > 1) == (kind is UnreachableError)
