"""Executor client, with executor programs that misbehave."""

import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from consumer.protocol.events import Done, Failed, StopCommand
from consumer.protocol.tasks import ConvertTask
from consumer.worker.executor_client import ExecutorClient, ExecutorError, TaskCallbacks
from tests.support.run_harness import is_gone
from tests.support.waiting import wait_for

MIB = 1 << 20
TASK = ConvertTask(
    run="/run", key="s0/0", volume={}, scale=0, shard=0, dest="/dest", source="/src", sources=()
)
DONE = '{"event":"done","outcome":{"chunks":3},"peak_bytes":null,"seconds":1.0,"cpu_s":1.0}'


def nothing() -> None:
    """No reason to stop."""


def callbacks(
    on_progress: Callable[[int], None] = lambda _: None,
    check_publish: Callable[[], StopCommand | None] = nothing,
    check_interrupt: Callable[[], StopCommand | None] = nothing,
) -> TaskCallbacks:
    """Callbacks that do nothing, but for those given."""
    return TaskCallbacks(on_progress, check_publish, check_interrupt)


Program = Callable[..., ExecutorClient]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Makes executors whose program sends `started`, reads a task, says so, runs the given code."""
    made: list[ExecutorClient] = []

    def make(body: str, limit_bytes: int | None = None, begun: bool = True) -> ExecutorClient:
        begin = 'send(\'{"event":"begun"}\')\n' if begun else ""
        script = tmp_path / f"program{len(made)}.py"
        start = f"""
            import os, subprocess, sys, time
            def send(line): print(line, flush=True)
            DONE = {DONE!r}
            send('{{"event":"started"}}')
            for line in sys.stdin:
        """
        script.write_text(
            textwrap.dedent(start)
            + textwrap.indent(begin + textwrap.dedent(body).strip(), "    ")
            + "\n"
        )
        made.append(ExecutorClient(limit_bytes, (sys.executable, str(script))))
        return made[-1]

    yield make
    for process in made:
        process.stop()


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process."""
    wait_for(
        lambda: not psutil.pid_exists(pid) or is_gone(psutil.Process(pid)), f"the end of {pid}"
    )


def test_events_reach_the_worker_in_order(program: Program) -> None:
    """Progress and `ready` arrive, and the answer is sent."""
    calls: list[object] = []
    process = program(
        """
        send('{"event":"progress","chunks":7}')
        send('{"event":"ready"}')
        assert '"publish"' in sys.stdin.readline()
        send(DONE)
        """
    )
    result = process.run(TASK, callbacks(calls.append, lambda: calls.append("ready")))
    assert isinstance(result, Done)
    assert result.outcome.chunks == 3
    assert calls == [7, "ready"]


def test_a_refusal_reaches_the_executor(program: Program) -> None:
    """As a `stop` command with the reason."""
    process = program(
        """
        send('{"event":"ready"}')
        command = sys.stdin.readline()
        assert '"stop"' in command and "too late" in command, command
        send('{"event":"failed","kind":"lease","reason":"refused"}')
        """
    )
    refusal = StopCommand(kind="lease", reason="too late")
    result = process.run(TASK, callbacks(check_publish=lambda: refusal))
    assert result == Failed(kind="lease", reason="refused", peak_bytes=result.peak_bytes)


def test_the_process_is_kept_between_shards(program: Program) -> None:
    """Imports cost a second: the next shard finds the same process."""
    process = program("send(DONE)")
    process.run(TASK, callbacks())
    first = process.pid
    process.run(TASK, callbacks())
    assert process.pid == first


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("os.kill(os.getpid(), 9)", "signal SIGKILL"),
        ("os._exit(7)", "exit code 7"),
        ('send(\'{"event":"progr\'); os._exit(0)', "exit code 0"),
    ],
)
def test_a_death_without_a_result_counts_as_too_much_memory(
    program: Program, body: str, ending: str
) -> None:
    """A killed executor sends its shard to a larger tier, and another takes its place."""
    process = program(body)
    result = process.run(TASK, callbacks())
    assert isinstance(result, Failed)
    assert result.kind == "memory"
    assert ending in result.reason
    assert process.pid is None


