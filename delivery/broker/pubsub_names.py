"""Names on Pub/Sub: one topic and one subscription per tier, under a prefix.

`pubsub://PROJECT/PREFIX` and tier `2gi` give topic `PREFIX-tier-2gi` and subscription
`PREFIX-tier-2gi-workers`; dead letters have `PREFIX-dead` and `PREFIX-dead-letters`.
"""

import re
from dataclasses import dataclass
from typing import Final

from delivery.broker.base import DEAD
from runtime.errors import UsageError

# Ids: a letter, then 2 to 254 of these, not "goog" first; leaves room for the suffixes.
_URL: Final = re.compile(
    r"pubsub://([a-z][a-z0-9:.-]{4,60}[a-z0-9])/([A-Za-z][A-Za-z0-9_.~+%-]{0,99})"
)


@dataclass(frozen=True, slots=True)
class PubSubNames:
    """The names of all resources behind one queue URL."""

    project: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "PubSubNames":
        """The names behind `pubsub://PROJECT/PREFIX`; UsageError if it is not one."""
        match = _URL.fullmatch(url.rstrip("/"))
        if match is None or match[2].lower().startswith("goog"):
            raise UsageError(
                f"{url!r} is not a Pub/Sub queue",
                hint="it looks like pubsub://PROJECT_ID/PREFIX; a prefix begins with a letter",
            )
        return cls(match[1], match[2])

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
