"""Messages: what travels, how it is refused, and that it stays small."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from delivery.messages import (
    MAX_BYTES,
    NAME_CHARS,
    Hop,
    NewerSchema,
    ShardMessage,
    UnreadableMessage,
    decode,
    parse_key,
    shard_key,
)
from runtime.errors import EXIT_USAGE, UsageError

WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
HOP = Hop(tier="2gi", reason="needs 2.3 GiB", at=WHEN, worker="w1", attempt=2)
MESSAGE = ShardMessage(run="/runs/r1", key="s0/0fe9", kind="convert", sources=("s0/a.arrow",))

HOP_BY_CLOCK = (  # a message whose hop was at a time to be filled in
    b'{"schema": 1, "run": "/r", "key": "s0/0a", "kind": "convert",'
    b' "history": [{"tier": "2gi", "reason": "r", "at": %s}]}'
)

texts = st.text(st.characters(codec="utf-8"), max_size=60)
hops = st.builds(
    Hop,
    tier=texts,
    reason=st.text(st.characters(codec="utf-8"), max_size=400),
    at=st.datetimes(timezones=st.just(UTC)),
    worker=st.none() | texts,
    attempt=st.integers(1, 100),
)
messages = st.builds(
    ShardMessage,
    run=texts.map(lambda text: "gs://bucket/" + text.replace("\0", "").rstrip("/")),
    key=st.builds(shard_key, st.integers(0, 20), st.integers(0, 2**64 - 1).map("{:04x}".format)),
    kind=st.sampled_from(["convert", "downsample"]),
    redo=st.integers(0, 1000),
    history=st.lists(hops, max_size=30).map(tuple),
    sources=st.none() | st.lists(texts, max_size=200).map(tuple),
    reason=st.none() | st.text(st.characters(codec="utf-8"), max_size=4000),
)


@given(messages)
def test_a_message_survives_the_journey_or_loses_only_what_may_go(message: ShardMessage) -> None:
    """What is decoded is what was encoded, but for sources and old hops where it was too big."""
    data = message.encode()
    assert len(data) <= MAX_BYTES
    found = decode(data)
    assert (found.run, found.key, found.kind, found.redo) == (
        message.run,
        message.key,
        message.kind,
        message.redo,
    )
    assert found.sources in (message.sources, None)
    assert found.history == message.history[len(message.history) - len(found.history) :]
    if len(found.history) < len(message.history):
        assert found.sources is None
    if found.sources is not None or message.sources is None:
        assert found == message or len(found.history) < len(message.history) or found.reason


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    """Random bytes end in one of the two typed errors, which keep them."""
    with pytest.raises((UnreadableMessage, NewerSchema)) as caught:
        decode(data)
    assert isinstance(caught.value, UnreadableMessage | NewerSchema)
    assert caught.value.data == data


def test_the_form_on_the_wire() -> None:
    """Outside checks read these names, so they may not change."""
    message = MESSAGE.after(HOP, reason="the last tier was too small")
    assert json.loads(message.encode()) == {
        "schema": 1,
        "run": "/runs/r1",
        "key": "s0/0fe9",
        "kind": "convert",
        "redo": 0,
        "sources": ["s0/a.arrow"],
        "history": [
            {
                "tier": "2gi",
                "reason": "needs 2.3 GiB",
                "at": "2024-05-06T07:08:09Z",
                "worker": "w1",
                "attempt": 2,
            }
        ],
        "reason": "the last tier was too small",
    }
    assert message.attributes() == {"run": "/runs/r1", "scale": "0", "kind": "convert"}


def test_very_many_sources_are_left_to_the_plan() -> None:
    """A message with too many source files names its plan row instead: sources is None."""
    many = MESSAGE.model_copy(update={"sources": tuple(f"s0/{i}.arrow" for i in range(2000))})
    data = many.after(HOP).encode()
    assert len(data) <= MAX_BYTES
    assert decode(data) == MESSAGE.model_copy(update={"sources": None, "history": (HOP,)})


def test_endless_history_loses_its_oldest_hops_first() -> None:
    """However often a shard is moved its message stays small and knows its latest hops."""
    message = MESSAGE
    for attempt in range(1, 300):
        message = message.after(HOP.model_copy(update={"attempt": attempt}))
    found = decode(message.encode())
    assert found.history == message.history[-len(found.history) :]
    assert found.history[-1].attempt == 299


def test_a_huge_reason_is_cut() -> None:
    """The middle of a dead letter's reason is cut, which is marked; its end, the advice, stays."""
    letter = MESSAGE.after(HOP, reason=f"cut short: {'x' * 50_000}. Export this shard again")
    assert len(letter.encode()) <= MAX_BYTES
    reason = decode(letter.encode()).reason or ""
    assert reason.startswith("cut short: x")
    assert "x…x" in reason
    assert reason.endswith(". Export this shard again")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"schema": "1"}',
        b'{"schema": true}',
        b'{"schema": 0}',
        b'{"schema": 1}',
        b'{"schema": 1, "run": "/r", "key": "s0/XYZ", "kind": "convert"}',
        b'{"schema": 1, "run": "relative/r", "key": "s0/0a", "kind": "convert"}',
        b'{"schema": 1, "run": "/r", "key": "s0/0a", "kind": "paint"}',
        b'{"schema": 1, "run": "/r", "key": "s0/0a", "kind": "convert", "redo": -1}',
        b'{"schema": 1, "run": "/r\\u0000x", "key": "s0/0a", "kind": "convert"}',
        b'{"schema": 1, "run": "/r\\ud800", "key": "s0/0a", "kind": "convert"}',
        b'{"schema": 1, "run": "/r\xff", "key": "s0/0a", "kind": "convert"}',
        b'{"schema": 1, "run": "/%s", "key": "s0/0a", "kind": "convert"}' % (b"r" * 20_000),
        b'{"schema": 1, "run": ["/r"], "key": "s0/0a", "kind": "convert"}',
        b'{"schema": 1, "run": "/r", "key": "", "kind": "convert"}',
        b'{"schema": 1, "run": "/r", "key": "s0/../../x", "kind": "convert"}',
        '{"schema": 1, "run": "/r", "key": "s\u0663/0a", "kind": "convert"}'.encode(),
        b'{"schema": 1, "run": "/r", "key": "s0/0a", "kind": "convert", "redo": 1%s}' % (b"0" * 40),
        b'{"schema": 1, "run": "/r", "key": "s0/0a", "kind": "convert", "redo": 1e400}',
        b'{"schema": 1%s}' % (b"0" * 5_000),
        b'{"schema": 1%s}' % (b"0" * 4_000),
        b'{"schema": 1, "x": %s}' % (b"[" * 900 + b"]" * 900),
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        MESSAGE.encode()[:-1] + b" " * 10_000_000 + b"}",
        HOP_BY_CLOCK % b'"2024-01-01T00:00:00"',
        HOP_BY_CLOCK % b"1e300",
        '{"schema": 1}'.encode("utf-16"),
    ],
)
def test_broken_messages_are_unreadable_and_kept(data: bytes) -> None:
    """Bytes that are no message raise one plain line and keep the bytes."""
    with pytest.raises(UnreadableMessage) as caught:
        decode(data)
    assert caught.value.data == data
    assert "\n" not in str(caught.value)
    assert ": : " not in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.data())
