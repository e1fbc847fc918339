"""A queue file on a disk or machine that fails for a while: not damaged, and to be tried again."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.broker.embedded import EmbeddedBroker
from delivery.messages import ShardMessage
from runtime.errors import UsageError
from tests.support.machine_faults import OddMachine, Rule

MESSAGE = ShardMessage(run="/runs/r1", key="s0/0", kind="convert")
PROGRAM = """
import sys
from collections.abc import Callable
from pathlib import Path
from delivery.broker.embedded import EmbeddedBroker
from runtime.errors import ShardliftError
try:
    with EmbeddedBroker(Path(sys.argv[1]), ["2gi"], 5) as broker:
        assert broker.lease("2gi") is not None
except ShardliftError as error:
    print(error)
    sys.exit(error.exit_code)
"""
MOST_CALLS = 40


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("pread", errno.EIO),
        ("create", errno.EMFILE),
        ("create", errno.EIO),
        ("pwrite", errno.EIO),
    ],
)
def test_one_call_fails(tmp_path: Path, call: str, error: int) -> None:
    """Whichever it is, the queue is not called damaged, and is whole afterwards."""
    codes = []
    for nth in range(1, MOST_CALLS):
        queue = tmp_path / f"{nth}.db"
        with EmbeddedBroker(queue, ["2gi"], 5) as broker:
            broker.publish("2gi", [MESSAGE])
        machine = OddMachine(tmp_path / "machine", [queue], [Rule(call, error, nth)])
        done = _lease(queue, machine)
        if not machine.failures:
            break
        assert done.returncode in {0, 3}, done.stdout + done.stderr
        assert done.returncode == 0 or "cannot be used now" in done.stdout
        codes.append(done.returncode)
        with EmbeddedBroker(queue, ["2gi"], 5) as broker:
            kept = broker.backlog("2gi")
            assert (kept.waiting or 0) + (kept.leased or 0) == 1
    assert 3 in codes


def test_a_damaged_page_is_damage(tmp_path: Path) -> None:
    """What reads well and is no sound database stays wrong configuration."""
    queue = tmp_path / "queue.db"
    with EmbeddedBroker(queue, ["2gi"], 5) as broker:
        broker.publish("2gi", [MESSAGE] * 200)
    data = bytearray(queue.read_bytes())
    data[4096:12288] = os.urandom(8192)
    queue.write_bytes(data)
    with (
        pytest.raises(UsageError, match="damaged or not a queue"),
        EmbeddedBroker(queue, ["2gi"], 5) as broker,
    ):
        broker.lease("2gi")


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_lies_in_the_way_is_no_trouble_that_passes(
    tmp_path: Path, end: str, make: Callable[[str], None]
) -> None:
    """A folder or a pipe in place of the queue, or of what SQLite keeps beside it."""
    queue = tmp_path / "queue.db"
    make(f"{queue}{end}")
    with pytest.raises(UsageError, match=f"{end} is not a regular file"):
        EmbeddedBroker(queue, ["2gi"], 5)


def _lease(queue: Path, machine: OddMachine) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(queue)],
        cwd=Path(__file__).parents[2],
        env=os.environ | machine.environment,
        capture_output=True,
        text=True,
        check=False,
    )
