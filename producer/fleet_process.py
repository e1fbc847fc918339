"""Fleet process that `--wait` starts on one machine."""

import contextlib
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from delivery.broker import absolute_queue_url, queue_path
from delivery.broker.fleet_lock import FleetLock
from delivery.ledger.run import Run
from runtime import settings
from runtime.errors import ShardliftError
from runtime.interpreter import as_typed, module_command, module_environment
from runtime.machine import translate_start_errors

_STOP_S = 12.0  # a fleet gives its workers eight seconds to release their shards
_END_S = 20.0  # a fleet checks about once a second whether its run has ended
_KILL_S = 2.0
_TAIL_LINES = 200
_ERROR = "error: "


class FleetEndedError(ShardliftError):
    """The fleet ended before its run; the command ends with the fleet's exit code."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


class FleetProcess:
    """Context manager that runs `python -m consumer fleet` on one run.

    While another fleet works on the queue, none is started: their memory would add up.

    Args:
        run: the run.
        queue: absolute URL.
        options: further options of the fleet, such as --memory.
    """

    def __init__(self, run: Run, queue: str, options: Sequence[str] = ()) -> None:
        self._run = run
        self.log = _log_file(queue, run.run_id)
        self._command = [*module_command("consumer"), "fleet", "--until-drained"]
        self._command += ["--run", run.uri, "--queue", queue, *options]
        self._queue = queue
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> bool:
        """Start the fleet unless another one works on the queue; whether it was started."""
        with FleetLock(queue_path(self._queue)) as lock:
            if not lock.take():
                return False
            with self.log.open("wb") as output, translate_start_errors("the fleet"):
                self._process = subprocess.Popen(
                    self._command,
                    env=module_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(lock.fileno(),),  # inherited: the fleet holds the lock from here on
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
        """Whether another process's fleet works on the queue."""
        return self._process is None

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is not None and self._process.poll() is not None

    def error(self) -> FleetEndedError:
        """Error for a fleet that ended before its run, with the fleet's own as its cause."""
        code = self._process.returncode if self._process else 0
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return FleetEndedError(
            f"the fleet ended before run {self._run.run_id} ({ended}): {self._cause()}",
            f"the same command continues the run; the fleet's log: {self.log}",
            code if code > 0 else 1,
        )

    def _cause(self) -> str:
        """The last error in the fleet's log; without any, its last line, as of a traceback."""
        lines = [line for line in _tail(self.log) if line.strip()]
        errors = [line for line in lines if line.startswith(_ERROR)]
        if errors:
            return errors[-1].removeprefix(_ERROR)
        if lines and not lines[-1].startswith("{"):  # an event tells what went well
            return lines[-1].strip()
        return f"its log is {self.log}"

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # its storage hangs
                    process.wait(_KILL_S)


def _log_file(queue: str, run_id: str) -> Path:
    """Log file of the fleet, in the folder of the queue's file."""
    return queue_path(queue).with_name(f"fleet-{run_id}.log")


def _tail(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return file.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return []


def fleet_command(run: Run) -> str:
    """Command line that starts workers for a run."""
    given = settings.get(settings.QUEUE_URL)  # would win over the run's own
    queue = f" --queue {run.queue}" if given and absolute_queue_url(given) != run.queue else ""
    return as_typed(f"python -m consumer fleet{queue} --run {shlex.quote(run.uri)} --until-drained")
