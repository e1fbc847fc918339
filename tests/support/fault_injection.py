"""Disorder for a fleet at work: kills, freezes and duplicates, counted."""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from delivery.ledger.shard_status import RunStatus, read_status
from tests.support.run_harness import RunHarness

PAUSE_S = (0.5, 1.5)  # between two acts; a worker takes two seconds to start
FREEZE_LEASES = 1.5  # long enough to lose the lease
MAX_HARM = 0.25  # kills and freezes per shard, so that the run makes progress


@dataclass
class FaultInjector:
    """Acts at random on the workers of one fleet.

    Args:
        harness: whose run is disturbed.
        fleet: process id of the fleet.
        seed: another seed, other acts.
        more: further acts, such as on the export; each counts itself.
    """

    harness: RunHarness
    fleet: int
    seed: int = 0
    more: Sequence[Callable[[], None]] = ()
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._frozen: dict[psutil.Process, float] = {}
        self._keys = [row.key for row in self.harness.run.plan.rows()]

    def act(self, until_done: float) -> RunStatus:
        """Act until this share of the shards is done, then let everything thaw."""
        acts = [
            self.kill_worker,
            self.kill_executor,
            self.freeze,
            self.duplicate,
            self.duplicate,
            *self.more,
        ]
        while True:
            status = read_status(self.harness.run)
            if len(status.receipts) >= until_done * len(self._keys):
                break
            self._random.choice(acts)()
            self._thaw()
            time.sleep(self._random.uniform(*PAUSE_S))
        for process in list(self._frozen):
            self._wake(process)
        return status

    def kill_worker(self) -> None:
        """SIGKILL to a worker: its message is delivered again when the lease ends."""
        worker = self._busy_worker()
        if worker is not None:
            self._kill("workers killed", worker)

    def kill_executor(self) -> None:
        """SIGKILL to an executor: its shard goes to the next tier."""
        worker = self._busy_worker()
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in worker.children() if worker else ():
                self._kill("executors killed", child)

    def freeze(self) -> None:
        """Stop a worker and its executor for longer than its lease."""
        worker = None if self._frozen or not self._may_harm() else self._busy_worker()
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (worker, *worker.children()) if worker else ():
                process.send_signal(signal.SIGSTOP)
                self._frozen[process] = time.monotonic() + FREEZE_LEASES * self.harness.lease_s
            self.counts["workers frozen"] += bool(worker)

    def duplicate(self) -> None:
        """Publish some shard once more, done or not."""
        key = self._random.choice(self._keys)
        if self.harness.publish([key]):
            self.counts["duplicates published"] += 1

    def _kill(self, what: str, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._may_harm():
                process.kill()
                self.counts[what] += 1

    def _may_harm(self) -> bool:
        harms = (
            number for what, number in self.counts.items() if "killed" in what or "frozen" in what
        )
        return sum(harms) < MAX_HARM * len(self._keys)

    def _busy_worker(self) -> psutil.Process | None:
        """A worker whose heartbeat names a shard."""
        beats = [beat for beat in self.harness.run.heartbeats() if beat.key]
        busy = {int(beat.worker.split("-")[-2]) for beat in beats}
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = psutil.Process(self.fleet).children()
            able = [w for w in workers if w.pid in busy and w not in self._frozen]
            return self._random.choice(able) if able else None
        return None

    def _thaw(self) -> None:
        for process, until_s in list(self._frozen.items()):
            if time.monotonic() >= until_s:
                self._wake(process)

    def _wake(self, process: psutil.Process) -> None:
        del self._frozen[process]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
