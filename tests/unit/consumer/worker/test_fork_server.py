"""Fork server: executors are the worker's children, share memory, and are spawned where need be."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from consumer.worker.executor_launch import Launched
from consumer.worker.executor_process import ExecutorProcess
from consumer.worker.fork_server import ForkServer
from memmodel import process_memory
from runtime.errors import MachineError
from tests.support.run_harness import is_gone
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has adoption")

WAIT_S = 60.0


class Executors:
    """A fork server and the executors that it launched."""

    def __init__(self) -> None:
        self.server = ForkServer()
        self.made: list[ExecutorProcess] = []

    def launch(self) -> ExecutorProcess:
        """One executor, which has said `started`."""
        self.made.append(ExecutorProcess(self.server.launch, None))
        return self.made[-1]

    def server_pid(self) -> int:
        """The server's process id."""
        assert self.server.pid is not None
        return self.server.pid


@pytest.fixture
def executors() -> Iterator[Executors]:
    """None yet."""
    found = Executors()
    yield found
    for process in found.made:
        process.kill()
    found.server.close()


def scripted_server(folder: Path, body: str) -> ForkServer:
    """A fork server that runs this code."""
    script = folder / "server.py"
    start = "import os, socket, subprocess, sys, time\nserver = socket.socket(fileno=0)\n"
    script.write_text(start + textwrap.dedent(body))
    return ForkServer((sys.executable, str(script)))


def end(launched: Launched) -> None:
    """Kill a process and close its pipes."""
    os.kill(launched.process.pid, signal.SIGKILL)
    launched.process.wait(WAIT_S)
    for stream in (launched.stdin, launched.stdout, launched.stderr):
        stream.close()


def parents(pid: int) -> tuple[int, int]:
    """Parent and process group of a process."""
    return psutil.Process(pid).ppid(), os.getpgid(pid)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits to be reaped."""
    return not psutil.pid_exists(pid) or is_gone(psutil.Process(pid))


def test_a_forked_executor_is_a_child_in_a_group_of_its_own(executors: Executors) -> None:
    """So this process reaps it, kills its group, and Ctrl-C in a terminal does not reach it."""
    one, other = executors.launch(), executors.launch()
    assert parents(one.pid) == (os.getpid(), one.pid)
    assert parents(other.pid) == (os.getpid(), other.pid)


def test_exit_codes_and_signals_are_seen(executors: Executors) -> None:
    """As of a program that was spawned: SIGTERM unwinds, SIGKILL is a signal."""
    stopped, killed = executors.launch(), executors.launch()
    stopped.stop()
    assert stopped.exit_code == 143
    os.kill(killed.pid, signal.SIGKILL)
    wait_for(killed.ended_silently, "the end")
    assert killed.exit_code == -signal.SIGKILL


def test_memory_of_imports_is_shared(executors: Executors) -> None:
    """Of two executors each has less than two thirds of its memory for itself."""
    for executor in (executors.launch(), executors.launch()):
        resident = process_memory.rss_bytes(executor.pid)
        assert process_memory.proportional_bytes(executor.pid) < 2 / 3 * resident


def test_a_server_that_dies_takes_no_executor_along(executors: Executors) -> None:
    """The next executor comes from another one."""
    one = executors.launch()
    first = executors.server_pid()
    os.kill(first, signal.SIGKILL)
    other = executors.launch()
    assert executors.server_pid() != first
    assert (one.alive, other.alive) == (True, True)
    assert parents(other.pid)[0] == os.getpid()


def test_executors_outlive_a_server_that_is_closed(executors: Executors) -> None:
    """The pool closes it last; an executor in work is nobody's loss."""
    one = executors.launch()
    executors.server.close()
    assert one.alive
    assert executors.server.pid is None


def test_server_and_executors_end_with_their_worker(tmp_path: Path) -> None:
    """However it ended: the kernel and the pipes tell them."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import time\n"
        "from consumer.worker.executor_process import ExecutorProcess\n"
        "from consumer.worker.fork_server import ForkServer\n"
        "server = ForkServer()\n"
        "made = [ExecutorProcess(server.launch, None) for _ in range(2)]\n"
        "print(server.pid, *[one.pid for one in made], flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": root}
    ) as worker:
        assert worker.stdout
        pids = [int(word) for word in worker.stdout.readline().split()]
        assert len(pids) == 3
        worker.kill()
    for pid in pids:
        wait_for(partial(has_ended, pid), f"the end of {pid}")


def test_where_no_server_starts_executors_are_spawned(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the reason in the log, once."""
    server = scripted_server(tmp_path, "sys.exit('2 threads run after the imports')")
    launched = [server.launch(), server.launch()]
    try:
        assert {type(one.process) for one in launched} == {subprocess.Popen}
        assert {parents(one.process.pid)[0] for one in launched} == {os.getpid()}
    finally:
        for one in launched:
            end(one)
    assert "".join(capfd.readouterr()).count("executors_not_forked") == 1


def test_an_executor_that_is_not_adopted_is_spawned(tmp_path: Path) -> None:
    """As in a sandbox without adoption: its end would never be known."""
    server = scripted_server(
        tmp_path,
        """
        server.sendall(b'{"answer":"ready"}\\n')
        socket.recv_fds(server, 1, 3)
        other = subprocess.Popen(["sleep", "600"])
        server.sendall(b'{"answer":"forked","pid":%d}\\n' % other.pid)
        server.recv(1)
        other.kill()
        """,
    )
    launched = server.launch()
    assert isinstance(launched.process, subprocess.Popen)
    end(launched)


def test_a_server_that_always_dies_is_given_up(tmp_path: Path) -> None:
    """After a second try executors are spawned."""
    server = scripted_server(tmp_path, 'server.sendall(b\'{"answer":"ready"}\\n\'); server.recv(1)')
    launched = server.launch()
    assert isinstance(launched.process, subprocess.Popen)
    assert server.pid is None
    end(launched)


def test_no_process_to_spare_is_trouble_of_the_machine(tmp_path: Path) -> None:
    """The worker backs off; no shard is blamed, and the next try may succeed."""
    server = scripted_server(
        tmp_path,
        """
        server.sendall(b'{"answer":"ready"}\\n')
        while socket.recv_fds(server, 1, 3)[0]:
            server.sendall(b'{"answer":"not_forked","errno":11}\\n')
        """,
    )
    with pytest.raises(MachineError, match="executor cannot be started"):
        server.launch()
    assert server.pid is not None
    server.close()
