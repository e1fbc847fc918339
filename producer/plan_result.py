"""A plan with the forecasts of its shards."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from delivery.ledger.plan import Plan
from delivery.messages import parse_key
from producer.shard_forecast import ShardForecast


@dataclass(frozen=True)
class PlanResult:
    """A plan with the forecasts of its shards.

    Attributes:
        reasons: why each shard to be made is, by key, in the plan's order.
        follows: those of them that are made only because an input is.
        unknown: existing shards that no known run made; they stay.
        damaged: inputs of a scale that is not made, with what is wrong with their files.
        left_out: shards that a run of the whole makes: not chosen, or chosen and made from one
            that is left out, which is named.
        chosen: shards of the selection, also those that are left out.
    """

    plan: Plan
    forecasts: Sequence[ShardForecast]
    reasons: Mapping[str, str] = field(default_factory=dict)
    follows: Collection[str] = frozenset()
    unknown: Sequence[str] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    chosen: Collection[str] = frozenset()

    @property
    def left_out_by_scale(self) -> dict[int, int]:
        """Number of shards of each scale that are left out."""
        return dict(sorted(Counter(parse_key(key)[0] for key in self.left_out).items()))

    @property
    def beyond(self) -> list[ShardForecast]:
        """Forecasts of shards that no tier holds."""
        return [forecast for forecast in self.forecasts if forecast.tier is None]

    @property
    def present(self) -> int:
        """Number of shards that exist and stay."""
        return sum(relation.state == "present" for relation in self.plan.relations)
