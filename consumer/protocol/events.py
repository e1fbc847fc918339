"""Commands (worker to executor) and events (executor to worker), one JSON object per line.

Commands: `task`, then, in answer to `ready`, `publish` or `stop`.
Events: `started` once, then for each task `begun`, `progress` from time to time, `ending` when a
long one is nearly done, `ready` just before the output would appear, and at the end `done` or
`failed`.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from consumer.protocol.tasks import Outcome, Task
from runtime.errors import UnreachableError

EXIT_STOPPED: Final = 143
"""Exit code of an executor that was stopped, as a shell reports SIGTERM."""

StopKind = Literal["cancelled", "lease", "stopped"]
FailureKind = Literal[
    "permanent", "retryable", "usage", "memory", "changed", "cancelled", "lease", "stopped"
]


class InputChanged(UnreachableError):  # noqa: N818 - a state of the input; a retry may help
    """An input is not, or no longer, the file that the ledger knows: failure kind `changed`."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The object as one line, newline included."""
        return self.model_dump_json().encode() + b"\n"


class TaskCommand(_Line):
    """Make this shard."""

    command: Literal["task"] = "task"
    task: Task


class PublishCommand(_Line):
    """Let the output appear."""

    command: Literal["publish"] = "publish"


class StopCommand(_Line):
    """Leave no output; answer `failed` with this kind."""

    command: Literal["stop"] = "stop"
    kind: StopKind
    reason: str


class Started(_Line):
    """The executor takes tasks."""

    event: Literal["started"] = "started"


class Begun(_Line):
    """The executor has the task; an end before this event is not the shard's fault."""

    event: Literal["begun"] = "begun"


class Progress(_Line):
    """Chunks of the shard in work that are done so far."""

    event: Literal["progress"] = "progress"
    chunks: int


class Ending(_Line):
    """Most of a long task is done; what follows needs less and less memory."""

    event: Literal["ending"] = "ending"


class Ready(_Line):
    """The output is about to appear; the executor waits for the answer."""

    event: Literal["ready"] = "ready"


class Done(_Line):
    """The output appeared, or the shard is all zeros and has none."""

    event: Literal["done"] = "done"
    outcome: Outcome
    peak_bytes: int | None  # of this shard; None where the kernel does not reset its count
    seconds: float  # wall time
    cpu_s: float  # of all threads


class Failed(_Line):
    """No output appeared."""

    event: Literal["failed"] = "failed"
    kind: FailureKind
    reason: str
    peak_bytes: int | None = None


Command = Annotated[TaskCommand | PublishCommand | StopCommand, Field(discriminator="command")]
Event = Annotated[
    Started | Begun | Progress | Ending | Ready | Done | Failed, Field(discriminator="event")
]

_COMMAND: TypeAdapter[TaskCommand | PublishCommand | StopCommand] = TypeAdapter(Command)
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def decode_command(line: bytes) -> Command:
    """The command in one line; raises `pydantic.ValidationError`."""
    return _COMMAND.validate_json(line)


def decode_event(line: bytes) -> Event:
    """The event in one line; raises `pydantic.ValidationError`."""
    return _EVENT.validate_json(line)
