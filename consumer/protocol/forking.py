"""Requests to a fork server and its answers.

A request is one byte over its socket, with three file descriptors: stdin, stdout and stderr of the
executor to be forked. Answers are JSON lines: `ready` once, then one for each request.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

REQUEST: Final = b"f"
STREAMS: Final = 3  # file descriptors of a request
LINE_BYTES: Final = 4096  # of an answer, at most


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The object as one line, newline included."""
        return self.model_dump_json().encode() + b"\n"


class ServerReady(_Answer):
    """The server takes requests."""

    answer: Literal["ready"] = "ready"


class Forked(_Answer):
    """An executor runs; the worker is its parent."""

    answer: Literal["forked"] = "forked"
    pid: int


class NotForked(_Answer):
    """No executor: an error of the system."""

    answer: Literal["not_forked"] = "not_forked"
    errno: int


Answer = Annotated[ServerReady | Forked | NotForked, Field(discriminator="answer")]

_ANSWER: TypeAdapter[ServerReady | Forked | NotForked] = TypeAdapter(Answer)


def decode_answer(line: bytes) -> Answer:
    """The answer in one line; raises `pydantic.ValidationError`."""
    return _ANSWER.validate_json(line)
