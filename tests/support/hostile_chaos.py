"""Disorder of every kind for a fleet and its commands: storage, network, signals, clock, messages.

Everything is drawn from one seed, so that a round can be run again.
"""

import contextlib
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EDQUOT, EIO, EMFILE, ENOSPC
from pathlib import Path

import psutil

from runtime.errors import ShardliftError
from tests.support.hostile_site import Site, family
from tests.support.machine_faults import Rule

DAY_S = 86_400
KEYS = ("s0/0", "s0/1", "s0/2", "s0/3", "s1/0")
PAUSE_S = (0.05, 0.25)  # between two acts
NETWORK = (500, 503, 429, 408, "reset", "lost", "cut", "short", "flip", "flip-sent", "slow")
JUMPS_S = (-3_600, -20, 20, 3_600, 2 * DAY_S)
CALLS = (
    "create",
    "write",
    "fsync",
    "rename",
    "mkdir",
    "pwrite",
    "pread",
    "open",
    "read",
    "opendir",
)
ERRORS = (ENOSPC, EIO, EMFILE, EDQUOT)


@dataclass
class RawMessage:
    """Bytes that pass for a message."""

    data: bytes

    def encode(self) -> bytes:
        """The bytes."""
        return self.data

    def attributes(self) -> dict[str, str]:
        """Of nobody's run."""
        return {"run": "/elsewhere/runs/r1"}


class Chaos:
    """Acts at random on a site, from `start` to `stop`.

    Args:
        site: to act on.
        seed: of the choices.
        commands: that run meanwhile.
    """

    def __init__(self, site: Site, seed: int, commands: Sequence[subprocess.Popen[bytes]]) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._commands = commands
        self._frozen: list[tuple[float, psutil.Process]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._act)
        self.counts: Counter[str] = Counter()
        self._acts: list[tuple[Callable[[], None], int]] = [
            (self._network, 8),
            (self._hostile_message, 4),
            (self._old_message, 4),
            (self._freeze, 3),
            (self._kill_executor, 1),
            (self._kill_worker, 1),
            (self._end_fleet, 1),
            (self._end_command, 1),
            (self._jump, 2),
        ]

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End all faults: processes go on, the clock is right, there is a fleet."""
        self._ended.set()
        self._thread.join()
        self._site.server.heal()
        self._site.jump(0)
        self._thaw(all_of_them=True)
        for machine in self._site.machines:
            machine.heal()
        self._site.fleet()

    def _act(self) -> None:
        acts, weights = zip(*self._acts, strict=True)
        while not self._ended.wait(self._random.uniform(*PAUSE_S)):
            self._thaw()
            self._site.fleet(self.rules())
            with contextlib.suppress(psutil.NoSuchProcess, ShardliftError, OSError):
                self._random.choices(acts, weights)[0]()

    def rules(self) -> list[Rule]:
        """Some system calls that fail, of a program that is about to start."""
        return [
            Rule(
                self._random.choice(CALLS),
                self._random.choice(ERRORS),
                self._random.randint(1, 200),
                self._random.randint(1, 3),
            )
            for _ in range(self._random.choice((0, 0, 1, 2)))
        ]

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    def _network(self) -> None:
        how = self._random.choice(NETWORK)
        self._site.server.fail("/storage/", self._random.randint(1, 3), how)
        self._count(f"network: {how}")

    def _publish(self, message: object) -> None:
        tier = self._random.choice(self._site.tiers)
        self._site.broker.publish(tier, [message])  # type: ignore[list-item]  # a foreign publisher

    def _runs(self) -> list[str]:
        """URIs of the runs so far, without a read of the ledger."""
        state = self._site.state
        if "://" not in state:
            return [str(path.parent) for path in Path(state).glob("*/run.json")]
        bucket, _, prefix = state.removeprefix("gs://").partition("/")
        names = self._site.server.names(bucket)
        found = [name for name in names if name.startswith(prefix) and name.endswith("/run.json")]
        return [f"gs://{bucket}/{name.removesuffix('/run.json')}" for name in found]

    def _hostile_message(self) -> None:
        runs = self._runs() or [f"{self._site.state}/none"]
        good = {"schema": 1, "run": self._random.choice(runs), "key": "s0/0", "kind": "convert"}
        changes: list[dict[str, object]] = [
            {"run": "/elsewhere/runs/r1"},
            {"run": "gs://UPPER/x"},
            {"run": "/" + "x" * 5_000},
            {"run": f"{good['run']}\0"},
            {"run": f"{good['run']}/../../elsewhere/r"},
            {"key": "s0/ffff"},
            {"key": "../x"},
            {"key": "s9/0"},
            {"redo": 99},
            {"sources": []},
            {"sources": ["s0/other.arrow"], "kind": "downsample"},
            {"history": [{"tier": "1gi", "reason": "\x1b[2J", "at": "2020-01-01T00:00:00Z"}]},
        ]
        bodies = [json.dumps(good | change).encode() for change in changes]
        bodies += [b"", b"\xff\xfe", b"[" * 9_000, b'{"schema": 1', b"null"]
        self._publish(RawMessage(self._random.choice(bodies)))
        self._count("messages: hostile")

    def _old_message(self) -> None:
        """Of a shard that is done, or not, or in work."""
        runs = self._runs()
        if runs:
            key = self._random.choice(KEYS)
            kind = "convert" if key.startswith("s0") else "downsample"
            message = {"schema": 1, "run": self._random.choice(runs), "key": key, "kind": kind}
            self._publish(RawMessage(json.dumps(message).encode()))
            self._count("messages: old or twice")

    def _all(self) -> list[psutil.Process]:
        return [
            one
            for process in (*self._site.fleets[-1:], *self._commands)
            if process.poll() is None
            for one in family(process.pid)
        ]

    def _some(self, word: str) -> psutil.Process | None:
        found = [one for one in self._all() if word in one.cmdline()]
        return self._random.choice(found) if found else None

    def _freeze(self) -> None:
        found = self._all()
        if found and len(self._frozen) < 2:
            process = self._random.choice(found)
            process.send_signal(signal.SIGSTOP)
            self._frozen.append((time.monotonic() + self._random.uniform(0.3, 5), process))
            self._count("signals: frozen")

    def _thaw(self, *, all_of_them: bool = False) -> None:
        for entry in list(self._frozen):
            if all_of_them or time.monotonic() >= entry[0]:
                self._frozen.remove(entry)
                with contextlib.suppress(psutil.NoSuchProcess):
                    entry[1].send_signal(signal.SIGCONT)

    def _kill_executor(self) -> None:
        self._kill("consumer.executor", "signals: executor killed")

    def _kill_worker(self) -> None:
        self._kill("work", "signals: worker killed")

    def _kill(self, word: str, what: str) -> None:
        if (process := self._some(word)) is not None:
            process.kill()
            self._count(what)

    def _end_fleet(self) -> None:
        self._site.fleets[-1].send_signal(self._ending())
        self._count("signals: fleet ended")

    def _end_command(self) -> None:
        alive = [command for command in self._commands if command.poll() is None]
        if alive:
            self._random.choice(alive).send_signal(self._ending())
            self._count("signals: command ended")

    def _ending(self) -> signal.Signals:
        return self._random.choice((signal.SIGTERM, signal.SIGKILL, signal.SIGINT))

    def _jump(self) -> None:
        self._site.jump(self._random.choice((0, *JUMPS_S)))
        self._count("clock: jumps")
