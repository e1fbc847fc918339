"""Accounts and their rights: the least roles, none of a worker's over pools or rights."""

import re
from collections.abc import Sequence

import pytest

from delivery.broker.pubsub_names import PubSubNames
from infra.bucket_findings import Use
from infra.desired import Binding
from infra.identities import (
    Account,
    Identities,
    autoscaler_account,
    bindings,
    builder_account,
    pool_bindings,
    worker_account,
)

NAMES = PubSubNames.parse("pubsub://some-project/lift")
TIERS = ["2gi", "4gi"]
BUCKETS = {Use.SOURCE: "export", Use.DEST: "volumes", Use.STATE: "runs"}
POOL = "projects/some-project/locations/us-central1/workerPools/lift-2gi"

PERMISSIONS_OF = "2026-11-26"
# Permissions of Google's predefined roles, as documented at that date; of large roles, those that
# matter here: whatever changes pools, jobs, accounts or policies.
PERMISSIONS = {
    "roles/pubsub.subscriber": (
        "pubsub.snapshots.seek pubsub.subscriptions.consume pubsub.topics.attachSubscription"
    ),
    "roles/pubsub.publisher": "pubsub.topics.publish",
    "roles/storage.objectViewer": (
        "resourcemanager.projects.get resourcemanager.projects.list storage.folders.get "
        "storage.folders.list storage.managedFolders.get storage.managedFolders.list "
        "storage.objects.get storage.objects.list"
    ),
    "roles/storage.objectUser": (
        "orgpolicy.policy.get resourcemanager.projects.get storage.folders.create "
        "storage.folders.delete storage.folders.get storage.folders.list storage.folders.rename "
        "storage.managedFolders.create storage.managedFolders.delete storage.managedFolders.get "
        "storage.managedFolders.list storage.multipartUploads.abort "
        "storage.multipartUploads.create storage.multipartUploads.list "
        "storage.multipartUploads.listParts storage.objects.create storage.objects.delete "
        "storage.objects.get storage.objects.list storage.objects.move storage.objects.restore "
        "storage.objects.update"
    ),
    "roles/monitoring.viewer": (
        "monitoring.metricDescriptors.list monitoring.timeSeries.list resourcemanager.projects.get"
    ),
    "roles/run.viewer": (
        "run.executions.get run.executions.list run.jobs.get run.jobs.getIamPolicy run.jobs.list "
        "run.operations.get run.operations.list run.workerpools.get run.workerpools.getIamPolicy "
        "run.workerpools.list"
    ),
    "roles/run.developer": (
        "run.jobs.create run.jobs.delete run.jobs.run run.jobs.update run.operations.get "
        "run.workerpools.create run.workerpools.delete run.workerpools.get run.workerpools.list "
        "run.workerpools.update"
    ),
    "roles/iam.serviceAccountUser": (
        "iam.serviceAccounts.actAs iam.serviceAccounts.get iam.serviceAccounts.list "
        "resourcemanager.projects.get resourcemanager.projects.list"
    ),
    "roles/run.builder": (
        "artifactregistry.repositories.downloadArtifacts "
        "artifactregistry.repositories.uploadArtifacts logging.logEntries.create "
        "run.builds.create storage.objects.get storage.objects.list"
    ),
}
FORBIDDEN = re.compile(
    r"run\..*\.(create|update|delete|run|cancel|setIamPolicy)|.*\.(setIamPolicy|actAs)"
    r"|iam\..*\.(create|update|delete)|cloudbuild\..*|deploymentmanager\..*|serviceusage\..*"
)


def wanted(project: str = "some-project") -> tuple[Identities, list[Binding]]:
    """Accounts and bindings of a queue with everything."""
    names = PubSubNames(project, "lift")
    identities = Identities(
        worker_account(project), autoscaler_account(project), builder_account(project)
    )
    return identities, bindings(identities, names, TIERS, BUCKETS)


def held_by(account: Account, all_bindings: Sequence[Binding]) -> dict[str, set[str]]:
    """Roles of an account, by the resource."""
    found: dict[str, set[str]] = {}
    for one in all_bindings:
        if one.member == account.member:
            found.setdefault(one.resource, set()).add(one.role)
    return found


def forbidden(roles: Sequence[str]) -> set[str]:
    """Permissions of some roles that touch pools, accounts or rights."""
    return {name for role in roles for name in PERMISSIONS[role].split() if FORBIDDEN.match(name)}


