"""Arrival patterns for the scaling simulator: runs with durations by chance, longest first."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from infra.scaling_policy import Caps
from memmodel.tiers import parse_tiers
from tests.support.scaling_simulator import Arrival, Outcome, SimulatedShard, Simulator, World

TIERS: Final = parse_tiers("2,4,8")
_SPREAD: Final = 0.5  # of the logarithm of a shard's seconds
_ERROR: Final = 0.2  # of the logarithm of their estimate


@dataclass(frozen=True)
class Pattern:
    """A named pattern: its runs, and the caps of the policy."""

    arrivals: Sequence[Arrival]
    caps: Caps

    def simulate(self, seed: int, world: World | None = None) -> Outcome:
        """Run it."""
        return Simulator(TIERS, self.arrivals, self.caps, seed, world).run()


def flat(count: int, seconds: float, cap: int, seed: int, *, longest_first: bool = True) -> Pattern:
    """One run of one tier, in which no shard is made from another."""
    chance = random.Random(seed)
    shards = [_shard(chance, f"s0/{i}", seconds) for i in range(count)]
    ordered = _by_estimate(chance, shards) if longest_first else shards
    return Pattern([Arrival(0, ordered)], Caps(per_tier=cap))


def pyramid(count: int, seconds: float, cap: int, seed: int, tiers: Sequence[str]) -> Pattern:
    """One run with all its scales: eight shards make one of the next, on the scale's tier."""
    chance = random.Random(seed)
    scales = [[_shard(chance, f"s0/{i}", seconds, tier=tiers[0]) for i in range(count)]]
    while len(scales[-1]) > 1:
        before, scale = scales[-1], len(scales)
        scales.append(
            [
                _shard(
                    chance,
                    f"s{scale}/{number}",
                    seconds,
                    tier=tiers[min(scale, len(tiers) - 1)],
                    inputs=tuple(one.key for one in before[8 * number : 8 * number + 8]),
                )
                for number in range(math.ceil(len(before) / 8))
            ]
        )
    first = _by_estimate(chance, scales[0])
    rest = [shard for scale in scales[1:] for shard in scale]
    return Pattern([Arrival(0, [*first, *rest])], Caps(per_tier=cap))


def escalating(count: int, seconds: float, cap: int, seed: int, share: float) -> Pattern:
    """One run on the smallest tier; a share of its shards needs the next, a tenth of these 8gi."""
    chance = random.Random(seed)
    pattern = flat(count, seconds, cap, seed)
    shards = [
        replace(shard, needs="8gi" if chance.random() < 0.1 else "4gi")
        if chance.random() < share
        else shard
        for shard in pattern.arrivals[0].shards
    ]
    return Pattern([Arrival(0, shards)], pattern.caps)


def narrow(count: int, seconds: float, cap: int, seed: int, share: float) -> Pattern:
    """A pyramid on the smallest tier, whose shards wait for escalated ones; a cap on all tiers."""
    chance = random.Random(seed)
    shards = [
        replace(shard, needs="4gi") if chance.random() < share else shard
        for shard in pyramid(count, seconds, cap, seed, ("2gi",)).arrivals[0].shards
    ]
    return Pattern([Arrival(0, shards)], Caps(total=cap))


def mixed(small: int, large: int, cap: int, seed: int, share: float) -> Pattern:
    """One run on two tiers, the larger ends long before; a share of the small ones is escalated."""
    first = escalating(small, 60, cap, seed, share).arrivals[0].shards
    second = flat(large, 60, cap, seed + 1).arrivals[0].shards
    own = [replace(shard, key=f"large/{shard.key}", tier="4gi") for shard in second]
    return Pattern([Arrival(0, [*own, *first])], Caps(per_tier=cap))


def again(count: int, seconds: float, cap: int, seed: int, after_s: Sequence[float]) -> Pattern:
    """The same run several times, some enqueued while the pools go to 0."""
    runs = [flat(count, seconds, cap, seed + number) for number in range(len(after_s))]
    arrivals = [
        Arrival(at_s, [_renamed(shard, number) for shard in run.arrivals[0].shards])
        for number, (at_s, run) in enumerate(zip(after_s, runs, strict=True))
    ]
    return Pattern(arrivals, Caps(per_tier=cap))


def day(seed: int) -> Pattern:
    """A day: a pyramid in the morning, two runs that overlap, large shards in the evening."""
    hour = 3600.0
    morning = pyramid(4000, 40, 0, seed, ("2gi", "4gi"))
    noon = escalating(3000, 60, 0, seed + 1, 0.02)
    joined = flat(1500, 90, 0, seed + 2)
    evening = flat(120, 900, 0, seed + 3)
    runs = [(1 * hour, morning), (8 * hour, noon), (9.5 * hour, joined), (18.5 * hour, evening)]
    arrivals = [
        Arrival(at_s, [_renamed(shard, number) for shard in run.arrivals[0].shards])
        for number, (at_s, run) in enumerate(runs)
    ]
    large = [replace(shard, tier="8gi") for shard in arrivals[-1].shards]
    return Pattern([*arrivals[:-1], replace(arrivals[-1], shards=large)], Caps(15, total=20))


def _renamed(shard: SimulatedShard, run: int) -> SimulatedShard:
    inputs = tuple(f"{run}/{key}" for key in shard.inputs)
    return replace(shard, key=f"{run}/{shard.key}", inputs=inputs)


def _shard(
    chance: random.Random,
    key: str,
    seconds: float,
    tier: str = "2gi",
    inputs: tuple[str, ...] = (),
) -> SimulatedShard:
    """A shard whose seconds have the mean that is given."""
    drawn = seconds * math.exp(chance.gauss(-(_SPREAD**2) / 2, _SPREAD))
    return SimulatedShard(key, tier, drawn, inputs)


def _by_estimate(chance: random.Random, shards: Sequence[SimulatedShard]) -> list[SimulatedShard]:
    """Shards by descending estimated seconds; estimates have errors."""
    estimates = {s.key: s.seconds * math.exp(chance.gauss(0, _ERROR)) for s in shards}
    return sorted(shards, key=lambda shard: -estimates[shard.key])
