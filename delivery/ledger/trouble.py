"""Trouble of a run: the last error that no shard caused, such as a full disk or a missing right.

Such an error leaves no failure record, since the shard is tried again; so a worker notes it here,
and commands that look show it while the run is unfinished. The note only informs.
"""

from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from runtime.errors import ObjectNotFound, PermanentError
from runtime.storage import Storage

TROUBLE: Final = "trouble.json"


class Trouble(BaseModel):
    """Error that made a worker give a shard's message back.

    Attributes:
        key: of the shard.
        worker: its id.
        at: when, by the worker's clock.
        reason: what could not be reached, and why.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    worker: str
    at: AwareDatetime
    reason: str


def write_trouble(run: Storage, trouble: Trouble) -> None:
    """Replace the run's note."""
    run.write(TROUBLE, trouble.model_dump_json().encode())


def read_trouble(run: Storage) -> Trouble | None:
    """The run's note; None if there is none, or none that can be read."""
    try:
        return Trouble.model_validate_json(run.read(TROUBLE))
    except (ObjectNotFound, PermanentError, ValidationError):
        return None
