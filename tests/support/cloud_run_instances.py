"""Stand-in for Cloud Run's instances: real processes, as many as each pool's count says.

An instance runs its pool's arguments and environment. One that exits is started again, as Cloud Run
does; of those that are too many whichever get SIGTERM, and ten seconds later SIGKILL.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.google_server import GoogleServer

GRACE_S: Final = 10.0
_POLL_S: Final = 0.1


class Instance:
    """One process of a pool.

    Attributes:
        pool: its id.
        stopped: whether it got SIGTERM for a scale-in.
    """

    def __init__(self, pool: str, log: Path, arguments: list[str], env: Mapping[str, str]) -> None:
        self.pool, self._log = pool, log
        self.stopped = False
        self._read = 0  # bytes of the log
        self._kill_s: float | None = None
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM, as for a scale-in."""
        self.stopped, self._kill_s = True, time.monotonic() + GRACE_S
        self._process.terminate()

    def kill_when_due(self) -> None:
        """SIGKILL, if it still runs after its grace."""
        if self._kill_s is not None and time.monotonic() > self._kill_s:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as when its machine dies."""
        self._process.kill()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The logged events of one name."""
        lines = self._log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event.get("event") == name]

    def new_lines(self) -> list[str]:
        """Whole lines of its log that were not returned before."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            whole = log.read().rpartition(b"\n")
        self._read += len(whole[0] + whole[1])
        return whole[0].decode(errors="replace").splitlines()

    @property
    def text(self) -> str:
        """Its whole log."""
        return self._log.read_text(errors="replace")


class CloudRunInstances:
    """Context manager that keeps as many processes as the pools of a server are to have.

    Args:
        google: server with the pools.
        folder: for logs.
        environment: of every instance, besides its pool's own.
        of_pools: more variables of a pool's instances, by the pool's id.

    Attributes:
        missing: images that are not there.
    """

    def __init__(
        self,
        google: GoogleServer,
        folder: Path,
        environment: Mapping[str, str],
        of_pools: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.google, self._folder = google, folder
        self._environment, self._of_pools = environment, dict(of_pools or {})
        self._wanted: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._chance = random.Random(1)
        self.all: list[Instance] = []
        self.missing: set[str] = set()

    def __enter__(self) -> Self:
        self.google.worker_pools.on_scaled = self._wanted.__setitem__
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for one in self.all:
            with contextlib.suppress(ProcessLookupError):
                one.kill()

    def running(self, pool: str | None = None) -> list[Instance]:
        """Instances that run, of one pool or of all."""
        return [one for one in list(self.all) if one.alive and pool in {None, one.pool}]

    def killed_busy(self) -> Iterator[str]:
        """Shards that a scale-in took from a worker."""
        for one in self.all:
            if one.stopped:
                yield from (str(event["shard"]) for event in one.events("shard_released"))

    def _loop(self) -> None:
        while not self._over.wait(_POLL_S):
            for name, count in list(self._wanted.items()):
                self._settle(name, count)

    def _settle(self, name: str, count: int) -> None:
        pool = name.rpartition("/")[2]
        for one in self.running(pool):
            one.kill_when_due()
        self._log(name, pool)
        staying = [one for one in self.running(pool) if not one.stopped]
        for _ in range(count - len(staying)):
            self._start(name, pool)
        for one in self._chance.sample(staying, max(0, len(staying) - count)):
            one.stop()

    def _start(self, name: str, pool: str) -> None:
        container = self.google.worker_pools.found.get(name)["template"]["containers"][0]
        if container["image"] in self.missing:
            self.google.worker_pools.fail(name, f"Image '{container['image']}' not found.")
            return
        own = {entry["name"]: entry["value"] for entry in container.get("env", ())}
        env = {**os.environ, **self._environment, **own, **self._of_pools.get(pool, {})}
        log = self._folder / f"{pool}-{len(self.all)}.log"
        self.all.append(Instance(pool, log, list(container["args"]), env))

    def _log(self, name: str, pool: str) -> None:
        """Pass new lines on to Cloud Logging."""
        _, project, _, region, *_ = name.split("/")
        labels = {"worker_pool_name": pool, "location": region}
        resource = {"type": "cloud_run_worker_pool", "labels": labels}
        own = [one for one in list(self.all) if one.pool == pool]
        for line in (line for one in own for line in one.new_lines()):
            payload = json.loads(line) if line.startswith("{") else None
            said = {"jsonPayload": payload} if payload else {"textPayload": line.rstrip()}
            self.google.logs.add(project, resource, **said)
