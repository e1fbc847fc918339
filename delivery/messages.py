"""Queue messages: one message is one output shard.

JSON of at most 10 KB, frozen and versioned; encoded and decoded only here. Broken bytes raise
`UnreadableMessage`, which holds them; a newer schema is sound and raises `NewerSchema`.

Whoever may publish writes messages, so that nothing in one is believed: it asks for a shard, and
the ledger of its run decides all the rest (`delivery.state_roots`).
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from runtime.errors import ShardliftError, UsageError

SCHEMA: Final = 1
MAX_BYTES: Final = 10_000
MOST_READ_BYTES: Final = 65_536  # larger messages are not parsed
REASON_CHARS: Final = 1_500  # of a dead letter's reason; in JSON at most six bytes each
HOP_CHARS: Final = 200  # of one hop's reason
RUN_CHARS: Final = 1_024
NAME_CHARS: Final = 300  # of a tier or a worker in a hop
WHY_CHARS: Final = 300  # of the reason why a message cannot be read
MOST_COUNTED: Final = (1 << 31) - 1  # of redo, attempt and schema

Kind = Literal["convert", "downsample"]

_KEY = re.compile(r"s([0-9]{1,3})/([0-9a-f]{1,16})")
_ABSOLUTE = re.compile(r"/|[a-z][a-z0-9+.-]*://")


class UnreadableMessage(ShardliftError):  # noqa: N818 - it is the message that is unreadable
    """The bytes are not a message; `data` holds them."""

    def __init__(self, data: bytes, why: str) -> None:
        why = shortened(" ".join(why.split()), WHY_CHARS)
        super().__init__(f"a message cannot be read: {why}")
        self.data = data
        self.why = why


class NewerSchema(UsageError):  # noqa: N818 - a state of the message, not a fault
    """The message is sound but of a newer schema: release it and stop.

    Attributes:
        run: what it has for its run's URI, if it has a text for it.
    """

    def __init__(self, data: bytes, schema: int, run: str | None = None) -> None:
        super().__init__(
            f"this worker is older than the run: message schema {schema}, known up to {SCHEMA}",
            hint="install the version of shardlift that enqueued the run",
        )
        self.data = data
        self.schema = schema
        self.run = run


def shard_key(scale: int, shard_hex: str) -> str:
    """Shard key: `s0/0fe9`."""
    return f"s{scale}/{shard_hex}"


def parse_key(key: str) -> tuple[int, str]:
    """Scale and hexadecimal shard number of a key.

    Raises:
        UsageError: it is not a shard key.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise UsageError(f"{key!r} is not a shard key", hint="a key looks like s0/0fe9")
    return int(match[1]), match[2]


class Hop(BaseModel):
    """One tier that a shard went through without being made."""

    model_config = ConfigDict(frozen=True)

    tier: str
    reason: str
    at: AwareDatetime
    worker: str | None = None
    attempt: Annotated[int, Field(ge=0, le=MOST_COUNTED)] = 1

    @field_validator("reason")
    @classmethod
    def _short(cls, value: str) -> str:
        return shortened(value, HOP_CHARS)

    @field_validator("tier", "worker")
    @classmethod
    def _short_name(cls, value: str | None) -> str | None:
        return None if value is None else shortened(value, NAME_CHARS)


