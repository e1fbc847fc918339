"""A worker's day: patience with trouble, and an orderly end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.signals import RETIRE, ShutdownFlags
from consumer.worker.loop import MOST_TROUBLES, WorkerLoop
from delivery.ledger.run import Cancellation, Run
from delivery.messages import NewerSchema
from runtime.errors import UnreachableError
from tests.support.three_shard_run import SMALL
from tests.support.worker_bench import Bench, done, failed, made_bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A worker with a queue."""
    with made_bench(tmp_path) as bench:
        yield bench


def shift(
    bench: Bench, tell: Callable[[bool], None] = lambda _: None, pause_s: float = 0.01
) -> WorkerLoop:
    """The bench's worker at its tier."""
    return WorkerLoop(bench.broker, SMALL, bench.worker, bench.flags, tell=tell, pause_s=pause_s)


def test_it_works_until_all_is_over(bench: Bench) -> None:
    """`over` is asked only when nothing came."""
    bench.script(s0_0=[done()], s0_1=[done()])
    bench.publish("s0/0")
    bench.publish("s0/1")
    shift(bench).run(lambda: True)
    assert sorted(bench.run.receipts.list()) == ["s0/0", "s0/1"]


def test_it_tells_when_it_is_busy(bench: Bench) -> None:
    """Once at each change."""
    bench.script(s0_0=[done()], s0_1=[done()])
    bench.publish("s0/0")
    bench.publish("s0/1")
    said: list[bool] = []
    shift(bench, said.append).run(lambda: True)
    assert said == [True, False]


def test_after_much_trouble_in_a_row_it_gives_up(bench: Bench) -> None:
    """Whoever started it decides what then; the message waits for better times."""
    bench.script(s0_0=[failed("retryable", "no network")])
    bench.publish()
    with pytest.raises(UnreachableError, match="no network"):
        shift(bench).run(lambda: False)
    assert len(bench.tasks()) == MOST_TROUBLES
    assert len(bench.waiting(SMALL)) == 1


def test_the_pauses_grow(bench: Bench) -> None:
    """Four pauses before the fifth trouble: 1 + 2 + 4 + 8 of the first."""
    bench.script(s0_0=[failed("retryable")])
    bench.publish()
    began = time.monotonic()
    with pytest.raises(UnreachableError):
        shift(bench, pause_s=0.1).run(lambda: False)
    assert time.monotonic() - began >= 1.5


def test_a_success_forgets_trouble(bench: Bench) -> None:
    """One shard's trouble between others' successes ends nothing."""
    bench.script(s0_0=[failed("retryable")], s0_1=[done()])
    for _ in range(MOST_TROUBLES + 1):
        bench.publish("s0/1")
    bench.publish("s0/0")
    day = shift(bench)
    for _ in range(MOST_TROUBLES):  # trouble, then a duplicate of what is done
        assert day._patiently()
        bench.publish("s0/1")
        assert day._patiently()


def test_a_newer_schema_ends_it_at_once(bench: Bench) -> None:
    """Waiting would not make this program newer."""
    bench.publish_newer("s0/0")
    with pytest.raises(NewerSchema):
        shift(bench, pause_s=60).run(lambda: False)


def test_retirement_finishes_the_shard_in_work(bench: Bench) -> None:
    """No other is begun."""
    bench.script(s0_0=["wait", done()], s0_1=[done()])
    bench.publish("s0/0")
    bench.publish("s0/1")

    class Retiring(Run):
        """Retires the worker when the work process asks whether it may publish."""

        def cancelled(self) -> Cancellation | None:
            """Asked before and after the work."""
            if bench.tasks():
                bench.flags.idle.set()
            return super().cancelled()

    bench.worker._runs[bench.run.uri] = Retiring(bench.run.uri)
    shift(bench).run(lambda: False)
    assert list(bench.run.receipts.list()) == ["s0/0"]
    assert bench.broker.backlog(SMALL).waiting == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, RETIRE])
def test_signals_set_flags(number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C mean at once, a fleet's SIGUSR1 when idle."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, RETIRE)}
    flags = ShutdownFlags()
    try:
        flags.listen()
        os.kill(os.getpid(), number)
        assert flags.wanted
        assert flags.immediate.is_set() == (number is not RETIRE)
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)


STORMY = """
import time
from consumer.signals import ShutdownFlags
flags = ShutdownFlags()
flags.listen()
print("listening", flush=True)
end = time.monotonic() + 2
while time.monotonic() < end:
    flags.immediate.wait(0.001)
    flags.wanted
print("still here", flush=True)
"""


def test_signals_that_interrupt_signals_stop_nothing_for_ever() -> None:
    """Very many SIGTERMs, each maybe in the middle of the last one's handler."""
    process = subprocess.Popen([sys.executable, "-c", STORMY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    storm_end = time.monotonic() + 1.5
    while time.monotonic() < storm_end:
        process.send_signal(signal.SIGTERM)
        process.send_signal(RETIRE)
    try:
        assert process.communicate(timeout=60)[0] == "still here\n"
    finally:
        process.kill()
