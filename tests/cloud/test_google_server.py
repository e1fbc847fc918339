"""The strict Google server: what it refuses, through Google's own clients wherever these let it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions as api
from google.api_core.future.polling import DEFAULT_POLLING
from google.cloud import run_v2
from google.protobuf import field_mask_pb2

from infra import google_clients
from infra.google_clients import RestSession
from runtime.google_endpoints import GoogleService
from tests.support.google_server import GoogleServer

PARENT = "projects/some-project/locations/us-central1"
NAME = f"{PARENT}/workerPools/brain-4gi"
IMAGE = "us-central1-docker.pkg.dev/some-project/shardlift/shardlift@sha256:" + "0" * 64
POLLING = DEFAULT_POLLING.with_delay(initial=0.01, maximum=0.02)
Untyped = Any  # Google publishes no types

POOL: dict[str, Any] = {
    "description": "tier 4gi of pubsub://some-project/brain",
    "labels": {"app": "shardlift", "tier": "4gi"},
    "template": {
        "serviceAccount": "worker@some-project.iam.gserviceaccount.com",
        "containers": [
            {
                "name": "worker",
                "image": IMAGE,
                "args": ["consumer", "work", "--tier", "4gi"],
                "env": [{"name": "TIERS", "value": "2,4"}],
                "resources": {"limits": {"cpu": "1", "memory": "4Gi"}},
            }
        ],
    },
    "scaling": {"manualInstanceCount": 0},
}


@pytest.fixture
def pools(google_server: GoogleServer) -> Untyped:
    """Google's client of worker pools, as the programs make it."""
    del google_server
    return google_clients.worker_pools()


@pytest.fixture
def plain(google_server: GoogleServer) -> Callable[..., tuple[int, Untyped]]:
    """Requests that Google's clients would not send; status and body."""
    del google_server

    def send(
        verb: str, path: str, body: object = None, service: str = "RUN", **query: str
    ) -> tuple[int, Untyped]:
        session = RestSession(GoogleService[service])
        answer = session.call(verb, path, timeout_s=5, body=body, **query)
        session.close()
        return answer.status_code, answer.json()

    return send


def pool(**changes: object) -> Untyped:
    """A valid pool, with changes of its fields."""
    return run_v2.WorkerPool(
        template={
            "containers": [{"image": IMAGE, "resources": {"limits": {"cpu": "1", "memory": "4Gi"}}}]
        },
        scaling={"manual_instance_count": 0},
        **changes,
    )


def create(pools: Untyped, wanted: Untyped = None, name: str = "brain-4gi") -> Untyped:
    """Make a pool and wait until it is there."""
    wanted = pool() if wanted is None else wanted
    operation = pools.create_worker_pool(
        parent=PARENT, worker_pool_id=name, worker_pool=wanted, retry=None
    )
    return operation.result(polling=POLLING)


def scale(pools: Untyped, found: Untyped, count: int) -> Untyped:
    """Set the count of a pool that was read, as Google's own autoscaler does."""
    found.scaling.manual_instance_count = count
    mask = field_mask_pb2.FieldMask(paths=["scaling.manual_instance_count"])
    return pools.update_worker_pool(worker_pool=found, update_mask=mask).result(polling=POLLING)


# -- worker pools: what is fine


def test_a_pool_lives_from_create_to_delete(pools: Untyped, google_server: GoogleServer) -> None:
    """Through Google's client over REST; the service sets its own fields; no credentials travel."""
    made = create(pools)
    assert made.name == NAME
    assert made.uid
    assert made.etag
    assert made.generation == 1
    assert made.scaling.manual_instance_count == 0
    assert "manual_instance_count" in made.scaling
    assert [found.name for found in pools.list_worker_pools(parent=PARENT)] == [NAME]
    assert pools.get_worker_pool(name=NAME) == made
    pools.delete_worker_pool(request={"name": NAME, "etag": made.etag}).result(polling=POLLING)
    with pytest.raises(api.NotFound, match="brain-4gi"):
        pools.get_worker_pool(name=NAME)
    assert [seen.method.rpartition(".")[2] for seen in google_server.writes()] == [
        "create",
        "delete",
    ]
    assert not any(seen.authorized for seen in google_server.seen)