def test_a_grandchild_that_keeps_the_pipe_does_not_hang_the_worker(program: Program) -> None:
    """The death is noticed, and what the process had started dies with it."""
    process = program(
        """
        other = subprocess.Popen(["sleep", "600"])
        send('{"event":"progress","chunks":%d}' % other.pid)
        os.kill(os.getpid(), 9)
        """
    )
    seen: list[int] = []
    result = process.run(TASK, callbacks(on_progress=seen.append))
    assert isinstance(result, Failed)
    wait_until_gone(seen[0])


def test_the_watchdog_stops_work_near_the_limit(program: Program) -> None:
    """Above 90 % of the tier's memory the process is killed, and the numbers are known."""
    process = program(
        """
        held = bytearray(b"x") * (300 << 20)
        time.sleep(600)
        """,
        limit_bytes=200 * MIB,
    )
    result = process.run(TASK, callbacks())
    assert isinstance(result, Failed)
    assert result.kind == "memory"
    assert "90%" in result.reason
    assert result.peak_bytes is not None
    assert 180 * MIB < result.peak_bytes < 320 * MIB


def test_an_interrupt_stops_a_busy_process_at_once(program: Program) -> None:
    """A lost lease or SIGTERM does not wait for the shard to end."""
    process = program(
        """
        send('{"event":"progress","chunks":%d}' % os.getpid())
        time.sleep(600)
        """
    )
    seen: list[int] = []
    command = StopCommand(kind="stopped", reason="SIGTERM")
    result = process.run(
        TASK, callbacks(seen.append, check_interrupt=lambda: command if seen else None)
    )
    assert isinstance(result, Failed)
    assert result.kind == "stopped"
    wait_until_gone(seen[0])


