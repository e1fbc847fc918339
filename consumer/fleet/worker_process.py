"""A fleet's handle on one worker: start it, hear from it, retire or stop it.

The worker is `python -m consumer work` with `--owner`: it ends with the fleet, and says on stdout,
one JSON object per line, when it is busy or idle, which runs it met and where it published.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from consumer.signals import RETIRE
from memmodel.tiers import Tier

COMMAND: Final = (sys.executable, "-m", "consumer", "work")


class WorkerReport(BaseModel):
    """What a worker tells its fleet.

    Attributes:
        busy: whether it has a shard; None: unchanged.
        run: URI of a run that a message led to.
        tier: where it published a message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    busy: bool | None = None
    run: str | None = None
    tier: str | None = None

    def line(self) -> str:
        """The word as one line."""
        return self.model_dump_json(exclude_none=True) + "\n"


class WorkerProcess:
    """One worker process.

    Args:
        tier: what it serves, with the memory it may use.
        options: of `consumer work`, but for the tier and the owner.
        heard: told each word of the worker, on another thread.
        command: the program.

    Attributes:
        state: `busy`, `idle` once nothing came to it, `new` before either.
    """

    def __init__(
        self,
        tier: Tier,
        options: Sequence[str],
        heard: Callable[[WorkerReport], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.tier = tier
        self.state: Literal["new", "busy", "idle"] = "new"
        self.retiring = False
        self._heard = heard
        self._process = subprocess.Popen(
            [*command, "--tier", tier.name, "--owner", str(os.getpid()), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the fleet, which tells its workers
        )
        threading.Thread(target=self._listen, name="hand", daemon=True).start()

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it lives."""
        return self._process.poll()

    def retire(self) -> None:
        """Let it finish its shard, then end."""
        if not self.retiring:
            self.retiring = True
            self._signal(RETIRE)

    def stop(self) -> None:
        """Let it hand back its shard and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it; its work process notices by itself."""
        self._signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended in time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _listen(self) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        with pipe:
            for line in pipe:
                with contextlib.suppress(ValidationError):
                    self._hear(WorkerReport.model_validate_json(line))

    def _hear(self, word: WorkerReport) -> None:
        if word.busy is not None:
            self.state = "busy" if word.busy else "idle"
        self._heard(word)
