"""Disorder for a fleet at work: kills, freezes, duplicates; and counts of what came of it."""

import contextlib
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import psutil

from delivery.ledger.shard_status import RunStatus, read_status
from tests.support.small_runs import World

PAUSE_S = (0.5, 1.5)  # between two acts: a worker takes two seconds to start
FREEZE_LEASES = 1.5  # long enough to lose the lease
MOST_HARM = 0.25  # kills and freezes per shard, so that the run gets on


@dataclass
class Mayhem:
    """Acts at random on the workers of one fleet.

    Args:
        world: whose run is disturbed.
        fleet: process id of the fleet.
        seed: another seed, other acts.
    """

    world: World
    fleet: int
    seed: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._frozen: dict[psutil.Process, float] = {}
        self._keys = [row.key for row in self.world.run.plan.rows()]

    def rage(self, until_done: float) -> RunStatus:
        """Act until this share of the shards is done, then let everything thaw."""
        acts = [
            self.kill_worker,
            self.kill_work_process,
            self.freeze,
            self.duplicate,
            self.duplicate,
        ]
        while True:
            status = read_status(self.world.run)
            if len(status.receipts) >= until_done * len(self._keys):
                break
            self._random.choice(acts)()
            self._thaw()
            time.sleep(self._random.uniform(*PAUSE_S))
        for process in list(self._frozen):
            self._wake(process)
        return status

    def kill_worker(self) -> None:
        """SIGKILL to a worker: its message comes back when the lease ends."""
        worker = self._busy_worker()
        if worker is not None:
            self._kill("workers killed", worker)

    def kill_work_process(self) -> None:
        """SIGKILL to a work process: its shard goes to the next tier."""
        worker = self._busy_worker()
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in worker.children() if worker else ():
                self._kill("work processes killed", child)

    def freeze(self) -> None:
        """Stop a worker and its work process for longer than its lease."""
        worker = None if self._frozen or not self._may_harm() else self._busy_worker()
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (worker, *worker.children()) if worker else ():
                process.send_signal(signal.SIGSTOP)
                self._frozen[process] = time.monotonic() + FREEZE_LEASES * self.world.lease_s
            self.counts["workers frozen"] += bool(worker)

    def duplicate(self) -> None:
        """Publish some shard once more, done or not."""
        key = self._random.choice(self._keys)
        if self.world.publish([key]):
            self.counts["duplicates published"] += 1

    def _kill(self, what: str, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._may_harm():
                process.kill()
                self.counts[what] += 1

    def _may_harm(self) -> bool:
        harms = (number for what, number in self.counts.items() if "work" in what)
        return sum(harms) < MOST_HARM * len(self._keys)

    def _busy_worker(self) -> psutil.Process | None:
        """One of those whose heartbeat names a shard."""
        beats = [beat for beat in self.world.run.heartbeats() if beat.key]
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