def test_a_pool_without_scaling_runs_an_instance(pools: Untyped) -> None:
    """As at Google: who wants none says 0."""
    wanted = pool()
    del wanted.scaling
    assert create(pools, wanted).scaling.manual_instance_count == 1


def test_only_the_masked_field_changes(pools: Untyped, google_server: GoogleServer) -> None:
    """A count makes no revision; a template makes one and leaves the count alone."""
    scaled: list[tuple[str, int]] = []
    google_server.worker_pools.on_scaled = lambda name, count: scaled.append((name, count))
    first = create(pools)
    read = pools.get_worker_pool(name=NAME)
    read.description = "not in the mask"
    second = scale(pools, read, 7)
    assert second.scaling.manual_instance_count == 7
    assert second.description == ""
    assert second.etag != first.etag
    assert second.latest_created_revision == first.latest_created_revision
    second.template.containers[0].args = ["other"]
    second.scaling.manual_instance_count = 0
    mask = field_mask_pb2.FieldMask(paths=["template"])
    third = pools.update_worker_pool(worker_pool=second, update_mask=mask).result(polling=POLLING)
    assert third.scaling.manual_instance_count == 7
    assert third.latest_created_revision != first.latest_created_revision
    assert scaled == [(NAME, 0), (NAME, 7)]
    assert google_server.worker_pools.count(NAME) == 7


def test_a_listing_has_pages(pools: Untyped) -> None:
    """The client follows them; another parent's pools are not in it."""
    for number in range(5):
        create(pools, name=f"brain-{number}")
    found = list(pools.list_worker_pools(request={"parent": PARENT, "page_size": 2}))
    assert [one.name[-1] for one in found] == ["4", "3", "2", "1", "0"]
    assert not list(pools.list_worker_pools(parent=PARENT.replace("central", "east")))


def test_a_validation_makes_nothing(pools: Untyped, google_server: GoogleServer) -> None:
    """It is judged like a request in earnest."""
    request = {
        "parent": PARENT,
        "worker_pool_id": "brain-4gi",
        "worker_pool": pool(),
        "validate_only": True,
    }
    pools.create_worker_pool(request=request).result(polling=POLLING)
    assert not list(google_server.worker_pools.found)
    request["worker_pool_id"] = "Brain"
    with pytest.raises(api.BadRequest, match="worker_pool_id"):
        pools.create_worker_pool(request=request)


# -- worker pools: what is refused, through the client


@pytest.mark.parametrize("name", ["Brain", "4gi-brain", "brain-", "b" * 50, "brain_4gi", "bra.in"])
def test_bad_ids_are_refused(pools: Untyped, name: str) -> None:
    """Letter first, lower case, fewer than 50 characters."""
    with pytest.raises(api.BadRequest, match="fewer than 50 characters"):
        create(pools, name=name)


