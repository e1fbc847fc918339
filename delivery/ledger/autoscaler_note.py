"""Note of an autoscaler, beside the runs: what it set the pools of a queue to, and when it looks.

`<state>/.autoscaler-<project>-<prefix>.json`, one per queue; `status` tells by it whether anything
watches the instances that run.
"""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from delivery.broker.pubsub_names import PubSubNames
from delivery.ledger.damage import LedgerDamaged, parse
from delivery.ledger.fields import Count
from runtime.errors import ObjectNotFound
from runtime.storage import Storage


class AutoscalerNote(BaseModel):
    """What an autoscaler did last.

    Attributes:
        queue: URL.
        region: of the pools.
        at: when it looked.
        until: when its next look is overdue, so that nothing watches the pools.
        counts: instances by tier.
        dollars_per_hour: of all of them, at list prices.
        given_up: why the pools went to 0 although shards are left, if so.
    """

    model_config = ConfigDict(frozen=True)

    queue: str
    region: str
    at: AwareDatetime
    until: AwareDatetime
    counts: dict[str, Count] = Field(default_factory=dict)
    dollars_per_hour: Annotated[float, Field(ge=0)] = 0.0
    given_up: str | None = None

    @property
    def instances(self) -> int:
        """All instances."""
        return sum(self.counts.values())


def path(queue: str) -> str:
    """Path of a queue's note below a state root."""
    names = PubSubNames.parse(queue)
    return f".autoscaler-{names.project}-{names.prefix}.json".replace("/", "-").replace(":", "-")


def write(state: Storage, note: AutoscalerNote) -> None:
    """Write a queue's note, replacing the last one."""
    data = note.model_dump_json(exclude_none=True, indent=1).encode()
    state.write(path(note.queue), data)


def read(state: Storage, queue: str) -> AutoscalerNote | None:
    """A queue's note; None where there is none, or a damaged one."""
    try:
        return parse(AutoscalerNote, state.read(path(queue)), path(queue), "")
    except (ObjectNotFound, LedgerDamaged):
        return None