def test_a_process_that_will_not_stop_is_killed(program: Program) -> None:
    """SIGTERM first; SIGKILL follows."""
    process = program(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send('{"event":"progress","chunks":%d}' % os.getpid())
        while True: time.sleep(1)
        """
    )
    seen: list[int] = []
    command = StopCommand(kind="lease", reason="lost")
    result = process.run(
        TASK, callbacks(seen.append, check_interrupt=lambda: command if seen else None)
    )
    assert isinstance(result, Failed)
    assert result.kind == "lease"
    wait_until_gone(seen[0])


def test_a_process_that_has_grown_is_replaced(program: Program) -> None:
    """What one shard left behind must not count against the next."""
    process = program(
        """
        held = bytearray(b"x") * (120 << 20)
        send(DONE)
        """,
        limit_bytes=400 * MIB,
    )
    assert isinstance(process.run(TASK, callbacks()), Done)
    assert process.pid is None


def test_a_program_that_does_not_start_is_an_executor_error(tmp_path: Path) -> None:
    """An import that fails is an error of the worker, not a dead shard."""
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(ExecutorError, match="exit code 3"):
        ExecutorClient(None, (sys.executable, str(script))).run(TASK, callbacks())


def test_the_cause_of_a_failed_start_is_named(tmp_path: Path) -> None:
    """The last line of its stderr, such as a library that is missing."""
    script = tmp_path / "broken.py"
    script.write_text("raise ImportError('libz.so.9: cannot open shared object file')")
    with pytest.raises(ExecutorError, match=r"exit code 1 at its start: ImportError: libz\.so\.9"):
        ExecutorClient(None, (sys.executable, str(script))).start()


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    """An error of the machine, in words."""
    with pytest.raises(ExecutorError, match="the executor cannot be started: No such file"):
        ExecutorClient(None, (str(tmp_path / "nowhere"),)).start()


@pytest.mark.parametrize("name", ["events", "stderr", "watchdog"])
def test_without_a_thread_to_spare_no_process_stays(
    program: Program, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An error of the machine; the process that was started is stopped."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr("threading.Thread.start", refuse)
    client = program("send(DONE)")
    with pytest.raises(ExecutorError, match="no thread to spare"):
        client.start()
    assert client.pid is None


@pytest.mark.parametrize("number", ["15", "1"])
def test_an_executor_that_is_stopped_from_outside_blames_no_shard(
    program: Program, number: str
) -> None:
    """A service manager stops every process of a service, the executor perhaps first.

    A terminal's hang-up is ignored below `nohup`, so it is given its usual effect.
    """
    body = f"import signal\nsignal.signal({number}, signal.SIG_DFL)\nos.kill(os.getpid(), {number})"
    result = program(body).run(TASK, callbacks())
    assert isinstance(result, Failed)
    assert result.kind == "retryable"
    assert "from outside" in result.reason


def test_an_executor_that_is_killed_before_it_begins_blames_no_shard(program: Program) -> None:
    """An idle one that the system kills just as it is given a shard: any other can make it."""
    result = program("os.kill(os.getpid(), 9)", begun=False).run(TASK, callbacks())
    assert isinstance(result, Failed)
    assert result.kind == "retryable"
    assert result.reason.endswith("signal SIGKILL, before it began the shard")


def test_an_abort_for_want_of_a_thread_blames_no_shard(program: Program) -> None:
    """Libraries abort the process where they cannot start a thread; stderr says why."""
    body = """
        print("terminate called: Resource temporarily unavailable", file=sys.stderr, flush=True)
        os.abort()
    """
    result = program(body).run(TASK, callbacks())
    assert isinstance(result, Failed)
    assert result.kind == "retryable"
    assert result.reason.endswith(
        "signal SIGABRT: terminate called: Resource temporarily unavailable"
    )


@pytest.mark.parametrize(
    ("body", "kind"), [("time.sleep(600)", "retryable"), ("while True: pass", "memory")]
)
def test_a_silent_executor_that_uses_no_processor_waits_for_storage(
    program: Program, monkeypatch: pytest.MonkeyPatch, body: str, kind: str
) -> None:
    """A hung file system or a frozen process is not the shard's fault; endless work may be."""
    monkeypatch.setattr("consumer.worker.executor_client.SILENCE_S", 1.0)
    result = program(body).run(TASK, callbacks())
    assert isinstance(result, Failed)
    assert result.kind == kind
    assert "no event" in result.reason


def test_an_executor_that_the_kernel_does_not_let_die_is_left_behind(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a file system that never answers: the worker goes on without it."""
    monkeypatch.setattr("os.killpg", lambda *_: None)
    monkeypatch.setattr("consumer.worker.executor_process.GRACE_S", 0.1)
    monkeypatch.setattr("consumer.worker.executor_process.KILL_S", 0.1)
    client = program(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send('{"event":"progress","chunks":%d}' % os.getpid())
        while True: time.sleep(1)
        """
    )
    seen: list[int] = []
    command = StopCommand(kind="stopped", reason="SIGTERM")
    try:
        result = client.run(
            TASK, callbacks(seen.append, check_interrupt=lambda: command if seen else None)
        )
        assert isinstance(result, Failed)
        assert result.kind == "stopped"
        assert client.pid is None
        assert psutil.pid_exists(seen[0])
    finally:
        os.kill(seen[0], signal.SIGKILL)


def test_a_stopped_idle_process_is_noticed(program: Program) -> None:
    """A process that died between two shards costs the next shard nothing."""
    process = program("send(DONE)")
    process.run(TASK, callbacks())
    assert process.pid is not None
    first = process.pid
    os.kill(first, signal.SIGKILL)
    wait_until_gone(first)
    assert isinstance(process.run(TASK, callbacks()), Done)
    assert process.pid != first
