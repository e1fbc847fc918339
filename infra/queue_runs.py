"""Unfinished runs of a queue below the state roots, read as cheaply as it is safe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from delivery.broker import absolute_queue_url
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import UNREADABLE, Heartbeat, Run, log_damage
from delivery.ledger.shard_status import RunStatus, read_status
from runtime.errors import ObjectNotFound
from runtime.storage import absolute, join, open_storage


@dataclass(frozen=True)
class OpenRun:
    """An unfinished run as it was read."""

    run: Run
    status: RunStatus
    heartbeats: Sequence[Heartbeat]


class QueueRuns:
    """Unfinished runs of one queue.

    A run that was over is read again only on demand: a redo, or a requeued shard, opens it anew.

    Args:
        queue: URL.
        roots: state roots that hold its runs.
    """

    def __init__(self, queue: str, roots: Sequence[str]) -> None:
        self.queue = absolute_queue_url(queue)
        self.roots = tuple(absolute(root) for root in roots)
        self._known: dict[str, Run] = {}
        self._over: set[str] = set()

    def read(self, *, all_again: bool) -> list[OpenRun]:
        """The unfinished runs.

        Args:
            all_again: read also runs that were over before; before anything is stopped.

        Raises:
            UnreachableError: a ledger cannot be read now, so that what is left is unknown.
        """
        found = []
        for uri in self._uris():
            if uri in self._over and not all_again:
                continue
            run = self._run(uri)
            try:
                opened = self._opened(run)
            except LedgerDamaged as error:  # no message of it can be worked on
                log_damage(run, error)
                opened = None
            if opened is None:
                self._over.add(uri)
                self._known.pop(uri, None)
            else:
                self._over.discard(uri)
                self._known[uri] = run
                found.append(opened)
        return found

    def _uris(self) -> Iterator[str]:
        for root in self.roots:
            for name in open_storage(root).folders():
                if name != UNREADABLE and not name.startswith("."):
                    yield join(root, name)

    def _run(self, uri: str) -> Run:
        """The run, with what is known of it, unless another took its id."""
        known = self._known.get(uri)
        return Run(uri) if known is None or known.replaced() else known

    def _opened(self, run: Run) -> OpenRun | None:
        if not run.planned():
            return None
        try:
            if absolute_queue_url(run.queue) != self.queue or run.cancelled():
                return None
            status = read_status(run)
        except ObjectNotFound:  # removed meanwhile
            return None
        return None if status.ended else OpenRun(run, status, run.heartbeats())
