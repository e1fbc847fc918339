"""Rights that a caller needs, by the role that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ACT_AS: Final = "iam.serviceAccounts.actAs"
ACCOUNT_USER: Final = "roles/iam.serviceAccountUser"
MONITORING_VIEWER: Final = "roles/monitoring.viewer"
OBJECT_USER: Final = "roles/storage.objectUser"
OBJECT_VIEWER: Final = "roles/storage.objectViewer"
PUBLISHER: Final = "roles/pubsub.publisher"
PUBSUB_ADMIN: Final = "roles/pubsub.admin"
RUN_ADMIN: Final = "roles/run.admin"
STORAGE_ADMIN: Final = "roles/storage.admin"
API_ADMIN: Final = "roles/serviceusage.serviceUsageAdmin"
ACCOUNT_ADMIN: Final = "roles/iam.serviceAccountAdmin"
REGISTRY_ADMIN: Final = "roles/artifactregistry.admin"
SOURCE_DEVELOPER: Final = "roles/run.sourceDeveloper"
PROJECT_IAM_ADMIN: Final = "roles/resourcemanager.projectIamAdmin"


@dataclass(frozen=True, slots=True)
class Need:
    """A right that a change needs.

    Attributes:
        permission: that is tested, such as `pubsub.topics.create`.
        role: the least predefined role that holds it.
        resource: on which, by full name: `projects/P`, `buckets/B`, ...
    """

    permission: str
    role: str
    resource: str


def usage_needs(
    project: str | None, topics: Sequence[str], buckets: Mapping[str, str]
) -> list[Need]:
    """Rights of those who publish work and watch it: `enqueue`, `status`, `verify`.

    Args:
        project: with the metrics; None if it cannot be asked.
        topics: full names.
        buckets: names by use: source, destination, state.
    """
    found = [Need("pubsub.topics.publish", PUBLISHER, topic) for topic in topics]
    for use, bucket in buckets.items():
        reading = ("storage.objects.get", "storage.objects.list")
        writing = ("storage.objects.create", "storage.objects.delete")
        role = OBJECT_VIEWER if use == "source" else OBJECT_USER
        permissions = reading if use == "source" else (*reading, *writing)
        found += [Need(permission, role, f"buckets/{bucket}") for permission in permissions]
    if project is not None:
        found.append(Need("monitoring.timeSeries.list", MONITORING_VIEWER, f"projects/{project}"))
    return found
