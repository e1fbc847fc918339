"""The strict server's other services, through Google's own clients."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions as api
from google.api_core.future.polling import DEFAULT_POLLING
from google.auth.credentials import AnonymousCredentials
from google.cloud import monitoring_v3, run_v2
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from infra import google_clients, iam
from infra.google_clients import RestSession
from runtime.errors import UsageError
from runtime.google_endpoints import GoogleService
from tests.support.google_server import GoogleServer

PROJECT = "projects/some-project"
PARENT = f"{PROJECT}/locations/us-central1"
JOB = f"{PARENT}/jobs/brain-4gi"
REPOSITORY = "us-central1-docker.pkg.dev/some-project/shardlift"
POLLING = DEFAULT_POLLING.with_delay(initial=0.01, maximum=0.02)
UNDELIVERED = "pubsub.googleapis.com/subscription/num_undelivered_messages"
Untyped = Any  # Google publishes no types


def client(server: GoogleServer, service: str, version: str) -> Untyped:
    """Google's generic client, which reads the same documents."""
    return build(
        service,
        version,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # Google's
        client_options={"api_endpoint": server.url(service.upper())},
        static_discovery=True,
    )


# -- jobs


def job(**changes: object) -> Untyped:
    """A valid job, with changes of its task template."""
    container = {"name": "worker", "image": f"{REPOSITORY}/shardlift:1", "args": ["work"]}
    return run_v2.Job(
        template={"task_count": 2, "template": {"containers": [container], **changes}}
    )


@pytest.fixture
def jobs(google_server: GoogleServer) -> Untyped:
    """Google's client of jobs, with one job."""
    del google_server
    found = google_clients.jobs()
    found.create_job(parent=PARENT, job_id="brain-4gi", job=job()).result(polling=POLLING)
    return found


def test_a_job_runs_with_overrides(jobs: Untyped, google_server: GoogleServer) -> None:
    """Each run is an execution of its own, which ends or is cancelled."""
    begun: list[Untyped] = []
    google_server.jobs.on_run = begun.append
    overrides = {"task_count": 3, "container_overrides": [{"args": ["work", "--until-idle", "60"]}]}
    request = {"name": JOB, "overrides": overrides}
    first = jobs.run_job(request=request).result(polling=POLLING)
    assert (first.task_count, first.running_count) == (3, 3)
    assert list(first.template.containers[0].args) == ["work", "--until-idle", "60"]
    assert begun[0]["name"] == first.name
    second = jobs.run_job(name=JOB).result(polling=POLLING)
    assert second.task_count == 2
    executions = google_clients.executions()
    google_server.jobs.end(first.name, failed=1)
    ended = executions.get_execution(name=first.name)
    assert (ended.succeeded_count, ended.failed_count, ended.running_count) == (2, 1, 0)
    cancelled = executions.cancel_execution(name=second.name).result(polling=POLLING)
    assert (cancelled.cancelled_count, cancelled.running_count) == (2, 0)
    assert {one.name for one in executions.list_executions(parent=JOB)} == {
        first.name,
        second.name,
    }
    executions.delete_execution(name=first.name).result(polling=POLLING)
    assert len(list(executions.list_executions(parent=JOB))) == 1


def test_jobs_are_updated_listed_and_deleted(jobs: Untyped) -> None:
    """With etags, as pools."""
    old = jobs.get_job(name=JOB)
    changed = jobs.get_job(name=JOB)
    changed.template.task_count = 5
    updated = jobs.update_job(job=changed).result(polling=POLLING)
    assert updated.template.task_count == 5
    with pytest.raises(api.Conflict):
        jobs.update_job(job=old)
    with pytest.raises(api.Conflict, match="already exists"):
        jobs.create_job(parent=PARENT, job_id="brain-4gi", job=job())
    assert [one.name for one in jobs.list_jobs(parent=PARENT)] == [JOB]
    jobs.delete_job(name=JOB).result(polling=POLLING)
    with pytest.raises(api.NotFound):
        jobs.run_job(name=JOB)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (run_v2.Job(), "template: required"),
        (run_v2.Job(template={}), "template.template: required"),
        (job(containers=[]), "needs a container"),
        (job(containers=[{"args": ["a"]}]), "image: required"),
        (run_v2.Job(job(), execution_count=3), "executionCount: set by the service only"),
    ],
)
def test_bad_jobs_are_refused(google_server: GoogleServer, wanted: Untyped, message: str) -> None:
    """The field is named."""
    with pytest.raises(api.BadRequest, match=message):
        google_clients.jobs().create_job(parent=PARENT, job_id="brain-4gi", job=wanted)
    assert not list(google_server.jobs.found)


