"""Worker pools of a run's queue, started and watched through processes of `python -m infra`.

`producer` knows nothing of the cloud. Pools can be there if the queue is on Pub/Sub and REGION is
set; trouble with them never fails a command, for the run is published and its workers can be
started by other means.
"""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from delivery.broker import PUBSUB
from delivery.ledger import autoscaler_note
from delivery.ledger.run import Run
from delivery.messages import now
from memmodel.tiers import GIB, tier_of
from runtime import settings
from runtime.cli import print_stderr
from runtime.errors import ShardliftError
from runtime.google_endpoints import GoogleService
from runtime.interpreter import as_typed, module_command, module_environment
from runtime.machine import translate_start_errors
from runtime.storage import absolute
from runtime.text import counted

CALL_S: Final = 90.0  # of a look, with a slow start of Python
RETRY_S: Final = "20"  # of trouble with Cloud Run: who waits at a terminal is told soon
STOP_S: Final = 10.0
LOOK_S: Final = 30.0  # between two looks at Cloud Run of one command


class PoolState(BaseModel):
    """What runs for a queue now.

    Attributes:
        counts: instances by tier.
        dollars_per_hour: of all of them, at list prices.
        watched: whether an autoscaler looked lately, so that they go to 0 at the end.
        given_up: why the autoscaler gave its runs up, if so.
    """

    model_config = ConfigDict(frozen=True)

    counts: dict[str, int]
    dollars_per_hour: float
    watched: bool
    given_up: str | None = None

    @property
    def instances(self) -> int:
        """All instances."""
        return sum(self.counts.values())


def configured(queue: str) -> bool:
    """Whether a queue may have pools that this command can reach."""
    if not queue.startswith(PUBSUB) or settings.get(settings.REGION) is None:
        return False
    emulated = settings.get(settings.PUBSUB_EMULATOR_HOST) is not None
    return not emulated or settings.get(GoogleService.RUN.variable) is not None


def start(run: Run, queue: str) -> None:
    """Set the first counts for a run that was just published, and start the autoscaler's pool."""
    if not configured(queue):
        return
    try:
        document = _call(*_autoscale(run, queue), "--once", "--start", "--json")
        counts: dict[str, int] = document["counts"]
    except (ShardliftError, KeyError) as error:
        print_stderr(f"note: worker pools were not started: {error}")
        return
    running = [f"{name} {count}" for name, count in counts.items() if count]
    print_stderr(f"worker pools: {', '.join(running) or 'no instance'}")


def state_of(run: Run, queue: str) -> PoolState | None:
    """What runs for the queue of a run; None where that is not known."""
    if not queue.startswith(PUBSUB):
        return None
    note = autoscaler_note.read(run.state, queue)
    watched = note is not None and note.until >= now()
    given_up = note.given_up if note else None
    counts = note.counts if note else None
    dollars = note.dollars_per_hour if note else 0.0
    if configured(queue):
        try:
            found = PoolState.model_validate(
                {**_call("instances", "--queue", queue, "--json"), "watched": watched}
            )
        except (ShardliftError, ValidationError):
            pass
        else:
            return found.model_copy(update={"given_up": given_up}) if found.counts else None
    if counts is None:
        return None
    return PoolState(counts=counts, dollars_per_hour=dollars, watched=watched, given_up=given_up)


def describe(state: PoolState) -> str:
    """One line, and where nothing watches the instances, what to do."""
    running = ", ".join(f"{name} {count}" for name, count in state.counts.items() if count)
    text = f"worker pools: {counted(state.instances, 'instance')}"
    if running:
        text += f" ({running}), ${state.dollars_per_hour:.2f}/h"
    if state.given_up:
        text += f"\ngiven up: {state.given_up}"
    if state.instances and not state.watched:
        text += as_typed(
            "\nnobody watches them: `python -m infra autoscale` sets them to 0 at the end, "
            "`python -m infra stop` at once"
        )
    return text


class PoolLooks:
    """Looks at the pools of a queue, for a command that shows them again and again.

    Args:
        run: whose queue it is.
        clock: monotonic seconds.
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._seen: PoolState | None = None
        self._next_s = -float("inf")

    def state(self) -> PoolState | None:
        """The state as it was seen at most half a minute ago."""
        if self._clock() >= self._next_s:
            self._seen = state_of(self._run, self._run.queue)
            self._next_s = self._clock() + LOOK_S
        return self._seen


class PoolWatch:
    """Context manager that runs the autoscaler while a command waits for a run.

    Args:
        run: the run.
        queue: URL of its queue.
    """

    def __init__(self, run: Run, queue: str) -> None:
        self._run = run
        self._queue = queue
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.NamedTemporaryFile(  # noqa: SIM115 - open as long as the process
            prefix=f"autoscaler-{run.run_id}-", suffix=".log", delete=False
        )

    def __enter__(self) -> Self:
        with translate_start_errors("the autoscaler"):
            self._process = subprocess.Popen(
                [*module_command("infra"), *_autoscale(self._run, self._queue)],
                env=module_environment(),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        failed = self._process.poll()
        if failed is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        if self._process.poll() is None:
            self._process.kill()
        self._log.close()
        if failed:
            print_stderr(f"note: the autoscaler ended with exit code {failed}: {self._log.name}")
        else:
            Path(self._log.name).unlink()
        if error is None:
            self._last_look()
        else:
            print_stderr(
                "note: worker pools go on with the run; their autoscaler sets them to 0 at its "
                "end, `python -m infra stop` at once"
            )

    def _last_look(self) -> None:
        """Set to 0 what has nothing left, at once."""
        try:
            _call(*_autoscale(self._run, self._queue), "--once", "--json")
        except ShardliftError as error:
            print_stderr(f"note: worker pools were not stopped: {error}")


def _autoscale(run: Run, queue: str) -> tuple[str, ...]:
    """Arguments of `python -m infra` for the queue of a run."""
    given = settings.get(settings.STATE_PATH)
    roots = dict.fromkeys([run.state_url, *([absolute(given)] if given else [])])
    tiers = ",".join(str(tier_of(name).limit_bytes / GIB) for name in run.info.tiers)
    states = [part for root in roots for part in ("--state", root)]
    return ("autoscale", "--queue", queue, "--tiers", tiers, *states)


def _call(*arguments: str) -> dict[str, Any]:
    """The JSON that a command of `infra` prints.

    Raises:
        ShardliftError: it failed, with its own reason.
    """
    try:
        with translate_start_errors("infra"):
            done = subprocess.run(
                [*module_command("infra"), *arguments],
                env={settings.STORAGE_RETRY_S: RETRY_S, **module_environment()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CALL_S,
                check=False,
            )
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    except subprocess.TimeoutExpired:
        raise ShardliftError(f"Cloud Run gave no answer in {CALL_S:.0f} s") from None
    except ValueError as error:
        raise ShardliftError(f"infra printed no JSON: {error}") from None
    if done.returncode != 0:
        raise ShardliftError(_reason(done.stderr.splitlines()))
    return found


def _reason(lines: Sequence[str]) -> str:
    """The error that a command printed, with its hint."""
    error = next((line for line in reversed(lines) if line.startswith("error: ")), "no reason")
    hint = next((line for line in reversed(lines) if line.startswith("hint: ")), "")
    return error.removeprefix("error: ") + (f" ({hint.removeprefix('hint: ')})" if hint else "")
