"""The worker's handle on its work process, with programs that misbehave."""

import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from consumer.protocol.events import Done, Failed, StopCommand
from consumer.protocol.tasks import ConvertTask
from consumer.worker.executor_client import ExecutorClient, ExecutorError, Watch

MIB = 1 << 20
TASK = ConvertTask(
    run="/run", key="s0/0", volume={}, scale=0, shard=0, dest="/dest", source="/src", sources=()
)
DONE = '{"event":"done","outcome":{"chunks":3},"peak_bytes":null,"seconds":1.0,"cpu_s":1.0}'


def nothing() -> None:
    """Neither a reason to stop nor one not to publish."""


def watch(
    progress: Callable[[int], None] = lambda _: None,
    may_publish: Callable[[], StopCommand | None] = nothing,
    interrupt: Callable[[], StopCommand | None] = nothing,
) -> Watch:
    """A worker that wants nothing, but for what is given."""
    return Watch(progress, may_publish, interrupt)


Program = Callable[..., ExecutorClient]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Makes work processes whose program says `started`, reads a task, then runs the given code."""
    made: list[ExecutorClient] = []

    def make(body: str, limit_bytes: int | None = None) -> ExecutorClient:
        script = tmp_path / f"program{len(made)}.py"
        start = f"""
            import os, subprocess, sys, time
            def say(line): print(line, flush=True)
            DONE = {DONE!r}
            say('{{"event":"started"}}')
            for line in sys.stdin:
        """
        script.write_text(
            textwrap.dedent(start) + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n"
        )
        made.append(ExecutorClient(limit_bytes, (sys.executable, str(script))))
        return made[-1]

    yield make
    for process in made:
        process.stop()


def gone(pid: int, within_s: float = 60.0) -> bool:
    """Whether the process ends in time."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_events_reach_the_worker_in_order(program: Program) -> None:
    """Progress and the question before publishing arrive, and the answer goes back."""
    said: list[object] = []
    process = program(
        """
        say('{"event":"progress","chunks":7}')
        say('{"event":"ready"}')
        assert '"publish"' in sys.stdin.readline()
        say(DONE)
        """
    )
    result = process.run(TASK, watch(said.append, lambda: said.append("asked")))
    assert isinstance(result, Done)
    assert result.outcome.chunks == 3
    assert said == [7, "asked"]


def test_a_refusal_reaches_the_work_process(program: Program) -> None:
    """The work process is told to stop, with the reason."""
    process = program(
        """
        say('{"event":"ready"}')
        order = sys.stdin.readline()
        assert '"stop"' in order and "too late" in order, order
        say('{"event":"failed","kind":"lease","reason":"told so"}')
        """
    )
    refusal = StopCommand(kind="lease", reason="too late")
    result = process.run(TASK, watch(may_publish=lambda: refusal))
    assert result == Failed(kind="lease", reason="told so", peak_bytes=result.peak_bytes)


def test_the_process_is_kept_between_shards(program: Program) -> None:
    """Imports cost a second: the next shard finds the same process."""
    process = program("say(DONE)")
    process.run(TASK, watch())
    first = process.pid
    process.run(TASK, watch())
    assert process.pid == first


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), 9)", "signal SIGKILL"),
        ("os._exit(7)", "exit code 7"),
        ('say(\'{"event":"progr\'); os._exit(0)', "exit code 0"),
    ],
)
def test_a_death_without_a_word_is_a_question_of_memory(
    program: Program, body: str, said: str
) -> None:
    """A killed work process sends its shard to a larger tier, and another takes its place."""
    process = program(body)
    result = process.run(TASK, watch())
    assert isinstance(result, Failed)
    assert result.kind == "memory"
    assert said in result.reason
    assert process.pid is None


def test_a_grandchild_that_keeps_the_pipe_does_not_hang_the_worker(program: Program) -> None:
    """The death is noticed, and what the process had started dies with it."""
    process = program(
        """
        other = subprocess.Popen(["sleep", "600"])
        say('{"event":"progress","chunks":%d}' % other.pid)
        os.kill(os.getpid(), 9)
        """
    )
    seen: list[int] = []
    result = process.run(TASK, watch(progress=seen.append))
    assert isinstance(result, Failed)
    assert gone(seen[0])


def test_the_watchdog_stops_work_near_the_limit(program: Program) -> None:
    """Above 90 % of the tier's memory the process is killed, and the numbers are known."""
    process = program(
        """
        held = bytearray(b"x") * (300 << 20)
        time.sleep(600)
        """,
        limit_bytes=200 * MIB,
    )
    result = process.run(TASK, watch())
    assert isinstance(result, Failed)
    assert result.kind == "memory"
    assert "90%" in result.reason
    assert result.peak_bytes is not None
    assert 180 * MIB < result.peak_bytes < 320 * MIB


def test_an_interrupt_stops_a_busy_process_at_once(program: Program) -> None:
    """A lost lease or SIGTERM does not wait for the shard to end."""
    process = program(
        """
        say('{"event":"progress","chunks":%d}' % os.getpid())
        time.sleep(600)
        """
    )
    seen: list[int] = []
    order = StopCommand(kind="stopped", reason="SIGTERM")
    result = process.run(TASK, watch(seen.append, interrupt=lambda: order if seen else None))
    assert isinstance(result, Failed)
    assert result.kind == "stopped"
    assert gone(seen[0])


def test_a_process_that_will_not_stop_is_killed(program: Program) -> None:
    """SIGTERM is asked first; SIGKILL follows."""
    process = program(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say('{"event":"progress","chunks":%d}' % os.getpid())
        while True: time.sleep(1)
        """
    )
    seen: list[int] = []
    order = StopCommand(kind="lease", reason="lost")
    result = process.run(TASK, watch(seen.append, interrupt=lambda: order if seen else None))
    assert isinstance(result, Failed)
    assert result.kind == "lease"
    assert gone(seen[0])


def test_a_process_that_has_grown_is_replaced(program: Program) -> None:
    """What one shard left behind must not count against the next."""
    process = program(
        """
        held = bytearray(b"x") * (120 << 20)
        say(DONE)
        """,
        limit_bytes=400 * MIB,
    )
    assert isinstance(process.run(TASK, watch()), Done)
    assert process.pid is None


def test_a_program_that_does_not_start_is_no_shards_fault(tmp_path: Path) -> None:
    """An import that fails is an error of the worker, not a dead shard."""
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(ExecutorError, match="exit code 3"):
        ExecutorClient(None, (sys.executable, str(script))).run(TASK, watch())


def test_a_stopped_idle_process_is_noticed(program: Program) -> None:
    """A process that died between two shards costs the next shard nothing."""
    process = program("say(DONE)")
    process.run(TASK, watch())
    assert process.pid is not None
    first = process.pid
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert isinstance(process.run(TASK, watch()), Done)
    assert process.pid != first