def test_bad_runs_are_refused(jobs: Untyped) -> None:
    """A container that is not there, no task."""
    other = {"container_overrides": [{"name": "other"}]}
    with pytest.raises(api.BadRequest, match="no container is named 'other'"):
        jobs.run_job(request={"name": JOB, "overrides": other})
    with pytest.raises(api.BadRequest, match="task_count"):
        jobs.run_job(request={"name": JOB, "overrides": {"task_count": -1}})
    with pytest.raises(api.Conflict):
        jobs.run_job(request={"name": JOB, "etag": "old"})


# -- builds


def submission(**changes: object) -> dict[str, Any]:
    """A valid request, in JSON's names."""
    return {
        "storageSource": {"bucket": "some-bucket", "object": "source/0abc.tar.gz"},
        "imageUri": f"{REPOSITORY}/shardlift:0abc",
        "dockerBuild": {},
        **changes,
    }


def submit(body: dict[str, Any]) -> Untyped:
    """Submit a build in plain JSON."""
    session = RestSession(GoogleService.RUN)
    answer = session.call("POST", f"v2/{PARENT}/builds:submit", timeout_s=5, body=body)
    session.close()
    return answer


def test_a_build_is_submitted_to_cloud_run_and_found_at_cloud_build(
    google_server: GoogleServer,
) -> None:
    """It works for a while, then its digest is known, and its tag in the repository."""
    google_server.builds.polls = 2
    repositories = client(google_server, "artifactregistry", "v1").projects().locations()
    wanted = {"format": "DOCKER"}
    begun = repositories.repositories().create(parent=PARENT, repositoryId="shardlift", body=wanted)
    begun.execute()
    operation = submit(submission()).json()["buildOperation"]
    name = operation["metadata"]["build"]["name"]
    builds = client(google_server, "cloudbuild", "v1").projects().locations().builds()
    seen = [builds.get(name=name).execute() for _ in range(3)]
    assert [one["status"] for one in seen] == ["WORKING", "WORKING", "SUCCESS"]
    assert "results" not in seen[0]
    digest = seen[2]["results"]["images"][0]["digest"]
    assert digest.startswith("sha256:")
    tags = repositories.repositories().packages().tags()
    tag = f"{PARENT}/repositories/shardlift/packages/shardlift/tags"
    assert tags.get(name=f"{tag}/0abc").execute()["version"].endswith(f"/versions/{digest}")
    with pytest.raises(HttpError, match="was not found"):
        tags.get(name=f"{tag}/0abd").execute()
    assert google_server.builds.submitted == [submission()]


def test_the_runs_client_submits_only_what_it_can_read(google_server: GoogleServer) -> None:
    """The answer's metadata is of a type that the client of Cloud Run lacks."""
    request = run_v2.SubmitBuildRequest(
        parent=PARENT,
        storage_source={"bucket": "some-bucket", "object_": "source/0abc.tar.gz"},
        image_uri=f"{REPOSITORY}/shardlift:0abc",
        docker_build={},
    )
    at = {"api_endpoint": google_server.url("RUN")}
    builds: Untyped = run_v2.BuildsClient(
        transport="rest",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # Google's
        client_options=at,
    )
    google_server.builds.typed_metadata = False
    assert builds.submit_build(request).build_operation.name.startswith(PARENT)
    google_server.builds.typed_metadata = True
    with pytest.raises(Exception, match="BuildOperationMetadata"):
        builds.submit_build(request)


