"""Choice of the shards of a selection, scale by scale, while a run is planned."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.typing import Box, Vec3
from delivery.ledger.selection import Selection
from delivery.messages import shard_key


class ShardChoice:
    """Chooses the shards of a selection; the scales have to come finest first.

    A shard that is made from shards which the run makes, too, follows them: it is chosen with any
    of them. Whether all its inputs are there is for the planner to say.

    Args:
        selection: None chooses every shard.
        volume: of the shards.

    Attributes:
        chosen: keys so far; none where every shard is.
    """

    def __init__(self, selection: Selection | None, volume: VolumeSpec) -> None:
        self._selection = selection
        self._volume = volume
        self._named = set(selection.shards) if selection else set()
        self.chosen: set[str] = set()

    def choose(
        self,
        scale: ScaleSpec,
        shards: Sequence[int],
        feeds: Mapping[int, Iterable[str]] | None = None,
    ) -> set[int]:
        """The chosen shards of a scale.

        Args:
            scale: of the shards.
            shards: all that the scale can have, ascending.
            feeds: keys of the inputs of each, where the run makes them; None: it does not.
        """
        if self._selection is None:
            return set(shards)
        keys = {shard: _key(scale, shard) for shard in shards}
        found = self._in_box(scale, shards)
        limit = self._selection.limit
        if self._named or (limit is not None and feeds is not None):
            found = [s for s in found if keys[s] in self._named or self._follows(s, feeds)]
        elif limit is not None:
            found = found[:limit]
        self.chosen.update(keys[shard] for shard in found)
        return set(found)

    def _follows(self, shard: int, feeds: Mapping[int, Iterable[str]] | None) -> bool:
        inputs = feeds.get(shard, ()) if feeds is not None else ()
        return not self.chosen.isdisjoint(inputs)

    def _in_box(self, scale: ScaleSpec, shards: Sequence[int]) -> list[int]:
        box = self._selection.box if self._selection else None
        if box is None:
            return list(shards)
        begin, end = box_at(self._volume, box, scale.index)
        meeting = set(sharding.shards_meeting(scale, begin, end))
        return [shard for shard in shards if shard in meeting]


def box_at(volume: VolumeSpec, box: Box, index: int) -> Box:
    """A box of voxels of scale 0 in voxels of another scale, rounded outwards."""
    fine, coarse = volume.scales[0], volume.scales[index]
    ratio = np.asarray(coarse.resolution, float) / np.asarray(fine.resolution, float)
    begin = np.floor(np.asarray(box[0]) / ratio).astype(np.int64)
    end = np.ceil(np.asarray(box[1]) / ratio).astype(np.int64)
    return _triple(begin), _triple(end)


def _triple(values: Iterable[int]) -> Vec3:
    x, y, z = (int(value) for value in values)
    return x, y, z


def _key(scale: ScaleSpec, shard: int) -> str:
    return shard_key(scale.index, sharding.shard_hex(shard, scale.sharding))