@pytest.mark.parametrize(
    ("cpu", "memory", "message"),
    [
        ("1", "300Mi", "below the minimum of 512Mi"),
        ("1", "8Gi", "does not go with cpu 1"),
        ("8", "2Gi", "does not go with cpu 8"),
        ("3", "8Gi", "cpu '3' is not one of"),
        ("1", "4GiB", "memory '4GiB' is not valid"),
    ],
)
def test_memory_and_cpus_must_go_together(
    pools: Untyped, cpu: str, memory: str, message: str
) -> None:
    """By Cloud Run's table, which no document holds."""
    wanted = pool()
    wanted.template.containers[0].resources.limits = {"cpu": cpu, "memory": memory}
    with pytest.raises(api.BadRequest, match=message):
        create(pools, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": {}}, "a template needs a container"),
        ({"template": {"containers": [{"args": ["x"]}]}}, "image: required"),
        ({"template": {"containers": [{"image": "a b"}]}}, "is not valid"),
        ({"template": {"containers": [{"image": "a", "env": [{"value": "1"}]}]}}, "name: required"),
        (
            {"template": {"containers": [{"image": "a", "env": [{"name": "A"}, {"name": "A"}]}]}},
            "a variable twice",
        ),
        ({"labels": {"Tier": "4gi"}}, "label Tier=4gi"),
        ({"labels": {"run.googleapis.com/x": "1"}}, "label run.googleapis.com/x=1"),
        ({"scaling": {"manual_instance_count": -1}}, "must not be negative"),
        ({"description": "x" * 513}, "512 characters"),
        ({"uid": "mine"}, "uid: set by the service only"),
        ({"conditions": [{"type_": "Ready"}]}, "conditions: set by the service only"),
        ({"generation": 3}, "generation: set by the service only"),
    ],
)
def test_bad_pools_are_refused(
    pools: Untyped, google_server: GoogleServer, change: dict[str, object], message: str
) -> None:
    """The field is named; nothing is made."""
    fields = {"template": {"containers": [{"image": IMAGE}]}, **change}
    with pytest.raises(api.BadRequest, match=message):
        create(pools, run_v2.WorkerPool(**fields))
    assert not list(google_server.worker_pools.found)
    assert google_server.count("create", code=400) == 1


def test_a_missing_template_is_refused(pools: Untyped) -> None:
    """The documentation calls it required."""
    with pytest.raises(api.BadRequest, match="template: required"):
        create(pools, run_v2.WorkerPool(scaling={"manual_instance_count": 0}))


def test_a_pool_is_made_once(pools: Untyped) -> None:
    """The second gets a conflict that says so."""
    create(pools)
    with pytest.raises(api.Conflict, match="already exists"):
        create(pools)


def test_a_stale_etag_is_a_conflict(pools: Untyped, google_server: GoogleServer) -> None:
    """For an update and a deletion; without an etag the last writer wins."""
    create(pools)
    old = pools.get_worker_pool(name=NAME)
    google_server.worker_pools.set_count(NAME, 3)
    with pytest.raises(api.Conflict, match="version does not match"):
        scale(pools, old, 0)
    with pytest.raises(api.Conflict, match="version does not match"):
        pools.delete_worker_pool(request={"name": NAME, "etag": old.etag})
    assert google_server.worker_pools.count(NAME) == 3
    fresh = pools.get_worker_pool(name=NAME)
    fresh.etag = ""
    assert scale(pools, fresh, 0).scaling.manual_instance_count == 0


def test_what_is_not_there_is_not_found(pools: Untyped) -> None:
    """For each method on one pool."""
    requests: list[Callable[[], object]] = [
        lambda: pools.get_worker_pool(name=NAME),
        lambda: pools.delete_worker_pool(name=NAME),
        lambda: scale(pools, pool(name=NAME), 1),
        lambda: pools.get_iam_policy(request={"resource": NAME}),
    ]
    for request in requests:
        with pytest.raises(api.NotFound, match="brain-4gi"):
            request()


def test_an_update_is_held_to_the_schema_too(pools: Untyped) -> None:
    """Bare masked bodies lack what is required; what Google says to them is not known."""
    create(pools)
    bare = run_v2.WorkerPool(name=NAME, scaling={"manual_instance_count": 1})
    with pytest.raises(api.BadRequest, match="template: required"):
        scale(pools, bare, 1)
    read = pools.get_worker_pool(name=NAME)
    mask = field_mask_pb2.FieldMask(paths=["uid"])
    with pytest.raises(api.BadRequest, match="'uid' is set by the service only"):
        pools.update_worker_pool(worker_pool=read, update_mask=mask)