def test_a_build_can_fail(google_server: GoogleServer) -> None:
    """With a detail and the page of its log."""
    google_server.builds.failure = "step 1 ended with 1"
    name = submit(submission()).json()["buildOperation"]["metadata"]["build"]["name"]
    builds = client(google_server, "cloudbuild", "v1").projects().locations().builds()
    found = builds.get(name=name).execute()
    assert (found["status"], found["statusDetail"]) == ("FAILURE", "step 1 ended with 1")
    assert found["logUrl"].startswith("https://")
    with pytest.raises(HttpError, match="was not found"):
        builds.get(name=f"{name}0").execute()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imageUri": "docker.io/some/image"}, "is not in Artifact Registry"),
        ({"imageUri": ""}, "imageUri: required"),
        ({"storageSource": {"bucket": "b"}}, "storageSource.object: required"),
        ({"storageSource": {"bucket": "b", "object": "a.txt"}}, "neither a .tar.gz"),
        ({"buildpackBuild": {}}, "one of docker_build"),
        ({"dockerfile": "Dockerfile"}, "dockerfile: unknown field"),
    ],
)
def test_bad_builds_are_refused(
    google_server: GoogleServer, change: dict[str, Any], message: str
) -> None:
    """Nothing is built."""
    answer = submit(submission(**change))
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert not google_server.builds.submitted


# -- repositories, accounts, projects, services


def test_a_repository_is_made_once(google_server: GoogleServer) -> None:
    """With a format; its operation is polled at its own service."""
    google_server.operations.polls = 1
    locations = client(google_server, "artifactregistry", "v1").projects().locations()
    repositories = locations.repositories()
    wanted = {"format": "DOCKER", "description": "images"}
    begun = repositories.create(parent=PARENT, repositoryId="shardlift", body=wanted).execute()
    assert "done" not in begun
    assert "done" not in locations.operations().get(name=begun["name"]).execute()
    assert locations.operations().get(name=begun["name"]).execute()["done"]
    name = f"{PARENT}/repositories/shardlift"
    assert repositories.get(name=name).execute()["format"] == "DOCKER"
    with pytest.raises(HttpError, match="already exists"):
        repositories.create(parent=PARENT, repositoryId="shardlift", body=wanted).execute()
    changed = repositories.patch(name=name, updateMask="description", body={"description": "b"})
    assert changed.execute()["description"] == "b"
    assert len(repositories.list(parent=PARENT).execute()["repositories"]) == 1
    repositories.delete(name=name).execute()
    with pytest.raises(HttpError, match="was not found"):
        repositories.get(name=name).execute()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "format: a repository needs one"),
        ({"format": "TAR"}, "format: 'TAR' is not string"),
        ({"format": "DOCKER", "sizeBytes": "1"}, "sizeBytes: set by the service only"),
        ({"format": "DOCKER", "cleanUp": {}}, "cleanUp: unknown field"),
    ],
)
def test_bad_repositories_are_refused(
    google_server: GoogleServer, body: dict[str, Any], message: str
) -> None:
    """The field is named."""
    repositories = (
        client(google_server, "artifactregistry", "v1").projects().locations().repositories()
    )
    with pytest.raises(HttpError, match=message):
        repositories.create(parent=PARENT, repositoryId="shardlift", body=body).execute()


