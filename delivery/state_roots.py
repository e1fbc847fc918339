"""State roots: below which folders a run must lie for its messages to be followed.

Whoever may publish to a queue writes messages, and a message names its run. A ledger decides what
is written where, so a worker follows a message only to a ledger below a state root that it was
given, or that the queue's own settings name (`Broker.state_roots`).

Places are compared, not texts: a local path after `..`, links and `file://` are resolved, the rest
character by character. An odd spelling of a place in a bucket is another place.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from delivery.broker.base import Broker
from delivery.ledger.run import check_run_id
from runtime.errors import UsageError
from runtime.storage import absolute, join
from runtime.urls import is_remote, split_bucket

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


class StateRoots:
    """The state roots whose runs may be served.

    Args:
        broker: the queues, whose settings may name further roots; read anew each time, because
            `enqueue` may add one while a worker runs.
        given: URLs of the roots that the program was given.
    """

    def __init__(self, broker: Broker, given: Iterable[str] = ()) -> None:
        self._broker = broker
        self._given = tuple(absolute(url) for url in given)

    @property
    def urls(self) -> tuple[str, ...]:
        """All roots, the given ones first."""
        return tuple(dict.fromkeys((*self._given, *self._named())))

    @property
    def first(self) -> str | None:
        """The root that keeps what belongs to no run; None where no root is known."""
        return next(iter(self._given or self.urls), None)

    def hold(self, uri: str) -> bool:
        """Whether a run's URI, as a message has it, names a place directly below a root.

        Nothing is opened; the folder need not exist.
        """
        if not can_be_run(uri):
            return False
        place = absolute(uri)
        name = place.rpartition("/")[2]
        return any(_is_run_of(root, name, place) for root in self._candidates())

    def _candidates(self) -> Iterable[str]:
        """All roots; the queue is read only where the given ones do not suffice."""
        yield from self._given
        yield from self._named()

    def _named(self) -> Iterator[str]:
        for url in self._broker.state_roots():
            with contextlib.suppress(UsageError):  # not a place
                yield absolute(url)


def _is_run_of(root: str, name: str, place: str) -> bool:
    """Whether the run of this name below the root is that place.

    Also where its folder below the root is a link: who can make one there owns the root.
    """
    return absolute(join(root, name)) == place


def can_be_run(uri: str) -> bool:
    """Whether a run can have this URI at all, below whatever root."""
    try:
        place = absolute(uri)
        check_run_id(place.rpartition("/")[2])
    except UsageError:
        return False
    return not is_remote(place) or bool(_BUCKET.fullmatch(split_bucket(place)[0]))


def describe_foreign(uri: str) -> str:
    """Reason why a message is not followed."""
    return f"its run {uri} is not below a state root of this queue or program"