# -- requests that Google's client would not send


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["template", "containers", 0, "imagee"], "x", "template.containers[0].imagee: unknown"),
        (["scaling", "scalingMode"], "AUTOMATIC", "scaling.scalingMode: unknown field"),
        (["templat"], {}, "templat: unknown field"),
        (["scaling", "manualInstanceCount"], "0", "scaling.manualInstanceCount: '0' is not int32"),
        (["scaling", "manualInstanceCount"], True, "True is not int32"),
        (["scaling", "manualInstanceCount"], 1 << 31, "is not int32"),
        (["scaling", "manualInstanceCount"], None, "scaling.manualInstanceCount: null"),
        (["launchStage"], "GAMMA", "launchStage: 'GAMMA' is not string"),
        (["launchStage"], -1, "launchStage: -1 is not string"),
        (["labels", "app"], 1, "labels.app: 1 is not string"),
        (["labels"], [], "labels: not an object"),
        (["template", "containers"], {}, "template.containers: not an array"),
        (["template", "gpuZonalRedundancyDisabled"], "no", "'no' is not boolean"),
        (["template", "encryptionKeyShutdownDuration"], "1h", "'1h' is not google-duration"),
        (["createTime"], "2026-01-01T00:00:00Z", "createTime: set by the service only"),
    ],
)
def test_bodies_are_held_to_the_schema(
    plain: Callable[..., tuple[int, Untyped]], path: list[str | int], value: object, message: str
) -> None:
    """Each fault is named by its path."""
    body = _with(POOL, path, value)
    code, answer = plain("POST", f"v2/{PARENT}/workerPools", body, workerPoolId="brain-4gi")
    assert code == 400
    assert message in answer["error"]["message"]
    assert answer["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("stage", ["GA", 4])
def test_enums_are_names_or_numbers(
    plain: Callable[..., tuple[int, Untyped]], stage: object
) -> None:
    """Google's clients send numbers."""
    body = {**POOL, "launchStage": stage}
    assert plain("POST", f"v2/{PARENT}/workerPools", body, workerPoolId="brain-4gi")[0] == 200


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (("GET", f"v2/{PARENT}/workerPoolz", {}), 404, "no method serves"),
        (("PUT", f"v2/{NAME}", {}), 404, "no method serves PUT"),
        (("GET", "v3/projects", {}), 404, "no method serves"),
        (("GET", f"v2/{PARENT}/workerPools", {"page": "1"}), 400, "unknown parameter 'page'"),
        (("GET", f"v2/{PARENT}/workerPools", {"pageSize": "x"}), 400, "'x' is not an integer"),
        (("GET", f"v2/{PARENT}/workerPools", {"showDeleted": "1"}), 400, "is not true or false"),
        (("GET", f"v2/{PARENT}/workerPools", {"pageToken": "z"}), 400, "bad page"),
        (("GET", f"v2/{NAME}", {"$alt": "xml"}), 400, "not one of json"),
        (("GET", f"v2/{PARENT}/services", {}), 501, "services.list is not served here"),
    ],
)
def test_paths_and_parameters_are_held_to_the_document(
    plain: Callable[..., tuple[int, Untyped]],
    request_: tuple[str, str, dict[str, str]],
    code: int,
    message: str,
) -> None:
    """Unknown ones are refused, and methods that nothing here answers are named."""
    verb, path, query = request_
    found, answer = plain(verb, path, **query)
    assert found == code
    assert message in answer["error"]["message"]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("scaling.manual_instance_count", "'scaling.manual_instance_count' is not a field"),
        ("scaling.most", "'scaling.most' is not a field"),
        ("etag,terminalCondition", "'terminalCondition' is set by the service only"),
    ],
)
def test_masks_are_held_to_the_schema(
    plain: Callable[..., tuple[int, Untyped]], mask: str, message: str
) -> None:
    """Paths are those of JSON."""
    plain("POST", f"v2/{PARENT}/workerPools", POOL, workerPoolId="brain-4gi")
    code, answer = plain("PATCH", f"v2/{NAME}", POOL, updateMask=mask)
    assert code == 400
    assert message in answer["error"]["message"]


def test_a_body_where_none_belongs_is_refused(
    plain: Callable[..., tuple[int, Untyped]],
) -> None:
    """And one that is not JSON's object."""
    code, answer = plain("GET", f"v2/{PARENT}/workerPools", {"a": 1})
    assert (code, "has no body" in answer["error"]["message"]) == (400, True)
    code, answer = plain("POST", f"v2/{PARENT}/workerPools", [1], workerPoolId="brain-4gi")
    assert (code, "is not an object" in answer["error"]["message"]) == (400, True)


