"""Worker process of a fleet: start, read reports, retire, stop.

The process is `python -m consumer work --owner PID`: it ends with the fleet, and reports on stdout,
as one JSON object per line, whether it is busy, which runs it discovered and where it published.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from consumer.signals import RETIRE
from memmodel.tiers import Tier
from runtime.errors import MachineError
from runtime.interpreter import module_command, module_environment
from runtime.machine import start_thread, translate_start_errors

COMMAND: Final = (*module_command("consumer"), "work")
REPORTS_S: Final = 1.0  # to read the last reports of a worker that ended


class WorkerReport(BaseModel):
    """Status report that a worker prints as one JSON line.

    Attributes:
        busy: whether the worker has a shard; None: unchanged.
        run: URI of a run that a message named.
        tier: to which the worker published a message.
        error: why the worker ends, with what to do next.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    busy: bool | None = None
    run: str | None = None
    tier: str | None = None
    error: str | None = None

    def line(self) -> str:
        """The report as one line, newline included."""
        return self.model_dump_json(exclude_none=True) + "\n"


class WorkerProcess:
    """One worker process.

    Args:
        tier: whose queue it serves, with the memory it may use.
        options: of `consumer work`, without tier and owner.
        on_report: called with each report of the worker, on another thread.
        command: the program.
        on_log: called with each line that the worker logs, on another thread; None: it logs to
            this process's stderr.

    Attributes:
        state: `busy` with a shard, `idle` after a poll without a message, `new` before either.
        retiring: whether it was asked to end after its shard.

    Raises:
        MachineError: it cannot be started.
    """

    def __init__(
        self,
        tier: Tier,
        options: Sequence[str],
        on_report: Callable[[WorkerReport], None],
        command: Sequence[str] = COMMAND,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.tier = tier
        self.state: Literal["new", "busy", "idle"] = "new"
        self.retiring = False
        self._error: str | None = None
        self._on_report = on_report
        with translate_start_errors("a worker"):
            self._process = subprocess.Popen(
                [*command, "--tier", tier.name, "--owner", str(os.getpid()), *options],
                env=module_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if on_log is None else subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches only the fleet, which stops its workers
            )
        self._reader = threading.Thread(
            target=self._read_reports, name="worker reports", daemon=True
        )
        try:
            start_thread(self._reader)
            if on_log is not None:
                name, arguments = "worker log", (on_log,)
                start_thread(
                    threading.Thread(target=self._read_log, name=name, args=arguments, daemon=True)
                )
        except MachineError:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code; None while the process runs."""
        return self._process.poll()

    @property
    def error(self) -> str | None:
        """Why the process ended, by its own report; None: it said nothing."""
        self._reader.join(REPORTS_S)
        return self._error

    def retire(self) -> None:
        """Request a graceful shutdown: finish the shard, then end."""
        if not self.retiring:
            self.retiring = True
            self._signal(RETIRE)

    def stop(self) -> None:
        """Request an immediate shutdown: release the shard, then end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process; its executor ends by itself."""
        self._signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the process; whether it ended in time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _read_reports(self) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        with pipe:
            for line in pipe:
                with contextlib.suppress(ValidationError):
                    self._handle(WorkerReport.model_validate_json(line))

    def _read_log(self, on_log: Callable[[str], None]) -> None:
        pipe = self._process.stderr
        if pipe is None:
            return
        with pipe:
            for line in pipe:
                on_log(line.decode(errors="replace").rstrip("\n"))

    def _handle(self, report: WorkerReport) -> None:
        if report.busy is not None:
            self.state = "busy" if report.busy else "idle"
        if report.error is not None:
            self._error = report.error or None
        self._on_report(report)
