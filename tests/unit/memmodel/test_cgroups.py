"""CPU quotas of containers, in both versions of control groups."""

from pathlib import Path

import pytest

from memmodel.cgroups import cpu_quota


class Groups:
    """Files of a proc and a cgroup file system."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        self.cgroups.mkdir()

    def of(self, text: str) -> None:
        """The groups of this process."""
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text(text)

    def write(self, path: str, text: str) -> None:
        """A file of the cgroup file system."""
        file = self.cgroups / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @property
    def quota(self) -> float | None:
        """The quota that is found."""
        return cpu_quota(proc=self.proc, cgroups=self.cgroups)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    """No container."""
    return Groups(tmp_path)


def test_without_groups_there_is_no_quota(groups: Groups) -> None:
    """On another system, or without a mount."""
    assert groups.quota is None


def test_version_2_and_the_groups_above(groups: Groups) -> None:
    """The tightest on the way up; `max` is not a quota."""
    groups.of("0::/pod/box\n")
    groups.write("pod/box/cpu.max", "max 100000\n")
    groups.write("pod/cpu.max", "150000 100000\n")
    assert groups.quota == 1.5
    groups.write("pod/box/cpu.max", "50000 100000\n")
    assert groups.quota == 0.5


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_version_1(groups: Groups, folder: str) -> None:
    """Quota and period are files of their own; -1 is not a quota."""
    groups.of("4:cpu,cpuacct:/box\n9:memory:/box\n0::/\n")
    groups.write(f"{folder}/box/cpu.cfs_quota_us", "-1\n")
    groups.write(f"{folder}/box/cpu.cfs_period_us", "100000\n")
    assert groups.quota is None
    groups.write(f"{folder}/box/cpu.cfs_quota_us", "250000\n")
    assert groups.quota == 2.5


@pytest.mark.parametrize("text", ["", "max", "0 0", "-1 100000", "1 2 3", "a b", "1 0", "\xff"])
def test_what_is_not_a_quota(groups: Groups, text: str) -> None:
    """Files of another form give no quota, or the one that they begin with."""
    groups.of("broken\n0::/\n")
    groups.write("cpu.max", text)
    assert groups.quota in (None, 0.5)
