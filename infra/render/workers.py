"""What all engines need to know of a queue's workers: image, arguments, environment, memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from delivery.broker.pubsub_names import PubSubNames
from infra.pools import APP, APP_LABEL, QUEUE_LABEL, TIER_LABEL
from memmodel.tiers import MIB, Tier


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers of one queue.

    Attributes:
        names: of the queue.
        tiers: that are served.
        image: None for Python with the package installed.
        account: address of the workers' account.
        environment: variables of all workers.
        per_tier: workers of each tier, at most.
        region: of Cloud Run; None where it does not matter.
        lease_s: of a message.
        idle_s: without a message, before a worker ends.
    """

    names: PubSubNames
    tiers: Sequence[Tier]
    image: str | None
    account: str
    environment: Mapping[str, str]
    per_tier: int
    region: str | None
    lease_s: int
    idle_s: int

    def arguments(self, tier: str) -> list[str]:
        """Of the image's `python -m`, for a worker that ends when nothing is left for it."""
        return ["consumer", "work", "--tier", tier, "--until-idle", str(self.idle_s)]

    def variables(self, tier: Tier) -> dict[str, str]:
        """Variables of a tier's worker, sorted."""
        return dict(sorted({**self.environment, "WORKER_MEMORY": memory(tier)}.items()))

    def labels(self, tier: Tier) -> dict[str, str]:
        """As our own pools have them."""
        return {APP_LABEL: APP, QUEUE_LABEL: self.names.prefix, TIER_LABEL: tier.name}

    def name(self, tier: Tier) -> str:
        """Of a tier's workers."""
        return f"{self.names.prefix}-{tier.name}"


def memory(tier: Tier) -> str:
    """Memory of a tier, in whole MiB, as WORKER_MEMORY has it."""
    return f"{tier.limit_bytes // MIB}MiB"
