"""Buckets of the fake GCS, driven by Google's own client: what it fills in, and what it refuses."""

from typing import Any

import pytest
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.support.gcs_server import GcsServer

Untyped = Any  # Google publishes no types


@pytest.fixture
def client(gcs: GcsServer) -> Untyped:
    """Google's client on the fake."""
    options = {"api_endpoint": gcs.url}
    return storage.Client("lab", AnonymousCredentials(), client_options=options)  # type: ignore[no-untyped-call]


def test_a_new_bucket_has_googles_defaults(client: Untyped) -> None:
    """Several regions, a week of soft delete, access by object: what costs money unasked."""
    client.create_bucket("defaults-of-a-bucket")
    found = client.get_bucket("defaults-of-a-bucket")
    assert (found.location, found.location_type) == ("US", "multi-region")
    assert found.soft_delete_policy.retention_duration_seconds == 604800
    assert found.storage_class == "STANDARD"
    assert found.iam_configuration.public_access_prevention == "inherited"
    assert not found.iam_configuration.uniform_bucket_level_access_enabled
    assert not found.versioning_enabled
    assert not found.autoclass_enabled
    assert found.retention_period is None
    assert found.metageneration == 1
    assert found.cors == []


def test_a_patch_sends_one_field_and_meets_its_precondition(
    client: Untyped, gcs: GcsServer
) -> None:
    """Soft delete goes off; another writer in between is noticed."""
    client.create_bucket("patched-bucket", location="europe-west1")
    found, stale = client.get_bucket("patched-bucket"), client.get_bucket("patched-bucket")
    assert found.location_type == "region"
    found.soft_delete_policy.retention_duration_seconds = 0
    found.patch(if_metageneration_match=found.metageneration)
    again = client.get_bucket("patched-bucket")
    assert again.soft_delete_policy.retention_duration_seconds == 0
    assert again.metageneration == 2
    stale.versioning_enabled = True
    with pytest.raises(api.PreconditionFailed):
        stale.patch(if_metageneration_match=stale.metageneration)
    assert not gcs.bucket("patched-bucket").get("versioning")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("Upper-Case", {}, "Invalid bucket name"),
        ("some-bucket-x", {"location": "mars-west1x"}, "location constraint"),
        ("some-bucket-x", {"softDeletePolicy": {"retentionDurationSeconds": 60}}, "neither 0"),
        ("some-bucket-x", {"iamConfigurations": {}}, "unknown field"),
        ("some-bucket-x", {"hierarchicalNamespace": {"enabled": True}}, "uniform"),
    ],
)
def test_what_google_refuses_is_refused(
    client: Untyped, name: str, values: dict[str, Any], message: str
) -> None:
    """With the service's status."""
    bucket = client.bucket(name)
    location = values.pop("location", None)
    for key, value in values.items():
        bucket._patch_property(key, value)
    with pytest.raises(api.BadRequest, match=message):
        client.create_bucket(bucket, location=location)


def test_policies_have_etags(client: Untyped, gcs: GcsServer) -> None:
    """A policy that another writer changed since is not overwritten."""
    client.create_bucket("policy-bucket")
    bucket = client.bucket("policy-bucket")
    policy, stale = (bucket.get_iam_policy(requested_policy_version=3) for _ in range(2))
    member = "serviceAccount:a@lab.iam.gserviceaccount.com"
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {member}})
    bucket.set_iam_policy(policy)
    assert gcs.bindings("policy-bucket") == {"roles/storage.objectViewer": [member]}
    with pytest.raises(api.PreconditionFailed):
        bucket.set_iam_policy(stale)


def test_rights_that_are_denied(client: Untyped, gcs: GcsServer) -> None:
    """They are told beforehand, and refused."""
    client.create_bucket("denied-bucket")
    gcs.state.denied["denied-bucket"] = {"storage.buckets.get", "storage.buckets.update"}
    bucket = client.bucket("denied-bucket")
    asked = ["storage.buckets.get", "storage.objects.list"]
    assert bucket.test_iam_permissions(asked) == ["storage.objects.list"]
    with pytest.raises(api.Forbidden):
        client.get_bucket("denied-bucket")
    gcs.state.others_buckets.add("taken-bucket")
    with pytest.raises(api.Conflict):
        client.create_bucket("taken-bucket")
