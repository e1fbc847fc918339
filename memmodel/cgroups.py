"""Control groups of this process: folders of both versions, and the CPU quota."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
PROC: Final = Path("/proc")


def v2_folder(proc: Path, cgroups: Path) -> Path | None:
    """Folder of this process's group of version 2; None without one."""
    found = _groups(proc, "")
    return None if found is None else _inside(cgroups, found[1])


def v1_folder(controller: str, proc: Path, cgroups: Path) -> Path | None:
    """Folder of this process's group of version 1 for one controller; None without one."""
    found = _groups(proc, controller)
    if found is None:
        return None
    mounted = next((name for name in (controller, found[0]) if (cgroups / name).is_dir()), None)
    return None if mounted is None else _inside(cgroups / mounted, found[1])


def upwards(folder: Path, root: Path) -> Iterator[Path]:
    """A group and those above it: a container may sit below the group that has a limit."""
    while folder != root.parent and folder.is_relative_to(root):
        yield folder
        folder = folder.parent


def cpu_quota(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """CPUs that this process's group, or the tightest above it, may use; None without a quota.

    Args:
        proc: the proc file system; tests pass a folder of their own.
        cgroups: the cgroup file system, likewise.
    """
    found: list[float] = []
    if (folder := v2_folder(proc, cgroups)) is not None:
        found += [_ratio(*_words(group / "cpu.max")) for group in upwards(folder, cgroups)]
    if (folder := v1_folder("cpu", proc, cgroups)) is not None:
        for group in upwards(folder, cgroups):
            quota, period = (_words(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            found.append(_ratio(*quota, *period))
    return min((quota for quota in found if quota < math.inf), default=None)


def _ratio(quota: str = "", period: str = "", *_: str) -> float:
    """Quota by period; infinite where either is `max`, -1 or missing."""
    known = quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0
    return int(quota) / int(period) if known else math.inf


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def _inside(root: Path, group: str) -> Path:
    """Folder of the group, or the mount itself: in a container the path is the host's."""
    folder = root / group.lstrip("/")
    return folder if folder.is_dir() and ".." not in folder.parts else root


def _groups(proc: Path, controller: str) -> tuple[str, str] | None:
    """Controllers and path in `<id>:<controllers>:<path>` of /proc/self/cgroup.

    Version 2 has no controllers; controllers of version 1 may share a mount, named after all.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            return controllers, group
    return None
