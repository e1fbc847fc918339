"""Known runs: those that messages named, each kept with its plan."""

import threading
from collections.abc import Callable, Iterator

from delivery.ledger.plan import Plan
from delivery.ledger.run import Run
from delivery.messages import ShardMessage
from memmodel.run_context import RunContext
from runtime.storage import absolute


class KnownRuns:
    """Runs that messages named; all slots of a worker share them.

    Args:
        on_discovered: called once for each run that is planned.
    """

    def __init__(self, on_discovered: Callable[[Run], None]) -> None:
        self._on_discovered = on_discovered
        self._planned: dict[str, RunContext] = {}
        self._new: dict[str, RunContext] = {}  # not known yet to be planned
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Run]:
        """The planned runs."""
        return iter([context.run for context in self._planned.values()])

    def named(self, message: ShardMessage) -> RunContext:
        """The run that a message names, planned or not."""
        uri = absolute(message.run)
        known = self._planned.get(uri)
        if known is not None and message.run_token not in {None, known.run.info.token}:
            self.forget(known.run)  # its id was used again, or the message is older than it
            known = None
        return known or self._new.setdefault(uri, RunContext(Run(message.run)))

    def find(self, message: ShardMessage) -> Run | None:
        """The planned run that a message names, without a look into storage."""
        context = self._planned.get(absolute(message.run))
        return context.run if context is not None else None

    def check_planned(self, context: RunContext) -> bool:
        """Whether the run is planned; if so, it is kept."""
        run = context.run
        if run.uri in self._planned:
            return True
        planned = run.planned()
        with self._lock:
            self._new.pop(run.uri, None)
            new = planned and run.uri not in self._planned
            if new:
                self._planned[run.uri] = context
        if new:
            self._on_discovered(run)
        return planned

    def plan(self, run: Run) -> Plan:
        """The run's plan, which slots that begin together read once."""
        with self._lock:
            return run.plan

    def forget(self, run: Run) -> None:
        """Forget a run that is gone, or whose id was used again: messages are judged anew."""
        self._planned.pop(run.uri, None)
