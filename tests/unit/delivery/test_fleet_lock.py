"""Fleet lock: one fleet per queue of a machine."""

import subprocess
import sys
from pathlib import Path

from delivery.broker.fleet_lock import FleetLock
from tests.support.waiting import wait_for


def taken(queue: Path) -> bool:
    """Whether another holder has the lock."""
    with FleetLock(queue) as lock:
        return not lock.take()


def test_one_at_a_time(tmp_path: Path) -> None:
    """The second fails to take it; released, it is free again."""
    queue = tmp_path / "folder" / "queue.db"
    with FleetLock(queue) as lock:
        assert not taken(queue)
        assert lock.take()
        assert taken(queue)
        assert not taken(queue.with_name("other.db"))
    assert not taken(queue)


def test_a_process_that_was_started_with_it_keeps_it(tmp_path: Path) -> None:
    """Also when it is killed it leaves no lock behind."""
    queue = tmp_path / "queue.db"
    command = [sys.executable, "-c", "input()"]
    with FleetLock(queue) as lock:
        assert lock.take()
        child = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(lock.fileno(),))
    assert taken(queue)
    child.kill()
    child.communicate()
    assert not taken(queue)


def test_it_is_taken_when_it_is_free(tmp_path: Path) -> None:
    """A fleet that came second is seen when the first has gone."""
    queue = tmp_path / "queue.db"
    with FleetLock(queue) as second:
        with FleetLock(queue) as first:
            assert first.take_when_free()
            assert not second.take_when_free()
        wait_for(lambda: taken(queue), "the second has it")
    assert not taken(queue)
