"""Which runs a worker or fleet is there for, and which of them go on."""

from collections import Counter

from delivery.broker import absolute_queue_url
from delivery.ledger.run import Run, list_runs
from runtime.storage import Storage, open_storage


class RunDiscovery:
    """Runs from --run, else those of the state root in this queue, else those messages led to.

    Args:
        run: the one run asked for, or None.
        state: URL of the state root, or None.
        queue: URL of the queue; other queues' runs are none of ours.
    """

    def __init__(self, run: Run | None, state: str | None, queue: str) -> None:
        self._run = run
        self._state = run.state_url if run else state
        self._queue = absolute_queue_url(queue)
        self._learned: dict[str, Run] = {}

    @property
    def state(self) -> Storage | None:
        """Where what leads to no run is kept; None while nobody knows."""
        url = self._state or next((run.state_url for run in self._learned.values()), None)
        return open_storage(url) if url else None

    def learn(self, run: Run) -> None:
        """A message led to this run."""
        self._learned.setdefault(run.uri, run)

    def look(self) -> list[Run]:
        """The runs as they are now, oldest first; those that began meanwhile are among them."""
        if self._run is not None:
            return [self._run]
        below = [] if self._state is None else list_runs(self._state)
        for run in below:
            if run.uri not in self._learned and run.info.queue == self._queue:
                self.learn(run)
        return list(self._learned.values())

    def tiers(self) -> tuple[str, ...]:
        """Names of all tiers that these runs use."""
        return tuple(dict.fromkeys(name for run in self.look() for name in run.info.tiers))

    def planned(self) -> dict[str, int]:
        """Shards per tier that these runs' plans name; for others only receipts will tell."""
        counted: Counter[str] = Counter()
        for run in self.look():
            counted.update(filter(None, run.plan.table.column("tier").to_pylist()))
        return dict(counted)
