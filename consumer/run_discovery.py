"""Discovers the runs that this worker or fleet serves."""

from collections import Counter

from delivery.broker import absolute_queue_url
from delivery.ledger.run import Run, list_runs
from runtime.storage import Storage, open_storage


class RunDiscovery:
    """The run of --run, else the runs of the state root in this queue and those of messages.

    Args:
        run: the only run to serve, or None.
        state: URL of the state root, or None.
        queue: URL of the queue; runs of other queues are not served.
    """

    def __init__(self, run: Run | None, state: str | None, queue: str) -> None:
        self._run = run
        self._state = run.state_url if run else state
        self._queue = absolute_queue_url(queue)
        self._runs: dict[str, Run] = {}

    @property
    def state(self) -> Storage | None:
        """The state root, where unreadable messages are quarantined; None while unknown."""
        url = self._state or next((run.state_url for run in self._runs.values()), None)
        return open_storage(url) if url else None

    def add(self, run: Run) -> None:
        """Add the run of a message."""
        self._runs.setdefault(run.uri, run)

    def refresh(self) -> list[Run]:
        """List the state root anew; all runs, those of earlier calls first."""
        if self._run is not None:
            return [self._run]
        below = [] if self._state is None else list_runs(self._state)
        for run in below:
            if run.uri not in self._runs and run.info.queue == self._queue:
                self.add(run)
        return list(self._runs.values())

    def tiers(self) -> tuple[str, ...]:
        """Names of all tiers that these runs use."""
        return tuple(dict.fromkeys(name for run in self.refresh() for name in run.info.tiers))

    def planned(self) -> dict[str, int]:
        """Shards per tier by these runs' plans; dependents get theirs from receipts later."""
        counted: Counter[str] = Counter()
        for run in self.refresh():
            counted.update(filter(None, run.plan.table.column("tier").to_pylist()))
        return dict(counted)