def test_accounts_have_their_address(google_server: GoogleServer) -> None:
    """Made once, with a policy of their own."""
    accounts = client(google_server, "iam", "v1").projects().serviceAccounts()
    wanted = {"accountId": "shardlift-worker", "serviceAccount": {"displayName": "workers"}}
    made = accounts.create(name=PROJECT, body=wanted).execute()
    assert made["email"] == "shardlift-worker@some-project.iam.gserviceaccount.com"
    with pytest.raises(HttpError, match="already exists"):
        accounts.create(name=PROJECT, body=wanted).execute()
    assert accounts.get(name=made["name"]).execute()["displayName"] == "workers"
    assert len(accounts.list(name=PROJECT).execute()["accounts"]) == 1
    binding = {"role": "roles/iam.serviceAccountUser", "members": ["user:op@example.com"]}
    policy = accounts.getIamPolicy(resource=made["name"]).execute()
    body = {"policy": {"etag": policy["etag"], "bindings": [binding]}}
    accounts.setIamPolicy(resource=made["name"], body=body).execute()
    assert google_server.policies.bindings(made["name"]) == {binding["role"]: binding["members"]}
    accounts.delete(name=made["name"]).execute()
    with pytest.raises(HttpError, match="was not found"):
        accounts.getIamPolicy(resource=made["name"]).execute()
    for bad in ("work", "Worker-accounts", "w" * 31):
        with pytest.raises(HttpError, match="6 to 30"):
            accounts.create(name=PROJECT, body={"accountId": bad}).execute()


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_project_policies_have_etags(google_server: GoogleServer, version: str) -> None:
    """A stale one is a conflict; both versions of the service show the same policy."""
    google_server.projects.add("some-project", 123)
    projects = client(google_server, "cloudresourcemanager", version).projects()
    resource = "some-project" if version == "v1" else PROJECT
    policy = projects.getIamPolicy(resource=resource, body={}).execute()
    member = "serviceAccount:worker@some-project.iam.gserviceaccount.com"
    policy["bindings"] = [{"role": "roles/storage.objectViewer", "members": [member]}]
    projects.setIamPolicy(resource=resource, body={"policy": policy}).execute()
    with pytest.raises(HttpError, match="version does not match") as stale:
        projects.setIamPolicy(resource=resource, body={"policy": policy}).execute()
    assert stale.value.resp.status == 409
    held = google_server.policies.bindings("some-project")
    assert held == {"roles/storage.objectViewer": [member]}


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ({"role": "storage.admin", "members": []}, "role 'storage.admin' is not supported"),
        ({"role": "roles/run.admin", "members": ["a@b.com"]}, "member 'a@b.com' lacks its kind"),
        ({"role": "roles/run.admin", "member": "user:a@b.com"}, "member: unknown field"),
    ],
)
def test_bad_policies_are_refused(
    google_server: GoogleServer, binding: dict[str, Any], message: str
) -> None:
    """Nothing changes."""
    google_server.projects.add("some-project", 123)
    projects = client(google_server, "cloudresourcemanager", "v3").projects()
    body = {"policy": {"bindings": [binding]}}
    with pytest.raises(HttpError, match=message):
        projects.setIamPolicy(resource=PROJECT, body=body).execute()
    assert not google_server.policies.bindings("some-project")


def test_missing_rights_are_left_out(google_server: GoogleServer) -> None:
    """Of the permissions in a request, those that the caller has are in the answer."""
    google_server.projects.add("some-project", 123)
    google_server.policies.denied = {"run.workerpools.create"}
    projects = client(google_server, "cloudresourcemanager", "v3").projects()
    wanted = ["run.workerpools.create", "run.workerpools.get"]
    answer = projects.testIamPermissions(resource=PROJECT, body={"permissions": wanted}).execute()
    assert answer == {"permissions": ["run.workerpools.get"]}
    with pytest.raises(HttpError, match="cannot be tested"):
        projects.testIamPermissions(resource=PROJECT, body={"permissions": ["run.*"]}).execute()


def test_the_number_of_a_project_is_looked_up(google_server: GoogleServer) -> None:
    """By `infra up`, without credentials; one that is not ours is refused, with the way on."""
    google_server.projects.add("some-project", 4711)
    assert iam.project_number("some-project") == 4711
    with pytest.raises(UsageError, match=r"project other cannot be looked up \(403\)"):
        iam.project_number("other")
    assert not any(seen.authorized for seen in google_server.seen)


