"""Selection: the shards that a run makes of all that its scales have, on request."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from delivery.ledger.fields import Count, Scale
from runtime.text import counted, join_first

_NAMED = 3  # shards in a line

Corner = tuple[Count, Count, Count]


class Selection(BaseModel):
    """Shards of a box, of names, or the first few; one that holds all leaves nothing out.

    Attributes:
        box: voxels of scale 0, [begin, end), that a shard has to meet.
        shards: keys; the shards of coarser scales that need no others are made too.
        limit: number of shards of each scale that is not made from one which the run makes.
        left_out: shards of each scale that a run of the whole makes, as they were counted then.
    """

    model_config = ConfigDict(frozen=True)

    box: tuple[Corner, Corner] | None = None
    shards: tuple[str, ...] = ()
    limit: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    left_out: dict[Scale, Count] = Field(default_factory=dict)

    def chooses_as(self, other: "Selection | None") -> bool:
        """Whether another selection names the same shards in the same way."""
        if other is None:
            return False
        theirs = (other.box, set(other.shards), other.limit)
        return (self.box, set(self.shards), self.limit) == theirs

    @property
    def text(self) -> str:
        """The choice in words, such as `the first 3 shards of each scale`."""
        parts = []
        if self.shards:
            parts.append(f"{counted(len(self.shards), 'shard')}: {join_first(self.shards, _NAMED)}")
        if self.limit is not None:
            parts.append(f"the first {counted(self.limit, 'shard')}")
        if self.box is not None:
            sides = zip(*self.box, strict=True)
            parts.append(f"the box {','.join(f'{begin}:{end}' for begin, end in sides)}")
        return " of ".join(parts)


def describe_selection(selection: Selection) -> str:
    """The choice, and what it leaves out, in a line."""
    return f"selection: {selection.text}; {describe_left_out(selection.left_out)}"


def describe_left_out(left_out: Mapping[int, int]) -> str:
    """What a selection leaves out, by scale, with the way on."""
    named = [f"{number:,} of scale {scale}" for scale, number in sorted(left_out.items()) if number]
    if not named:
        return "with what exists already, nothing is left out"
    return (
        f"left out: {', '.join(named)}; the same command without --bbox, --shards, --limit and "
        "--sample makes them"
    )
