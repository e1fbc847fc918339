"""`infra` makes accounts with the least rights, switches APIs on, names rights that are lacking."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.support.cloud_project import IMAGE, NUMBER, ROOT, CloudProject, killer
from tests.support.gcs_server import GcsServer
from tests.support.google_api.refusals import Refusal
from tests.support.google_server import GoogleServer

ACCOUNTS = ("--only", "accounts")
ALL = ("--only", "apis,buckets,topics,accounts,pools")
SET_PROJECT = r"cloudresourcemanager\.projects\.setIamPolicy"
Untyped = Any  # Google publishes no types


@pytest.fixture
def cloud(pubsub_emulator: str, google_server: GoogleServer, gcs: GcsServer) -> CloudProject:
    """A project with an export, and nothing else."""
    del pubsub_emulator
    found = CloudProject(google_server, gcs)
    gcs.make_bucket(found.source, location="US-CENTRAL1")
    return found


def policies(cloud: CloudProject) -> dict[str, dict[str, list[str]]]:
    """Members by role, of all resources that have a policy; buckets by name."""
    found = {
        name.replace(cloud.project, "P"): cloud.google.policies.bindings(name)
        for name in cloud.google.policies.names()
    }
    for use in (cloud.source, cloud.dest, cloud.state):
        held = cloud.gcs.bindings(use)
        found[use.partition("-")[0]] = {role: sorted(members) for role, members in held.items()}
    return {name: bindings for name, bindings in found.items() if bindings}


def test_up_grants_the_least_rights_in_an_empty_project(cloud: CloudProject) -> None:
    """Accounts, buckets, pools and their rights; a second time nothing is written anywhere."""
    before = cloud.writes()
    preview = cloud.changes("up", *ALL, "--dry-run")
    assert cloud.writes() == before
    assert cloud.changes("up", *ALL) == preview
    worker, autoscaler = cloud.member("worker"), cloud.member("autoscaler")
    pools = "projects/P/locations/us-central1/workerPools/brain-"
    accounts = "projects/P/serviceAccounts/shardlift-"
    host = "@P.iam.gserviceaccount.com"
    assert policies(cloud) == {
        "P": {"roles/monitoring.viewer": [autoscaler], "roles/run.viewer": [autoscaler]},
        f"{accounts}worker{host}": {"roles/iam.serviceAccountUser": [autoscaler]},
        f"{accounts}autoscaler{host}": {"roles/iam.serviceAccountUser": [autoscaler]},
        f"{pools}2gi": {"roles/run.developer": [autoscaler]},
        f"{pools}autoscaler": {"roles/run.developer": [autoscaler]},
        "export": {"roles/storage.objectViewer": [worker]},
        "volumes": {"roles/storage.objectUser": [worker]},
        "runs": {"roles/storage.objectUser": [autoscaler, worker]},
    }
    found = cloud.google.worker_pools.found
    parent = f"projects/{cloud.project}/locations/us-central1/workerPools/brain-"
    used = {
        tier: found.get(f"{parent}{tier}")["template"]["serviceAccount"]
        for tier in ("2gi", "autoscaler")
    }
    assert used == {"2gi": cloud.email("worker"), "autoscaler": cloud.email("autoscaler")}
    assert cloud.google.worker_pools.count(f"{parent}autoscaler") == 0
    writes = cloud.writes()
    actions = {one["action"] for one in cloud.changes("up", *ALL)}
    assert actions == {"ok", "skip", "note"}
    assert cloud.writes() == writes
    cloud.run("check", *ALL)


def test_apis_that_are_off_are_named_and_switched_on(cloud: CloudProject) -> None:
    """With the command; those that are on are not switched on again."""
    parent = f"projects/{cloud.project}"
    cloud.google.services.enabled[parent] = {"pubsub.googleapis.com", "iam.googleapis.com"}
    said = cloud.run("check", "--only", "apis,pools", code=1).stdout
    command = f"gcloud services enable run.googleapis.com --project={cloud.project}"
    assert command in said.replace(" \\\n          ", "")
    assert "gcloud services enable pubsub" not in said
    cloud.google.operations.polls = 2
    cloud.run("up", *ALL)
    (sent,) = [one for one in cloud.google.writes() if "batchEnable" in one.method]
    off = {"storage", "run", "monitoring", "cloudresourcemanager"}
    assert set(sent.body["serviceIds"]) == {f"{name}.googleapis.com" for name in off}
    assert {tuple(a) for a in cloud.actions("api", "check", *ALL).values()} == {("ok",)}


@pytest.mark.parametrize(
    ("api", "methods", "part"),
    [("run", r"run\.projects", "pools"), ("iam", r"iam\.projects", "accounts")],
)
def test_a_step_whose_api_is_off_is_looked_at_once_it_is_on(
    cloud: CloudProject, api: str, methods: str, part: str
) -> None:
    """Google refuses its calls until then, and a little longer; the preview says so."""
    parent, late = f"projects/{cloud.project}", [2]

    def refuse(_call: Untyped) -> None:
        on = f"{api}.googleapis.com" in cloud.google.services.enabled.get(parent, ())
        late[0] -= on
        if late[0] >= 0:
            raise Refusal(403, f"{api} API has not been used in project {NUMBER} before")

    cloud.google.before(methods, refuse, times=1000)
    preview = {one["kind"]: one for one in cloud.changes("check", *ALL, code=1)}
    assert preview[part]["note"].startswith("to be seen once these APIs are on: ")
    assert f"{api}.googleapis.com" in preview[part]["note"]
    cloud.run("up", *ALL)
    assert late[0] < 0
    cloud.run("check", *ALL)
    assert set(cloud.actions("pool", "check", *ALL)) == {"brain-2gi", "brain-autoscaler"}


def test_accounts_that_are_new_are_not_known_at_once(cloud: CloudProject) -> None:
    """Policies refuse them for some seconds."""

    def refuse(_call: Untyped) -> None:
        raise Refusal(400, f"Service account {cloud.email('autoscaler')} does not exist.")

    cloud.google.before(SET_PROJECT, refuse, times=2)
    cloud.run("up", *ALL)
    cloud.run("check", *ALL)


@pytest.mark.parametrize("missing", ["apis", "accounts"])
def test_where_google_denies_a_look_the_rest_goes_on(cloud: CloudProject, missing: str) -> None:
    """It cannot be checked; nothing fails."""
    pattern = {"apis": r"serviceusage", "accounts": r"iam\.projects|projects\.getIamPolicy"}
    cloud.google.fail(pattern[missing], times=1000, how=403)
    kinds = {"apis": "api", "accounts": "account"}
    found = cloud.actions(kinds[missing], "up", *ALL)
    assert {tuple(actions) for actions in found.values()} == {("skip",)}
    assert "cannot be checked" in cloud.run("check", *ALL).stdout


def test_rights_of_others_stay(cloud: CloudProject) -> None:
    """Also those with a condition, which do not count as held."""
    member = cloud.member("autoscaler")
    theirs: list[dict[str, Untyped]] = [
        {"role": "roles/owner", "members": ["user:pi@lab.org"]},
        {"role": "roles/run.viewer", "members": ["user:student@lab.org"]},
        {
            "role": "roles/monitoring.viewer",
            "members": [member],
            "condition": {"title": "until", "expression": "request.time < timestamp('2020')"},
        },
    ]
    policy = cloud.google.policies.of(cloud.project)
    policy["bindings"] = [dict(one) for one in theirs]
    cloud.run("up", *ACCOUNTS)
    assert cloud.google.policies.of(cloud.project)["bindings"] == [
        theirs[0],
        {"role": "roles/run.viewer", "members": ["user:student@lab.org", member]},
        theirs[2],
        {"role": "roles/monitoring.viewer", "members": [member]},
    ]


def test_policies_that_change_meanwhile_are_read_again(cloud: CloudProject) -> None:
    """The etag of the project's policy, and of a bucket's; what others granted stays."""
    cloud.gcs.make_bucket(cloud.state, location="US-CENTRAL1")
    cloud.gcs.make_bucket(cloud.dest, location="US-CENTRAL1")

    def grant(_call: Untyped) -> None:
        theirs = {"role": "roles/viewer", "members": ["user:student@lab.org"]}
        cloud.google.policies.replace(cloud.project, [theirs])

    cloud.google.before(SET_PROJECT, grant)
    cloud.gcs.fail(rf"/b/{cloud.state}/iam", times=2, how=412, method="PUT")
    cloud.run("up", *ACCOUNTS)
    found = cloud.google.policies.bindings(cloud.project)
    assert set(found) == {"roles/viewer", "roles/monitoring.viewer", "roles/run.viewer"}
    assert len(cloud.gcs.bindings(cloud.state)["roles/storage.objectUser"]) == 2


def test_a_policy_that_never_stands_still_is_an_error(cloud: CloudProject) -> None:
    """After ten tries; the same command goes on where it stopped."""
    cloud.google.fail(SET_PROJECT, times=1000, how=409)
    done = cloud.run("up", *ACCOUNTS, code=3)
    assert "are changed by another program" in done.stderr
    assert cloud.google.count(SET_PROJECT) == 10
    cloud.google.heal()
    cloud.run("up", *ACCOUNTS)


@pytest.mark.parametrize("how", ["lost", 503, "reset"])
def test_passing_trouble_is_retried(cloud: CloudProject, how: int | str) -> None:
    """An account that is there after all counts as made; a binding is not added twice."""
    cloud.google.fail(r"serviceAccounts\.create", how=how)
    cloud.google.fail(SET_PROJECT, how=how)
    cloud.google.fail(r"batchEnable", how=how)
    cloud.run("up", *ALL)
    member = cloud.member("autoscaler")
    found = cloud.google.policies.bindings(cloud.project)
    assert found == {"roles/monitoring.viewer": [member], "roles/run.viewer": [member]}
    cloud.run("check", *ALL)


def test_rights_that_are_lacking_are_named_before_anything_is_made(cloud: CloudProject) -> None:
    """As roles, with the command of each; `check` and `--dry-run` show the same."""
    cloud.google.policies.denied |= {
        "iam.serviceAccounts.create",
        "iam.serviceAccounts.setIamPolicy",
        "resourcemanager.projects.setIamPolicy",
        "run.workerpools.create",
        "serviceusage.services.enable",
        "storage.buckets.create",
    }
    before = cloud.writes()
    done = cloud.run("up", *ALL, code=2)
    assert cloud.writes() == before
    assert "this account lacks 5 roles, so nothing was made" in done.stderr
    text = done.stderr.replace(" \\\n           ", " ")
    for role in (
        "iam.serviceAccountAdmin",
        "resourcemanager.projectIamAdmin",
        "run.admin",
        "serviceusage.serviceUsageAdmin",
        "storage.admin",
    ):
        command = f"gcloud projects add-iam-policy-binding {cloud.project}"
        assert f'{command} --member="user:ADDRESS" --role=roles/{role}' in text
    assert len(cloud.actions("right", "up", *ALL, "--dry-run")) == 5
    assert len(cloud.actions("right", "check", *ALL, code=1)) == 5


def test_only_rights_that_changes_need_count(cloud: CloudProject) -> None:
    """Where all is as desired, a caller without any right of an owner sees no finding."""
    cloud.run("up", *ALL)
    cloud.google.policies.denied |= {
        "iam.serviceAccounts.create",
        "resourcemanager.projects.setIamPolicy",
        "run.workerpools.create",
    }
    assert cloud.actions("right", "check", *ALL) == {}
    cloud.settings["WORKER_IMAGE"] = IMAGE.replace("0" * 64, "1" * 64)
    cloud.google.policies.denied.add("iam.serviceAccounts.actAs")
    found = cloud.changes("check", *ALL, code=1)
    (lacking,) = [one for one in found if one["kind"] == "right"]
    assert lacking["name"] == "roles/iam.serviceAccountUser"
    assert f"account {cloud.email('worker')}" in lacking["note"]


def test_rights_to_publish_and_watch_are_notes(cloud: CloudProject) -> None:
    """Another person may run `enqueue`."""
    cloud.run("up", *ALL)
    cloud.gcs.state.denied[cloud.dest] = {"storage.objects.create", "storage.objects.delete"}
    cloud.google.policies.denied.add("monitoring.timeSeries.list")
    assert cloud.actions("right", "check", *ALL) == {
        "roles/storage.objectUser": ["note"],
        "roles/monitoring.viewer": ["note"],
    }


def test_accounts_that_are_given_are_not_made(cloud: CloudProject) -> None:
    """They get the rights; one that does not exist is a mistake."""
    address = f"lab-workers@{cloud.project}.iam.gserviceaccount.com"
    given = ("--worker-account", address)
    done = cloud.run("up", *ACCOUNTS, *given, code=2)
    said = "account lab-workers does not exist; it was named by WORKER_SERVICE_ACCOUNT"
    assert said in done.stderr
    assert not list(cloud.google.accounts.found)
    name = f"projects/{cloud.project}/serviceAccounts/{address}"
    cloud.google.accounts.found.add(name, {"email": address})
    cloud.run("up", *ALL, *given)
    assert len(list(cloud.google.accounts.found)) == 2
    assert cloud.gcs.bindings(cloud.source) == {
        "roles/storage.objectViewer": [f"serviceAccount:{address}"]
    }


def test_rights_on_what_is_not_there_are_left_for_later(cloud: CloudProject) -> None:
    """It is said; the next `up` grants them."""
    done = cloud.run("up", *ACCOUNTS)
    for name in (cloud.dest, cloud.state):
        said = f"bucket {name} does not exist, so no rights on it were granted"
        assert f"note: {said}" in done.stderr
    cloud.gcs.make_bucket(cloud.dest, location="US-CENTRAL1")
    cloud.gcs.make_bucket(cloud.state, location="US-CENTRAL1")
    assert "so no rights" not in cloud.run("up", *ACCOUNTS).stderr
    assert cloud.gcs.bindings(cloud.dest) == {"roles/storage.objectUser": [cloud.member("worker")]}


def test_jobs_need_no_autoscaler(cloud: CloudProject) -> None:
    """Their workers end by themselves."""
    jobs = ("--only", "accounts,pools", "--home", "jobs")
    assert set(cloud.actions("account", "up", *jobs)) == {"shardlift-worker"}
    assert not list(cloud.google.worker_pools.found)


def test_project_rights_that_are_new_are_said_to_take_minutes(cloud: CloudProject) -> None:
    """Once; and not where nothing was granted."""
    said = "new rights on the project take some minutes to hold"
    assert said not in cloud.run("check", *ALL, code=1).stderr
    assert said in cloud.run("up", *ALL).stderr
    assert said not in cloud.run("up", *ALL).stderr


@pytest.mark.parametrize("at", [3, 9, 18])
def test_killed_at_any_call_up_converges(cloud: CloudProject, at: int) -> None:
    """The process is killed before its n-th call takes effect; `up` again completes the work."""
    command = [sys.executable, "-m", "infra", "up", *ALL]
    process = subprocess.Popen(command, cwd=ROOT, env=cloud.environment, stdout=subprocess.DEVNULL)
    cloud.google.before(".", killer(process, at), times=at)
    assert process.wait(120) == -signal.SIGKILL
    cloud.google.heal()
    cloud.run("up", *ALL)
    cloud.run("check", *ALL)
    member = cloud.member("autoscaler")
    found = cloud.google.policies.bindings(cloud.project)
    assert found == {"roles/monitoring.viewer": [member], "roles/run.viewer": [member]}


def test_output_fits_80_columns(cloud: CloudProject) -> None:
    """Tables of `check` and `up`, with commands broken as a shell expects."""
    cloud.google.policies.denied.add("iam.serviceAccounts.create")
    lines = cloud.run("check", *ALL, code=1).stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80
