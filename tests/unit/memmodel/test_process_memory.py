"""Memory in use, and memory allowed."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from memmodel import process_memory
from memmodel.tiers import GIB, MIB


def test_memory_in_use_is_seen() -> None:
    """Touching 64 MiB raises both numbers by about that; the peak stays when it is given back."""
    if not process_memory.reset_peak():
        pytest.skip("this kernel does not let the peak be reset")
    before = process_memory.rss_bytes()
    held = mmap.mmap(-1, 64 * MIB)  # the heap may have pages to spare
    for _ in range(64):
        held.write(b"x" * MIB)
    assert 60 * MIB < process_memory.rss_bytes() - before < 80 * MIB
    held.close()
    assert 60 * MIB < process_memory.peak_bytes() - before < 80 * MIB
    assert process_memory.reset_peak()
    assert process_memory.peak_bytes() - before < 40 * MIB


def test_another_process_can_be_watched() -> None:
    """As the watchdog does with the work process."""
    code = "held = bytearray(b'x') * (100 << 20); print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 100 * MIB < process_memory.rss_bytes(process.pid) < 130 * MIB
        assert process_memory.peak_bytes(process.pid) >= process_memory.rss_bytes(process.pid)
        process.communicate(b"\n")


class Machine:
    """Made-up /proc and /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        self.write(self.proc / "meminfo", f"MemFree: 1 kB\nMemTotal: {16 * GIB >> 10} kB\n")

    def write(self, path: Path, text: str) -> None:
        """A file and its folders."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def groups(self, text: str) -> None:
        """Write /proc/self/cgroup."""
        self.write(self.proc / "self" / "cgroup", text)

    def limit(self, stated: int | None = None) -> process_memory.Limit:
        """The limit here."""
        return process_memory.memory_limit(stated, proc=self.proc, cgroups=self.cgroups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """16 GiB, no container."""
    return Machine(tmp_path)


def test_without_a_container_the_machine_counts(machine: Machine) -> None:
    """Also without any cgroup file."""
    assert machine.limit() == process_memory.Limit(16 * GIB, "machine")


def test_a_stated_limit_counts_if_it_is_tighter(machine: Machine) -> None:
    """The settings may lower the limit, not raise it."""
    assert machine.limit(2 * GIB) == process_memory.Limit(2 * GIB, "stated")
    assert machine.limit(64 * GIB).source == "machine"


def test_cgroup_v2_and_the_groups_above(machine: Machine) -> None:
    """The tightest on the way up; `max` is not a limit."""
    machine.groups("0::/pod/box\n")
    machine.write(machine.cgroups / "pod/box/memory.max", "max\n")
    machine.write(machine.cgroups / "pod/memory.max", f"{3 * GIB}\n")
    machine.write(machine.cgroups / "memory.max", f"{8 * GIB}\n")
    assert machine.limit() == process_memory.Limit(3 * GIB, "cgroup v2")


def test_cgroup_v2_seen_from_inside_a_container(machine: Machine) -> None:
    """The path is the host's and does not exist here: the mount itself is the group."""
    machine.groups("0::/../../host/only\n")
    machine.write(machine.cgroups / "memory.max", f"{GIB}\n")
    assert machine.limit() == process_memory.Limit(GIB, "cgroup v2")


def test_cgroup_v1_where_there_is_no_v2(machine: Machine) -> None:
    """The memory controller's folder; a number near 2**63 is not a limit."""
    machine.groups("9:memory:/job\n1:cpu:/\n0::/\n")
    machine.write(machine.cgroups / "memory/job/memory.limit_in_bytes", "9223372036854771712\n")
    assert machine.limit().source == "machine"
    machine.write(machine.cgroups / "memory/job/memory.limit_in_bytes", f"{4 * GIB}\n")
    assert machine.limit() == process_memory.Limit(4 * GIB, "cgroup v1")


def test_pages_that_a_fork_shares_count_once() -> None:
    """Two processes with the same 64 MiB: exact near the limit, an upper bound below it."""
    program = (
        "import os, sys\n"
        "held = bytearray(64 << 20)\n"
        "held[::4096] = b'1' * len(held[::4096])\n"
        "pid = os.fork()\n"
        "if pid: print(pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        pids = [parent.pid, int(parent.stdout.readline())]
        rough = process_memory.sum_bytes(pids, exact_above=GIB)
        exact = process_memory.sum_bytes(pids, exact_above=0)
        assert parent.stdin
        parent.stdin.close()
    assert rough > 128 * MIB
    assert 64 * MIB < exact < 100 * MIB
    assert process_memory.sum_bytes([], exact_above=0) == 0
