"""Discovers the runs that this worker or fleet serves, and their queue."""

from collections import Counter
from collections.abc import Sequence

from delivery.broker import absolute_queue_url
from delivery.ledger.run import Run, find_run, list_runs
from delivery.ledger.shard_status import OPEN, read_status
from runtime import settings
from runtime.errors import UsageError
from runtime.storage import Storage, open_storage


class RunDiscovery:
    """The run of --run, else the runs of the state root in this queue and those of messages.

    Args:
        run: the only run to serve, or None.
        state: URL of the state root, or None.
        queue: URL of the queue; runs of other queues are not served.

    Attributes:
        queue: the same, absolute.
    """

    def __init__(self, run: Run | None, state: str | None, queue: str) -> None:
        self._run = run
        self._state = run.state_url if run else state
        self.queue = absolute_queue_url(queue)
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
            if run.uri not in self._runs and self.serves(run):
                self.add(run)
        return list(self._runs.values())

    def serves(self, run: Run) -> bool:
        """Whether the run is in this queue; a run can be moved to another."""
        return absolute_queue_url(run.queue) == self.queue

    def out_of_sight(self) -> dict[str, int]:
        """Open shards of runs in other queues, by a text that names run and queue."""
        runs = [self._run] if self._run else list_runs(self._state) if self._state else []
        found = {}
        for run in runs:
            if not self.serves(run) and (number := open_shards(run)):
                found[f"of run {run.run_id} on {run.queue}"] = number
        return found

    def tiers(self) -> tuple[str, ...]:
        """Names of all tiers that these runs use."""
        return tuple(dict.fromkeys(name for run in self.refresh() for name in run.info.tiers))

    def planned(self) -> dict[str, int]:
        """Shards per tier by these runs' plans; dependents get theirs from receipts later."""
        counted: Counter[str] = Counter()
        for run in self.refresh():
            counted.update(filter(None, run.plan.table.column("tier").to_pylist()))
        return dict(counted)


def discover_runs(queue: str | None, run: str | None, root: str | None) -> RunDiscovery:
    """Discovery of the runs that the options of a command name, in their queue.

    Args:
        queue: as given; None: that of the run, or of the newest unfinished run of the root.
        run: id or URI, or None.
        root: absolute URL of the state root, or None.

    Raises:
        UsageError: there is no such run, or it is in another queue than the given one.
    """
    if run is None:
        runs = [] if queue or root is None else list_runs(root)
        return RunDiscovery(None, root, queue or _queue_of(runs))
    if root is None and "/" not in run:
        raise UsageError(f"where is run {run}?", hint="give its URI, or --state or --dest")
    found = find_run(root or "", run)
    discovery = RunDiscovery(found, root, queue or found.queue)
    if not discovery.serves(found):
        raise UsageError(
            f"run {found.run_id} is in the queue {found.queue}, not in {discovery.queue}",
            hint="leave --queue and QUEUE_URL out, or move the run: the same enqueue command with "
            "the other --queue",
        )
    return discovery


def open_shards(run: Run) -> int:
    """Number of shards of a run that can still be done; none of a cancelled one."""
    if run.cancelled():
        return 0
    return sum(state in OPEN for state in read_status(run).states.values())


def _queue_of(runs: Sequence[Run]) -> str:
    """The queue of the newest unfinished run, else of the newest, else the default."""
    newest = next((run for run in reversed(runs) if open_shards(run)), None)
    if newest is None and runs:
        newest = runs[-1]
    return newest.queue if newest else settings.DEFAULT_QUEUE_URL
