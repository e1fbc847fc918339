"""Discovers the runs that this worker or fleet serves, and their queue."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from delivery.broker import absolute_queue_url
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run, find_run, list_runs, log_damage
from delivery.ledger.shard_status import OPEN, read_status
from runtime import settings
from runtime.errors import UsageError
from runtime.storage import absolute, join
from runtime.urls import is_remote


class RunDiscovery:
    """The run of --run, else the runs of the state roots in this queue and those of messages.

    Args:
        run: the only run to supervise, or None.
        roots: URLs of the state roots that were given.
        queue: URL of the queue; runs of other queues are not served.

    Attributes:
        roots: of `run`, then the given ones; messages are followed below these, and below those
            that the queue itself names.
        queue: the same, absolute.
        damaged: by URI, what is damaged of runs of the state roots that are passed over.
    """

    def __init__(self, run: Run | None, roots: Sequence[str], queue: str) -> None:
        self._run = run
        own = [run.state_url] if run else []
        self.roots = tuple(dict.fromkeys([*own, *map(absolute, roots)]))
        self.queue = absolute_queue_url(queue)
        self.damaged: dict[str, str] = {}
        self._runs: dict[str, Run] = {}

    def add(self, run: Run) -> None:
        """Add the run of a message."""
        self._runs.setdefault(run.uri, run)

    def refresh(self) -> list[Run]:
        """List the state roots anew; all runs, those of earlier calls first."""
        if self._run is not None:
            return [self._run]
        for run in self._below():
            with self._passing_over(run):
                if run.uri not in self._runs and self.serves(run):
                    self.add(run)
        return list(self._runs.values())

    def _below(self) -> list[Run]:
        """The runs of the state roots whose settings can be read, oldest first."""
        runs = [run for root in self.roots for run in list_runs(root, self._note)]
        return sorted(runs, key=lambda run: run.info.created) if len(self.roots) > 1 else runs

    def _note(self, run: Run, error: LedgerDamaged) -> None:
        if run.uri not in self.damaged:  # logged once
            log_damage(run, error)
        self.damaged[run.uri] = str(error)

    @contextlib.contextmanager
    def _passing_over(self, run: Run) -> Iterator[None]:
        """Note that a run is damaged, so that others go on."""
        try:
            yield
        except LedgerDamaged as error:
            self._note(run, error)

    def serves(self, run: Run) -> bool:
        """Whether the run is in this queue; a run can be moved to another."""
        return absolute_queue_url(run.queue) == self.queue

    def missing(self) -> str | None:
        """That no run was found, and where; None if one was, or no state root is known."""
        if self._run or self._runs or self.damaged or not self.roots:
            return None
        return f"no run of the queue {self.queue} below {', '.join(self.roots)}"

    def out_of_sight(self) -> dict[str, int]:
        """Open shards of runs in other queues, by a text that names run and queue."""
        found = {}
        for run in [self._run] if self._run else self._below():
            with self._passing_over(run):
                if not self.serves(run) and (number := open_shards(run)):
                    found[f"of run {run.run_id} on {run.queue}"] = number
        return found

    def remote(self) -> bool:
        """Whether any place of these runs is in a bucket, as far as they are known."""
        infos = [run.info for run in self.refresh()]
        places = (place for info in infos for place in (info.source, info.dest))
        return any(is_remote(place or "") for place in (*self.roots, *places))

    def tiers(self) -> tuple[str, ...]:
        """Names of all tiers that these runs use."""
        return tuple(dict.fromkeys(name for run in self.refresh() for name in run.info.tiers))

    def planned(self) -> dict[str, int]:
        """Shards per tier by these runs' plans; dependents get theirs from receipts later."""
        counted: Counter[str] = Counter()
        for run in self.refresh():
            with self._passing_over(run):
                counted.update(filter(None, run.plan.table.column("tier").to_pylist()))
        return dict(counted)


def discover_runs(queue: str | None, run: str | None, roots: Sequence[str]) -> RunDiscovery:
    """Discovery of the runs that the options of a command name, in their queue.

    Args:
        queue: as given; None: that of the run, or of the newest unfinished run of the roots.
        run: id or URI, or None.
        roots: URLs of the state roots that were given.

    Raises:
        UsageError: there is no such run, or it is in another queue than the given one.
    """
    if run is None:
        known = [] if queue else [one for root in roots for one in list_runs(root)]
        runs = sorted(_sound(known), key=lambda one: one.info.created)
        return RunDiscovery(None, roots, queue or _queue_of(runs))
    if not roots and "/" not in run:
        raise UsageError(f"where is run {run}? Pass --dest or --state, or its whole URI")
    found = _named(run, roots)
    discovery = RunDiscovery(found, roots, queue or found.queue)
    if not discovery.serves(found):
        raise UsageError(
            f"run {found.run_id} is in the queue {found.queue}, not in {discovery.queue}",
            hint="leave --queue and QUEUE_URL out, or move the run: the same enqueue command with "
            "the other --queue",
        )
    return discovery


def _named(run: str, roots: Sequence[str]) -> Run:
    """The run of this id or URI; an id is sought below each root."""
    for root in roots[:-1] if "/" not in run else ():
        if (found := Run(join(root, run))).planned():
            return found
    return find_run(roots[-1] if roots else "", run)


def _sound(runs: Sequence[Run]) -> list[Run]:
    """Those of the runs whose ledger can be read."""
    found = []
    for run in runs:
        try:
            open_shards(run)
        except LedgerDamaged as error:
            log_damage(run, error)
        else:
            found.append(run)
    return found


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
