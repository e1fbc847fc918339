"""Runs of any sharding whose shards are in any state, for coverage maps."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from hypothesis import strategies as st

from braid.precomputed.sharding import all_shards, inputs, shard_hex
from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState
from tests.support.ledgers import fail, made_run, receipt, row
from tests.support.specs import made_info

_CHUNK: Final = 64
_STATES: Final = (
    (ShardState.DONE,),
    (ShardState.DONE, ShardState.DONE, ShardState.DONE, ShardState.READY),
    (ShardState.DONE, ShardState.READY, ShardState.FAILED, ShardState.GIVEN_UP),
)


@dataclass(frozen=True)
class Shards:
    """A volume of two scales, and what becomes of the shards of the first one.

    Attributes:
        volume: spec.
        planned: state of each shard of scale 0 that is planned, and its chunks where it is done.
    """

    volume: VolumeSpec
    planned: dict[str, tuple[ShardState, int]]

    def rows(self) -> list[PlanRow]:
        """The plan; shards of scale 1 are those with a planned input."""
        fine, coarse = self.volume.scales
        made = [row(key) for key in self.planned]
        for shard in all_shards(coarse):
            keys = [f"s0/{shard_hex(one, fine.sharding)}" for one in inputs(fine, coarse, shard)]
            if held := [key for key in keys if key in self.planned]:
                made.append(row(f"s1/{shard_hex(shard, coarse.sharding)}", *held))
        return made

    @contextmanager
    def run(self) -> Iterator[tuple[Run, RunStatus]]:
        """The run in a folder of its own, and its status."""
        lost = {ShardState.FAILED, ShardState.GIVEN_UP}
        with TemporaryDirectory() as folder:
            rows = self.rows()
            made = made_run(folder, rows, downres=(1,), volume=self.volume.to_info())
            failures = {
                key: fail(made, key, dropped=state is ShardState.GIVEN_UP)
                for key, (state, _) in self.planned.items()
                if state in lost
            }
            receipts = {
                key: receipt(key, chunks=chunks)
                for key, (state, chunks) in self.planned.items()
                if state is ShardState.DONE
            }
            yield made, RunStatus(Plan.of(rows, (0, 1)), receipts, failures, {})


@st.composite
def shards(draw: st.DrawFn) -> Shards:
    """Grids of any form, shards of any size, all of them or some, in any state."""
    x, y, z = (_CHUNK * draw(st.integers(1, 7)) - draw(st.integers(0, _CHUNK - 1)) for _ in "xyz")
    bits = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    volume = VolumeSpec.parse(made_info((x, y, z), bits=[bits]))
    spec = volume.scales[0]
    keys = [f"s0/{shard_hex(shard, spec.sharding)}" for shard in all_shards(spec)]
    dice = Random(draw(st.integers(0, 1 << 32)))
    if draw(st.booleans()):
        keys = sorted(dice.sample(keys, dice.randint(1, len(keys))))
    most = draw(st.sampled_from((1, 60, 5_000, 70_000)))
    states = draw(st.sampled_from(_STATES))
    return Shards(volume, {key: (dice.choice(states), dice.randint(0, most)) for key in keys})
