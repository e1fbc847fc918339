"""What a worker and its work process say to each other: one JSON object per line.

Worker to work process: `task`, then, once it was asked, `publish` or `stop`.
Work process to worker: `started` once, then for each task `progress` now and again, `ready` just
before an output would appear, and at the end `done` or `failed`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from consumer.protocol.tasks import Outcome, Task

StopKind = Literal["cancelled", "lease", "stopped"]
FailureKind = Literal[
    "permanent", "retryable", "usage", "memory", "changed", "cancelled", "lease", "stopped"
]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The object as one line, newline included."""
        return self.model_dump_json().encode() + b"\n"


class TaskCommand(_Line):
    """Do this shard."""

    order: Literal["task"] = "task"
    task: Task


class PublishCommand(_Line):
    """Let the output appear."""

    order: Literal["publish"] = "publish"


class StopCommand(_Line):
    """Leave no output; answer `failed` with this kind."""

    order: Literal["stop"] = "stop"
    kind: StopKind
    reason: str


class Started(_Line):
    """The program is up and takes tasks."""

    event: Literal["started"] = "started"


class Progress(_Line):
    """Chunks of the present shard that are done so far."""

    event: Literal["progress"] = "progress"
    chunks: int


class Ready(_Line):
    """The output is about to appear; nothing happens before the answer."""

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


Order = Annotated[TaskCommand | PublishCommand | StopCommand, Field(discriminator="order")]
Event = Annotated[Started | Progress | Ready | Done | Failed, Field(discriminator="event")]

_ORDER: TypeAdapter[TaskCommand | PublishCommand | StopCommand] = TypeAdapter(Order)
_EVENT: TypeAdapter[Started | Progress | Ready | Done | Failed] = TypeAdapter(Event)


def decode_command(line: bytes) -> TaskCommand | PublishCommand | StopCommand:
    """The order in one line; raises `pydantic.ValidationError`."""
    return _ORDER.validate_json(line)


def decode_event(line: bytes) -> Started | Progress | Ready | Done | Failed:
    """The event in one line; raises `pydantic.ValidationError`."""
    return _EVENT.validate_json(line)