def test_services_are_enabled(google_server: GoogleServer) -> None:
    """Many at once, by an operation."""
    services = client(google_server, "serviceusage", "v1").services()
    wanted = ["run.googleapis.com", "pubsub.googleapis.com"]
    begun = services.batchEnable(parent=PROJECT, body={"serviceIds": wanted}).execute()
    assert begun["done"]
    listed = services.list(parent=PROJECT, filter="state:ENABLED").execute()["services"]
    assert [one["name"].rpartition("/")[2] for one in listed] == sorted(wanted)
    names = [f"{PROJECT}/services/{name}" for name in ("run.googleapis.com", "iam.googleapis.com")]
    found = services.batchGet(parent=PROJECT, names=names).execute()["services"]
    assert [one["state"] for one in found] == ["ENABLED", "DISABLED"]
    with pytest.raises(HttpError, match="does not exist"):
        services.enable(name=f"{PROJECT}/services/run", body={}).execute()
    with pytest.raises(HttpError, match="serviceIds: 0 of them"):
        services.batchEnable(parent=PROJECT, body={}).execute()


# -- Monitoring


def series(server: GoogleServer, text: str, **interval: datetime) -> list[Untyped]:
    """The series of a filter, through Google's client."""
    channel = grpc.insecure_channel(server.url("MONITORING").removeprefix("http://"))
    transport = monitoring_v3.MetricServiceClient.get_transport_class("grpc")
    found: Untyped = monitoring_v3.MetricServiceClient(transport=transport(channel=channel))
    request = {"name": PROJECT, "filter": text, "interval": interval}
    answer = list(found.list_time_series(request=request, timeout=5, retry=None))
    channel.close()
    return answer


def test_series_are_filtered_by_metric_label_and_time(google_server: GoogleServer) -> None:
    """Newest first; a series without points within the interval has none."""
    monitoring = google_server.monitoring
    monitoring.set(UNDELIVERED, "brain-tier-2gi-workers", (180, 7), (60, 9), (7200, 1))
    monitoring.set(UNDELIVERED, "other-tier-2gi-workers", (60, 5))
    moment = datetime.now(UTC)
    interval = {"start_time": moment - timedelta(minutes=10), "end_time": moment}
    label = "resource.labels.subscription_id"
    begins = f'metric.type = "{UNDELIVERED}" AND {label} = starts_with("brain-")'
    assert [
        [p.value.int64_value for p in one.points]
        for one in series(google_server, begins, **interval)
    ] == [[9, 7]]
    same = f'metric.type = "{UNDELIVERED}" AND {label} = "other-tier-2gi-workers"'
    assert len(series(google_server, same, **interval)) == 1
    monitoring.set(UNDELIVERED, "other-tier-2gi-workers", (60, 6))
    assert series(google_server, same, **interval)[0].points[0].value.int64_value == 6
    assert series(google_server, 'metric.type = "pubsub.googleapis.com/other"', **interval) == []


@pytest.mark.parametrize(
    ("text", "ends", "message"),
    [
        ("", [0], "must name one metric.type|is not valid"),
        ('resource.type = "pubsub_subscription"', [0], "must name one metric.type"),
        (f'metric.type == "{UNDELIVERED}"', [0], "is not valid"),
        (f'metric.type = "{UNDELIVERED}" OR resource.type = "x"', [0], "is not valid"),
        (f'metric.type = "{UNDELIVERED}"', [], "end_time is required"),
        (f'metric.type = "{UNDELIVERED}"', [0, 60], "ends before it starts"),
    ],
)
def test_bad_requests_for_series_are_refused(
    google_server: GoogleServer, text: str, ends: list[int], message: str
) -> None:
    """A filter and the end of an interval are the least."""
    moment = datetime.now(UTC)
    times = dict(zip(("end_time", "start_time"), ends, strict=False))
    interval = {name: moment + timedelta(seconds=later) for name, later in times.items()}
    with pytest.raises(api.InvalidArgument, match=message):
        series(google_server, text, **interval)


def test_monitoring_can_be_out_of_order(google_server: GoogleServer) -> None:
    """Each request is answered with the code, until it is taken back."""
    google_server.monitoring.code = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(api.ServiceUnavailable):
        series(google_server, f'metric.type = "{UNDELIVERED}"', end_time=datetime.now(UTC))
    google_server.monitoring.code = None
    assert series(google_server, f'metric.type = "{UNDELIVERED}"', end_time=datetime.now(UTC)) == []
