"""Executor process: its events, its streams, and how it ends."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from braid.exceptions import DecompressionError, SourceNotFoundError
from consumer.executor.__main__ import PublishRefused, kind_of, reason_of
from consumer.protocol.events import (
    EXIT_STOPPED,
    Begun,
    Failed,
    InputChanged,
    Started,
    StopCommand,
    TaskCommand,
    decode_event,
)
from consumer.protocol.tasks import ConvertTask
from runtime.errors import (
    ObjectNotFound,
    OutOfMemory,
    PermanentError,
    ShardliftError,
    UnreachableError,
    UsageError,
)
from tests.support.waiting import wait_for

NO_VOLUME = ConvertTask(
    run="/run", key="s0/0", volume={}, scale=0, shard=0, dest="/dest", source="/src", sources=()
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (OutOfMemory("too much"), "memory"),
        (OSError(errno.ENOMEM, "no memory"), "memory"),
        (UnreachableError("no network"), "retryable"),
        (InputChanged("another checksum"), "changed"),
        (OSError(errno.EIO, "input/output error"), "retryable"),
        (OSError(errno.EMFILE, "too many open files"), "retryable"),
        (RuntimeError("can't start new thread"), "retryable"),
        (UsageError("no right to write"), "usage"),
        (PermanentError("one chunk twice"), "permanent"),
        (ObjectNotFound("s0/0_0_0.arrow is gone"), "permanent"),
        (DecompressionError("bad zstd"), "permanent"),
        (SourceNotFoundError("no such file"), "permanent"),
        (ZeroDivisionError("a bug"), "permanent"),
        (PublishRefused(StopCommand(kind="cancelled", reason="enough")), "cancelled"),
        (PublishRefused(StopCommand(kind="lease", reason="lost")), "lease"),
        (PublishRefused(StopCommand(kind="stopped", reason="SIGTERM")), "stopped"),
    ],
)
def test_every_error_has_a_consequence(error: Exception, kind: str) -> None:
    """The kind decides how the worker settles the message."""
    assert kind_of(error) == kind


def test_a_reason_is_one_line_with_its_hint() -> None:
    """It goes into messages and tables."""
    assert reason_of(ShardliftError("two\nlines", hint="do this")) == "two lines. do this"
    assert reason_of(MemoryError()) == "MemoryError"


def test_the_reason_of_a_bug_names_its_place() -> None:
    """File and line are part of the reason."""
    with pytest.raises(ZeroDivisionError) as raised:
        1 / 0  # noqa: B018 - the bug
    assert reason_of(raised.value).startswith("unexpected ZeroDivisionError at test_executor.py:")


def start(*arguments: str, program: str | None = None) -> subprocess.Popen[bytes]:
    """The real program, or a few lines that use its parts."""
    code = ["-c", textwrap.dedent(program)] if program else ["-m", "consumer.executor"]
    return subprocess.Popen(
        [sys.executable, *code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_it_ends_when_its_commands_end() -> None:
    """A worker closes the pipe to end its executor."""
    process = start(str(os.getpid()))
    assert process.stdin is not None
    assert process.stdout is not None
    assert isinstance(decode_event(process.stdout.readline()), Started)
    process.stdin.close()
    assert process.wait(60) == EXIT_STOPPED


def test_it_serves_only_its_own_worker() -> None:
    """The worker may have died while the program was starting."""
    process = start("1")
    assert process.wait(60) == EXIT_STOPPED


def test_nothing_but_events_reaches_stdout() -> None:
    """What a library prints, in Python or in C, goes to stderr; it cannot read commands either."""
    process = start(
        program="""
        import os, sys
        from consumer.executor import __main__ as executor
        from consumer.protocol.events import Started
        channel = executor._take_stdio()
        print("noise from Python", flush=True)
        os.system("echo noise from C; cat")
        channel.send(Started())
        """
    )
    out, err = process.communicate(b'{"command":"publish"}\n', timeout=60)
    assert [decode_event(line) for line in out.splitlines()] == [Started()]
    assert b"noise from Python" in err
    assert b"noise from C" in err
    assert b"publish" not in err


def test_it_stops_by_itself_when_its_worker_is_gone() -> None:
    """A worker killed with SIGKILL closes nothing in order, and still no process stays."""
    worker = start(
        program="""
        import time
        from consumer.worker.executor_client import ExecutorClient
        process = ExecutorClient(None)
        process.start()
        print(process.pid, flush=True)
        time.sleep(600)
        """
    )
    assert worker.stdout is not None
    child = psutil.Process(int(worker.stdout.readline()))
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_for(
        lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end"
    )


def test_ctrl_c_is_left_to_the_worker() -> None:
    """SIGINT does not end it: it answers the next task. SIGTERM does."""
    process = start(str(os.getpid()))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.stdin.write(TaskCommand(task=NO_VOLUME).line())
    process.stdin.flush()
    assert isinstance(decode_event(process.stdout.readline()), Begun)
    assert isinstance(decode_event(process.stdout.readline()), Failed)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == EXIT_STOPPED
