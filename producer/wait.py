"""Staying until a run has ended: told by its ledger, never by a queue that looks empty."""

import sys
import time
from collections.abc import Callable
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from delivery import replay
from delivery.broker.base import Broker
from delivery.cascade import cascade_all
from delivery.dead_letters import drain
from delivery.ledger.run import Run
from delivery.ledger.shard_status import OPEN, RunStatus, read_status
from delivery.messages import now
from delivery.progress import Progress, read_progress
from delivery.stall_detector import StallAction, StallDetector, activity_fingerprint
from memmodel.tier_choice import chooser
from producer import render
from producer.fleet_process import FleetProcess, fleet_command
from runtime.errors import ShardliftError
from runtime.storage import open_storage

LOOK_S = 0.5  # between two looks, at least
COST_SHARE = 5  # ... and this many times what a look costs
LINE_S = 5.0  # between two lines where there is no terminal
_NAMED = 5  # open shards in a message


class Display(Protocol):
    """Shows progress while somebody waits."""

    def show(self, progress: Progress) -> None:
        """Bring it up to date."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class GivenUp(ShardliftError):  # noqa: N818 - what was done with the run
    """Nothing was heard of a run, and publishing again did not help."""


class BarDisplay:
    """A bar per scale on a terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[int, TaskID] = {}

    def show(self, progress: Progress) -> None:
        """Move the bars; the last one's text tells the time left."""
        for scale in progress.scales:
            if not scale.total:
                continue
            if scale.scale not in self._tasks:
                added = self._bars.add_task(f"scale {scale.scale}", total=scale.total, said="")
                self._tasks[scale.scale] = added
            task = self._tasks[scale.scale]
            lost = scale.failed + scale.given_up + scale.blocked
            said = f"{scale.chunks_per_s:,.0f} chunk/s" + (f", {lost} lost" if lost else "")
            self._bars.update(task, completed=scale.done, said=said)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()


class LineDisplay:
    """A line now and then, for logs and pipes; none that repeats the one before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = 0.0
        self._last = ""

    def show(self, progress: Progress) -> None:
        """Print the line, if it is time."""
        line = _line(progress)
        if line == self._last or (self._clock() < self._next_s and not progress.ended):
            return
        self._last, self._next_s = line, self._clock() + LINE_S
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


def display() -> Display:
    """Bars on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    return BarDisplay(console) if console.is_terminal else LineDisplay()


class Watch:
    """What `--wait` does for a run whose workers are elsewhere: cascade, drain, lose patience.

    Args:
        run: the run.
        broker: its queues.
        say: tells people that nothing is heard.
    """

    def __init__(self, run: Run, broker: Broker, say: Callable[[str], None]) -> None:
        self._run = run
        self._broker = broker
        self._say = say
        self._choose = chooser(run)
        self._patience = StallDetector(broker.lease_s, time.monotonic())

    def tend(self, status: RunStatus) -> None:
        """Make good what is left undone."""
        drain(self._broker, open_storage(self._run.state_url))
        cascade_all(self._run, self._broker, self._choose, status)

    def look(self, status: RunStatus) -> None:
        """Make good what is left undone, and publish again what seems lost.

        Raises:
            GivenUp: nothing is heard, for too long.
        """
        self.tend(status)
        heartbeats = self._run.heartbeats()
        advice = self._patience.look(activity_fingerprint(status, heartbeats), time.monotonic())
        if advice is StallAction.GIVE_UP:
            raise self._give_up(status)
        if advice is StallAction.REPUBLISH:
            again = replay.missing(self._run, self._broker, self._choose, status=status)
            who = "" if heartbeats else f"; no workers: start some with {fleet_command(self._run)}"
            self._say(f"nothing heard; {len(again)} shards were published again{who}")

    def _give_up(self, status: RunStatus) -> GivenUp:
        keys = [key for key, shard in status.states.items() if shard.state in OPEN]
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        return GivenUp(
            f"run {self._run.run_id}: nothing is heard of it; open: "
            f"{', '.join(keys[:_NAMED])}{more}",
            hint=f"start workers: {fleet_command(self._run)}; then the same command waits again",
        )


def wait(run: Run, broker: Broker, shown: Display, fleet: FleetProcess | None) -> Progress:
    """Stay until every shard of the run is done, failed, given up or blocked.

    Args:
        run: the run.
        broker: its queues.
        shown: where progress is shown.
        fleet: that works on it and looks after it; None: we look after it ourselves. While it is
            somebody else's we do, too; when that one ends, ours takes its place.

    Raises:
        FleetEnded: the fleet ended first.
        GivenUp: nothing is heard of the run.
        ShardliftError: the run was cancelled.
    """
    watch = Watch(run, broker, _say)
    if fleet is not None and fleet.elsewhere:
        _say(f"a fleet works on {broker.url} already: waiting for it, starting none")
    while True:
        began_s = time.monotonic()
        gone = fleet is not None and fleet.ended  # asked first: its last receipt must be seen
        status = read_status(run)
        progress = read_progress(run, broker, status, now())
        shown.show(progress)
        if status.ended:
            return progress
        if run.cancelled():
            raise ShardliftError(f"run {run.run_id} was cancelled")
        if gone and fleet is not None:
            raise fleet.why()
        if fleet is None:
            watch.look(status)
        elif fleet.elsewhere:  # it may have other runs to do first: no reason to lose patience
            watch.tend(status)
            if fleet.start():
                _say("the other fleet has ended: started one")
        time.sleep(max(LOOK_S, COST_SHARE * (time.monotonic() - began_s)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for people, not a result


def _line(progress: Progress) -> str:
    parts = []
    for scale in progress.scales:
        if scale.total:
            lost = scale.failed + scale.given_up + scale.blocked
            lost_text = f" ({lost} lost)" if lost else ""
            parts.append(f"s{scale.scale} {scale.done}/{scale.total}{lost_text}")
    rate = f"{progress.chunks_per_s:,.0f} chunk/s"
    left = "" if progress.ended else f", {render.duration(progress.eta_s)} left"
    return f"{'  '.join(parts)}  {rate}{left}"