def test_no_right_of_a_worker_touches_pools_or_rights() -> None:
    """Nor any right on the whole project; the autoscaler's, by the same measure, do."""
    identities, found = wanted()
    of_worker = held_by(identities.worker, found)
    assert of_worker
    for resource, roles in of_worker.items():
        assert re.match(r"buckets/|projects/some-project/(topics|subscriptions)/", resource)
        assert forbidden(sorted(roles)) == set()
    assert identities.autoscaler is not None
    on_pools = pool_bindings(identities.autoscaler, [POOL])
    assert {one.member for one in on_pools} == {identities.autoscaler.member}
    assert "run.workerpools.update" in forbidden([one.role for one in on_pools])


def test_a_worker_reads_the_source_and_writes_only_where_it_must() -> None:
    """Messages of its tiers, not the dead ones; it may publish to all."""
    identities, found = wanted()
    held = held_by(identities.worker, found)
    assert held == {
        NAMES.subscription("2gi"): {"roles/pubsub.subscriber"},
        NAMES.subscription("4gi"): {"roles/pubsub.subscriber"},
        NAMES.topic("2gi"): {"roles/pubsub.publisher"},
        NAMES.topic("4gi"): {"roles/pubsub.publisher"},
        NAMES.topic("dead"): {"roles/pubsub.publisher"},
        "buckets/export": {"roles/storage.objectViewer"},
        "buckets/volumes": {"roles/storage.objectUser"},
        "buckets/runs": {"roles/storage.objectUser"},
    }


def test_the_autoscaler_cannot_read_the_data() -> None:
    """It needs ledgers, metrics, the dead letters, and to let pools run as their accounts."""
    identities, found = wanted()
    assert identities.autoscaler is not None
    held = held_by(identities.autoscaler, found)
    accounts = "projects/some-project/serviceAccounts/shardlift-"
    host = "@some-project.iam.gserviceaccount.com"
    assert held == {
        "projects/some-project": {"roles/monitoring.viewer", "roles/run.viewer"},
        f"{accounts}worker{host}": {"roles/iam.serviceAccountUser"},
        f"{accounts}autoscaler{host}": {"roles/iam.serviceAccountUser"},
        NAMES.subscription("dead"): {"roles/pubsub.subscriber"},
        NAMES.topic("2gi"): {"roles/pubsub.publisher"},
        NAMES.topic("4gi"): {"roles/pubsub.publisher"},
        NAMES.topic("dead"): {"roles/pubsub.publisher"},
        "buckets/runs": {"roles/storage.objectUser"},
    }


def test_the_builder_only_builds() -> None:
    """One role on the project, none on buckets of data."""
    identities, found = wanted()
    assert identities.builder is not None
    held = held_by(identities.builder, found)
    assert held == {"projects/some-project": {"roles/run.builder"}}


def test_no_role_is_wider_than_a_predefined_one_for_its_use() -> None:
    """No owner, editor or admin anywhere."""
    _, found = wanted()
    assert {one.role for one in found} <= PERMISSIONS.keys()
    assert not [one for one in found if re.search(r"admin|owner|editor", one.role, re.IGNORECASE)]


def test_without_buckets_and_autoscaler_fewer_bindings_are_wanted() -> None:
    """Folders of a machine have no policies; jobs need no autoscaler."""
    worker = worker_account("some-project")
    found = bindings(Identities(worker), NAMES, TIERS, {})
    assert {one.member for one in found} == {worker.member}
    assert all(one.is_of_queue for one in found)


def test_accounts_of_others_are_taken_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, then settings, then our own; also in old organisations."""
    address = "lab@other-project.iam.gserviceaccount.com"
    given = worker_account("some-project", address)
    assert given.resource == f"projects/other-project/serviceAccounts/{address}"
    assert given.given_by == "WORKER_SERVICE_ACCOUNT"
    monkeypatch.setenv("AUTOSCALER_SERVICE_ACCOUNT", "1-compute@developer.gserviceaccount.com")
    default = autoscaler_account("some-project")
    assert default.resource == f"projects/-/serviceAccounts/{default.email}"
    old = worker_account("example.com:lab")
    assert old.email == "shardlift-worker@lab.example.com.iam.gserviceaccount.com"
    assert old.resource == f"projects/example.com:lab/serviceAccounts/{old.email}"
