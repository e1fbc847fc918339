"""Backoff of several slots: an outage that reaches all of them counts once."""

import pytest

from consumer.signals import ShutdownFlags
from consumer.worker.backoff import MAX_ERRORS, Backoff
from runtime.errors import UnreachableError

ERROR = UnreachableError("no network")


@pytest.fixture
def told() -> list[str]:
    """What it reports."""
    return []


@pytest.fixture
def backoff(told: list[str]) -> Backoff:
    """A backoff without pauses."""
    return Backoff(ShutdownFlags(), told.append, 0.0)


def test_errors_of_attempts_that_began_together_count_once(backoff: Backoff) -> None:
    """However many slots there are, the worker waits as patiently as with one."""
    for _ in range(MAX_ERRORS - 1):
        begun = [backoff.begin() for _ in range(10)]
        for one in begun:
            backoff.pause(ERROR, one)
    with pytest.raises(UnreachableError, match="no network"):
        backoff.pause(ERROR, backoff.begin())


def test_a_success_of_any_slot_begins_anew(backoff: Backoff, told: list[str]) -> None:
    """What can be reached for one shard is no outage; the end of the trouble is reported."""
    for _ in range(2 * MAX_ERRORS):
        backoff.pause(ERROR, backoff.begin())
        backoff.succeed()
    backoff.succeed()
    assert told == ["no network", ""] * (2 * MAX_ERRORS)


def test_no_message_is_leased_while_a_slot_pauses() -> None:
    """The pause is everybody's."""
    seen: list[bool] = []
    flags = ShutdownFlags()
    own = Backoff(flags, lambda _: seen.append(own.pausing), 0.0)
    own.pause(ERROR, own.begin())
    assert seen == [True]
    assert not own.pausing