def test_bytes_that_turned_are_a_message_or_unreadable(data: st.DataObject) -> None:
    """No other error comes out, whatever the bytes; what is read can be written again."""
    turned = bytearray(MESSAGE.after(HOP).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        turned[data.draw(st.integers(0, len(turned) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = decode(bytes(turned))
    except (UnreadableMessage, NewerSchema):
        return
    assert decode(message.encode()).run == message.run


def test_long_names_in_a_history_are_cut() -> None:
    """They are printed, and go to the ledger."""
    hop = HOP.model_dump(mode="json") | {"tier": "t" * 9_000, "worker": "w" * 9_000}
    found = Hop.model_validate(hop)
    assert (len(found.tier), len(found.worker or "")) == (NAME_CHARS, NAME_CHARS)


def test_a_newer_schema_is_not_poison() -> None:
    """A newer program's message is its own error: exit 2, worker older than the run."""
    data = b'{"schema": 2, "anything": "else"}'
    with pytest.raises(NewerSchema, match="this worker is older than the run") as caught:
        decode(data)
    assert (caught.value.exit_code, caught.value.run) == (EXIT_USAGE, None)
    with pytest.raises(NewerSchema) as caught:
        decode(b'{"schema": 2, "run": "/runs/r1"}')
    assert caught.value.run == "/runs/r1"


def test_fields_added_later_are_no_harm() -> None:
    """Adding a field keeps the schema, so an unknown field is passed over."""
    fields = json.loads(MESSAGE.encode()) | {"colour": "red"}
    assert decode(json.dumps(fields).encode()) == MESSAGE


def test_a_message_cannot_be_changed() -> None:
    """Messages are frozen: a hop makes a new one."""
    with pytest.raises(ValidationError):
        MESSAGE.redo = 1
    assert MESSAGE.after(HOP).history == (HOP,)
    assert MESSAGE.history == ()


def test_keys_go_both_ways() -> None:
    """A key holds the scale and the shard's hexadecimal number."""
    assert parse_key(shard_key(3, "0fe9")) == (3, "0fe9")
    assert MESSAGE.scale == 0
    for wrong in ("0fe9", "s0/", "s0/0FE9", "sx/01", "s0/01/2", " s0/01"):
        with pytest.raises(UsageError, match="shard key"):
            parse_key(wrong)
