"""Early fork: a worker's fork server shares its memory, and serves like a program of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has adoption")


def run(body: str) -> str:
    """What a program prints that imports a worker's command and forks early."""
    start = """
        import os, sys, psutil
        import consumer.actions.work
        from consumer.early_fork import fork_early
        from consumer.worker.executor_process import ExecutorProcess
        from consumer.worker.fork_server import ForkServer
        from memmodel import process_memory
    """
    program = textwrap.dedent(start) + textwrap.dedent(body)
    command = [sys.executable, "-P", "-c", program, *["an argument, for room"] * 8]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_executors_of_a_server_that_was_forked_early() -> None:
    """They are the worker's children, are shown as executors, and end as they should."""
    found = run("""
        server = fork_early()
        forks = ForkServer(early=server)
        one = ExecutorProcess(forks.launch, None)
        shown = [psutil.Process(pid).cmdline()[2] for pid in (server.pid, one.pid)]
        print(*shown, forks.pid == server.pid, psutil.Process(one.pid).ppid() == os.getpid())
        one.stop()
        forks.close()
        print(one.exit_code, psutil.Process().children(recursive=True))
    """)
    assert found == "consumer.fork_server consumer.executor True True\n143 []\n"


def test_its_memory_is_the_worker_s() -> None:
    """Of what the worker has imported, less than half is written to by either."""
    found = run("""
        server = fork_early()
        forks = ForkServer(early=server)
        ExecutorProcess(forks.launch, None).stop()
        print(process_memory.proportional_bytes(server.pid) / process_memory.rss_bytes())
        forks.close()
    """)
    assert float(found) < 1 / 2


def test_one_that_dies_is_replaced_by_a_program() -> None:
    """The next executor comes from a server that was started anew."""
    found = run("""
        server = fork_early()
        forks = ForkServer(early=server)
        one = ExecutorProcess(forks.launch, None)
        psutil.Process(server.pid).kill()
        other = ExecutorProcess(forks.launch, None)
        print(forks.pid != server.pid, one.alive, other.alive)
        one.stop(), other.stop(), forks.close()
    """)
    assert found == "True True True\n"


def test_a_worker_with_threads_does_not_fork() -> None:
    """A lock that another thread holds would stay locked in the copy."""
    found = run("""
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        print(fork_early())
        print(psutil.Process().children())
    """)
    assert found == "None\n[]\n"


def test_one_that_fails_says_why() -> None:
    """Its error is in the warning that executors are not forked; they are spawned."""
    found = run("""
        import consumer.early_fork
        consumer.early_fork.SERVER = "consumer.no_such_module"
        forks = ForkServer(early=fork_early())
        one = ExecutorProcess(forks.launch, None)
        print(forks.pid, one.alive)
        one.stop()
    """)
    assert "No module named 'consumer.no_such_module'" in found
    assert found.endswith("None True\n")
