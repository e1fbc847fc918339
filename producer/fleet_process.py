"""The fleet as a process of its own, for `--wait` on one machine."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from delivery.broker import queue_path
from delivery.broker.fleet_lock import FleetLock
from delivery.ledger.run import Run
from runtime import settings
from runtime.errors import ShardliftError

_STOP_S = 12.0  # a fleet gives its workers eight seconds to hand back
_END_S = 20.0  # a fleet looks once a second or so whether its run has ended
_SAID_LINES = 200


class FleetEnded(ShardliftError):  # noqa: N818 - what is said when it did
    """The fleet ended before its run; ends the command as it ended the fleet."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


class FleetProcess:
    """`python -m consumer fleet` on one run; stopped when the `with` block is left.

    Where a fleet of somebody else works on the queue already, none is started as long as it lives:
    the memory of both would add up.

    Args:
        run: whose shards to make.
        queue: absolute URL.
        options: further ones, such as --memory.
    """

    def __init__(self, run: Run, queue: str, options: Sequence[str] = ()) -> None:
        self._run = run
        self.log = _log_file(queue, run.run_id)
        self._command = [sys.executable, "-m", "consumer", "fleet", "--until-drained"]
        self._command += ["--run", run.uri, "--queue", queue, *options]
        self._queue = queue
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> bool:
        """Start it, unless a fleet works on the queue already; whether it was."""
        with FleetLock(queue_path(self._queue)) as lock:
            if not lock.take():
                return False
            with self.log.open("wb") as output:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(lock.fileno(),),  # from now on it is the fleet's
                )
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        if error is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._stop(self._process)

    @property
    def elsewhere(self) -> bool:
        """Whether it is somebody else's fleet that works."""
        return self._process is None

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process is not None and self._process.poll() is not None

    def why(self) -> FleetEnded:
        """The error to raise for a fleet that ended before its run did."""
        code = self._process.returncode if self._process else 0
        said = [line for line in _tail(self.log) if line.startswith("error: ")]
        words = said[-1].removeprefix("error: ") if said else f"its log is {self.log}"
        return FleetEnded(
            f"the fleet ended before run {self._run.run_id} (exit code {code}): {words}",
            f"the same command continues the run; the fleet's log: {self.log}",
            code if code > 0 else 1,
        )

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _log_file(queue: str, run_id: str) -> Path:
    """Beside the queue's file, which is on this machine."""
    return queue_path(queue).with_name(f"fleet-{run_id}.log")


def _tail(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return file.read_text(errors="replace").splitlines()[-_SAID_LINES:]
    return []


def fleet_command(run: Run) -> str:
    """What somebody types to start workers for a run."""
    queue = "" if run.info.queue == settings.default_queue_url() else f" --queue {run.info.queue}"
    return f"python -m consumer fleet{queue} --run {run.uri} --until-drained"
