"""Names on Pub/Sub: one topic and one subscription per tier, under a prefix.

`pubsub://PROJECT/PREFIX` and tier `2gi` give topic `PREFIX-tier-2gi` and subscription
`PREFIX-tier-2gi-workers`; dead letters have `PREFIX-dead` and `PREFIX-dead-letters`.
"""

import re
from dataclasses import dataclass
from typing import Final

from delivery.broker.base import DEAD
from runtime.errors import UsageError

_SCHEME: Final = "pubsub://"
_PROJECT: Final = re.compile(r"[a-z][a-z0-9:.-]{4,60}[a-z0-9]")
# Ids: a letter, then 2 to 254 of these, not "goog" first; leaves room for the suffixes.
_PREFIX: Final = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9_.~+%-]{0,99}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PubSubNames:
    """The names of all resources behind one queue URL."""

    project: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "PubSubNames":
        """The names behind `pubsub://PROJECT/PREFIX`; UsageError if it is not one."""
        project, _, prefix = url.removeprefix(_SCHEME).rstrip("/").partition("/")
        if why := _why_not(url, project, prefix):
            raise UsageError(
                f"{url!r} is not a Pub/Sub queue: {why}",
                hint="set QUEUE_URL or --queue to pubsub://PROJECT_ID/PREFIX",
            )
        return cls(project, prefix)

    @property
    def url(self) -> str:
        """The queue's URL."""
        return f"pubsub://{self.project}/{self.prefix}"

    def topic_id(self, tier: str) -> str:
        """The topic of a tier, or of the dead letters, within the project."""
        return f"{self.prefix}-{DEAD}" if tier == DEAD else f"{self.prefix}-tier-{tier}"

    def subscription_id(self, tier: str) -> str:
        """The subscription whose messages the tier's workers take, within the project."""
        return f"{self.topic_id(tier)}-{'letters' if tier == DEAD else 'workers'}"

    def topic(self, tier: str) -> str:
        """The topic's full name."""
        return f"projects/{self.project}/topics/{self.topic_id(tier)}"

    def subscription(self, tier: str) -> str:
        """The subscription's full name."""
        return f"projects/{self.project}/subscriptions/{self.subscription_id(tier)}"

    def tier_of_subscription(self, name: str) -> str | None:
        """The tier behind a subscription's id or full name; None if it is not ours."""
        found = name.rpartition("/")[2]
        if found == self.subscription_id(DEAD):
            return DEAD
        begin, end = f"{self.prefix}-tier-", "-workers"
        ours = found.startswith(begin) and found.endswith(end)
        return found[len(begin) : -len(end)] if ours else None


def _why_not(url: str, project: str, prefix: str) -> str | None:
    """Why the parts of a URL name no queue; None if they do."""
    if not url.startswith(_SCHEME):
        return f"it does not begin with {_SCHEME}"
    if not _PROJECT.fullmatch(project):
        return (
            f"the project id {project!r} is not one: 6 to 62 lowercase letters, digits and "
            "hyphens, of which the first is a letter"
        )
    if not _PREFIX.fullmatch(prefix):
        return (
            f"the prefix {prefix!r} is not one: up to 100 letters, digits and -_.~+%, of which "
            "the first is a letter, and not goog first"
        )
    return None