class ShardMessage(BaseModel):
    """Request to make one shard of a run.

    Attributes:
        run: absolute URI of the run's folder, so that a message alone leads to its ledger.
        key: `s0/0fe9`.
        kind: as its publisher knew it; the plan has the one that counts.
        redo: the redo request it answers; the ledger has the one that counts.
        history: the tiers it went through so far, oldest first.
        sources: files to convert, in messages of version 0.1.0; ignored, for the plan has them.
        reason: why it is a dead letter.
        run_token: of the run that it belongs to, since ids are used again; not in messages of
            version 0.1.0.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    run: Annotated[str, Field(max_length=RUN_CHARS)]
    key: str
    kind: Kind
    redo: int = Field(default=0, ge=0, le=MOST_COUNTED)
    history: tuple[Hop, ...] = ()
    sources: tuple[str, ...] | None = None
    reason: str | None = None
    run_token: Annotated[str, Field(max_length=NAME_CHARS)] | None = None

    @field_validator("run")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if _ABSOLUTE.match(value) is None:
            raise ValueError(f"run must be an absolute URI, found {value!r}")
        if "\0" in value:
            raise ValueError(f"run has a NUL: {value!r}")
        return value.rstrip("/")

    @field_validator("key")
    @classmethod
    def _is_key(cls, value: str) -> str:
        if _KEY.fullmatch(value) is None:
            raise ValueError(f"key must look like s0/0fe9, found {value!r}")
        return value

    @field_validator("reason")
    @classmethod
    def _short(cls, value: str | None) -> str | None:
        return None if value is None else shortened(value, REASON_CHARS)

    @property
    def scale(self) -> int:
        """The scale of the shard."""
        return parse_key(self.key)[0]

    def encode(self) -> bytes:
        """The message as JSON of at most `MAX_BYTES`: sources go first, then old hops."""
        message = self
        data = _json(message)
        while len(data) > MAX_BYTES:
            message = _smaller(message)
            data = _json(message)
        return data

    def attributes(self) -> dict[str, str]:
        """Attributes, by which brokers show or filter messages without reading them."""
        return {"run": self.run, "scale": str(self.scale), "kind": self.kind}

    def after(self, hop: Hop, reason: str | None = None) -> "ShardMessage":
        """The message one hop later; a dead letter if there is a `reason`."""
        history = (*self.history, hop)
        fields = {"history": history, "reason": reason and shortened(reason, REASON_CHARS)}
        return self.model_copy(update=fields)


def _json(message: ShardMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_none=True).encode()


def _smaller(message: ShardMessage) -> ShardMessage:
    if message.sources is not None:
        return message.model_copy(update={"sources": None})
    if message.history:
        return message.model_copy(update={"history": message.history[1:]})
    reason = message.reason or ""
    return message.model_copy(update={"reason": shortened(reason, len(reason) // 2)})


def decode(data: bytes) -> ShardMessage:
    """Decode a message.

    Raises:
        UnreadableMessage: the bytes are not a message.
        NewerSchema: a newer program wrote them.
    """
    if len(data) > MOST_READ_BYTES:
        raise UnreadableMessage(data, f"{len(data):,} bytes; a message has {MAX_BYTES:,} at most")
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise UnreadableMessage(data, f"no JSON ({error})") from None
    except RecursionError:
        raise UnreadableMessage(data, "JSON nested too deeply") from None
    if not isinstance(fields, dict):
        raise UnreadableMessage(data, f"expected a JSON object, found {type(fields).__name__}")
    _check_schema(data, fields)
    try:
        return ShardMessage.model_validate_json(data)
    except ValidationError as error:
        raise UnreadableMessage(data, first_fault(error)) from None


def first_fault(error: ValidationError) -> str:
    """Field and text of the first fault; the text alone where the object as a whole is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _check_schema(data: bytes, fields: Mapping[str, object]) -> None:
    schema = fields.get("schema")
    whole = isinstance(schema, int) and not isinstance(schema, bool)
    if not (whole and isinstance(schema, int) and 1 <= schema <= MOST_COUNTED):
        raise UnreadableMessage(data, f"schema must be a positive integer, found {schema!r}")
    if schema > SCHEMA:
        run = fields.get("run")
        raise NewerSchema(data, schema, run if isinstance(run, str) else None)


def shortened(text: str, limit: int) -> str:
    """The text in at most `limit` (at least 1) characters; an ellipsis stands for its middle.

    The end stays because a reason ends with what to do next.
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
