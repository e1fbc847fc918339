"""Rights that a caller needs, by the role that holds them."""

from dataclasses import dataclass
from typing import Final

ACT_AS: Final = "iam.serviceAccounts.actAs"
ACCOUNT_USER: Final = "roles/iam.serviceAccountUser"
PUBSUB_ADMIN: Final = "roles/pubsub.admin"
RUN_ADMIN: Final = "roles/run.admin"


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
