"""Memory of a process: resident, peak, and limit."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from memmodel.cgroups import CGROUPS, PROC, upwards, v1_folder, v2_folder

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "no limit" as a number near 2^63


@dataclass(frozen=True, slots=True)
class Limit:
    """Memory limit of a process, and its origin."""

    limit_bytes: int
    source: str  # "stated", "cgroup v2", "cgroup v1" or "machine"


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of a process (this one by default), shared pages included."""
    if not _has_proc():
        return _resident(pid)
    return int(_proc(pid, "statm").split()[1]) * _PAGE_BYTES


def unshared_bytes(pid: int | None = None) -> int:
    """Resident memory without the pages of files, which processes of one program share."""
    if not _has_proc():
        return _resident(pid)
    _, resident, shared = _proc(pid, "statm").split()[:3]
    return (int(resident) - int(shared)) * _PAGE_BYTES


def proportional_bytes(pid: int | None = None) -> int:
    """Resident memory, of a page that several processes share only this one's part.

    It takes the kernel milliseconds, so it is not for every sample.
    """
    if not _has_proc():
        return _resident(pid)
    for line in _proc(pid, "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return rss_bytes(pid)  # some sandboxes leave the line out


def sum_bytes(pids: Sequence[int], exact_above: float) -> int:
    """Resident memory of processes, pages that they share counted once.

    Args:
        pids: the processes; those that ended count nothing.
        exact_above: up to so many bytes the sum may count pages twice that a fork shares.
    """
    resident, unshared, exact = [], [], 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended
            resident.append(rss_bytes(pid))
            unshared.append(unshared_bytes(pid))
    shared = (a - b for a, b in zip(resident, unshared, strict=False))
    rough = sum(unshared) + max(shared, default=0)
    if rough <= exact_above:
        return rough
    for pid in pids:
        with contextlib.suppress(OSError):
            exact += proportional_bytes(pid)
    return exact


def peak_bytes(pid: int | None = None) -> int:
    """Highest resident memory since the process began or `reset_peak`."""
    if not _has_proc():
        return _resident(pid)
    for line in _proc(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return rss_bytes(pid)  # some sandboxes leave the line out


def reset_peak(pid: int | None = None) -> bool:
    """Restart `peak_bytes` from what is resident now; False where that is not allowed."""
    try:
        (PROC / _pid_name(pid) / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def memory_limit(
    stated_bytes: int | None = None, *, proc: Path = PROC, cgroups: Path = CGROUPS
) -> Limit:
    """Tightest of the stated limit, the cgroup's (v2, then v1) and the machine's memory.

    Args:
        stated_bytes: limit from the settings, if any.
        proc: the proc file system; tests pass a folder of their own.
        cgroups: the cgroup file system, likewise.
    """
    found = [Limit(_machine_bytes(proc), "machine")]
    cgroup = cgroup_limit(proc=proc, cgroups=cgroups)
    if cgroup is not None:
        found.append(cgroup)
    if stated_bytes is not None:
        found.append(Limit(stated_bytes, "stated"))
    return min(found, key=lambda limit: limit.limit_bytes)


def cgroup_limit(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> Limit | None:
    """Limit of this process's cgroup or the tightest above it; v2 first, then v1."""
    for version, folder, name in (
        ("cgroup v2", v2_folder(proc, cgroups), "memory.max"),
        ("cgroup v1", v1_folder("memory", proc, cgroups), "memory.limit_in_bytes"),
    ):
        groups = upwards(folder, cgroups) if folder is not None else ()
        limits = [limit for group in groups if (limit := _read_limit(group / name)) is not None]
        if limits:
            return Limit(min(limits), version)
    return None


def _read_limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    if not text.isdigit():  # "max"
        return None
    limit = int(text)
    return limit if 0 < limit < _UNLIMITED_BYTES else None


def _machine_bytes(proc: Path) -> int:
    if not (proc / "meminfo").exists():
        return int(psutil.virtual_memory().total)
    for line in (proc / "meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) << 10
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES


def _has_proc() -> bool:
    """Whether the system tells of processes in files; macOS does not."""
    return (PROC / "self").exists()


def _resident(pid: int | None) -> int:
    """Resident memory, as libraries find it on other systems.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(str(error)) from None


def _proc(pid: int | None, name: str) -> str:
    return (PROC / _pid_name(pid) / name).read_text()


def _pid_name(pid: int | None) -> str:
    return "self" if pid is None else str(pid)