# -- operations and faults


def test_an_operation_takes_its_polls(pools: Untyped, google_server: GoogleServer) -> None:
    """Pending so often, then done; the pool is there meanwhile."""
    google_server.operations.polls = 2
    made = create(pools)
    assert made.name == NAME
    assert google_server.count("operations.get") == 3


def test_an_operation_can_fail(pools: Untyped, google_server: GoogleServer) -> None:
    """By its code; the next one is fine."""
    google_server.operations.fail_next(7, "actAs denied")
    with pytest.raises(api.PermissionDenied, match="actAs denied"):
        create(pools)
    create(pools, name="other")


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (403, api.Forbidden),
        (409, api.Conflict),
        (429, api.TooManyRequests),
        (500, api.InternalServerError),
        (503, api.ServiceUnavailable),
    ],
)
def test_faults_are_those_of_google(
    pools: Untyped, google_server: GoogleServer, how: int, error: type[Exception]
) -> None:
    """As often as ordered, before the work."""
    google_server.fail("workerPools.create", how=how)
    with pytest.raises(error, match="a fault, as ordered"):
        create(pools)
    assert not list(google_server.worker_pools.found)
    create(pools)


@pytest.mark.parametrize(("how", "made"), [("reset", False), ("lost", True)])
def test_connections_break_before_or_after_the_work(
    pools: Untyped, google_server: GoogleServer, how: str, *, made: bool
) -> None:
    """The caller cannot tell which."""
    google_server.fail("workerPools.create", how=how)
    with pytest.raises(Exception, match=r"(?i)connection|remote"):
        create(pools)
    assert (NAME in google_server.worker_pools.found) == made
    google_server.fail("workerPools", times=9)
    google_server.heal()
    assert len(list(pools.list_worker_pools(parent=PARENT))) == made


def test_something_can_come_between(pools: Untyped, google_server: GoogleServer) -> None:
    """Another caller's write between our reading and writing makes ours a conflict."""
    create(pools)
    read = pools.get_worker_pool(name=NAME)
    google_server.before(
        "workerPools.patch", lambda call: google_server.worker_pools.set_count(call.name, 4)
    )
    with pytest.raises(api.Conflict):
        scale(pools, read, 0)
    assert google_server.worker_pools.count(NAME) == 4


def test_writers_at_once_lose_nothing(pools: Untyped, google_server: GoogleServer) -> None:
    """Of many that read the same version, one wins."""
    create(pools)
    read = pools.get_worker_pool(name=NAME)
    won: list[int] = []

    def write(count: int) -> None:
        try:
            scale(google_clients.worker_pools(), run_v2.WorkerPool(read), count)
            won.append(count)
        except api.Conflict:
            pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [google_server.worker_pools.count(NAME)]


def test_a_mistake_of_the_server_is_told(
    google_server: GoogleServer, plain: Callable[..., tuple[int, Untyped]]
) -> None:
    """Its own answers are held to the documents."""
    method = "run.projects.locations.workerPools.get"
    google_server.handlers[method] = lambda _call: {"surprise": 1}
    plain("GET", f"v2/{NAME}")
    assert google_server.mistakes == [f"{method}: surprise: unknown field"]
    google_server.handlers[method] = lambda _call: {"a": 1 // 0}
    assert plain("GET", f"v2/{NAME}")[0] == 500
    assert "ZeroDivisionError" in google_server.mistakes.pop()
    google_server.mistakes.clear()


def _with(body: Untyped, path: list[str | int], value: object) -> Untyped:
    """A copy of a body with one value set."""
    first, *rest = path
    copy: Untyped = list(body) if isinstance(body, list) else dict(body)
    held = copy[first] if isinstance(first, int) or first in copy else {}
    copy[first] = _with(held, rest, value) if rest else value
    return copy
