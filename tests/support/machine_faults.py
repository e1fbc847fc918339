"""An odd machine for programs started here: `tests/native/machine_faults.c` as LD_PRELOAD.

System calls fail by rules, changes of files are kept in a journal, the time of day jumps.
"""

import atexit
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

_SOURCE = Path(__file__).resolve().parents[1] / "native" / "machine_faults.c"
_MOST_RULES = 64
_HEAD = struct.Struct("<IIQQQII")


class Change(IntEnum):
    """Kind of an entry of the journal."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    FLUSH = 4
    FLUSH_DIRECTORY = 5
    RENAME = 6
    LINK = 7
    UNLINK = 8
    MKDIR = 9
    RMDIR = 10


class Entry(NamedTuple):
    """One change, in the order in which they happened.

    Attributes:
        offset: of what was written, the new length of what was truncated, 1 for a file that was
            emptied as it was opened.
        other: new path of what was renamed or linked.
    """

    kind: Change
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


@dataclass(frozen=True)
class Rule:
    """A system call that fails.

    Attributes:
        call: open, create, read, pread, write, pwrite, fsync, ftruncate, close, mmap, rename, link,
            unlink, mkdir, rmdir, opendir or statfs.
        error: number of the error; None: half of the bytes are read or written.
        nth: the first call to fail, counted over all processes from 1.
        count: how many fail; 0: all from then on.
    """

    call: str
    error: int | None
    nth: int = 1
    count: int = 1

    def __str__(self) -> str:
        how = "short" if self.error is None else self.error
        return f"{self.call}:{self.nth}:{self.count}:{how}"


class OddMachine:
    """Environment of programs on an odd machine.

    Args:
        folder: for what programs and test share.
        prefixes: paths whose files are looked at, with what begins like them (`queue.db-wal`).
        rules: system calls that fail.
        journal: whether changes are kept.
    """

    def __init__(
        self,
        folder: Path,
        prefixes: Sequence[Path] = (),
        rules: Sequence[Rule] = (),
        *,
        journal: bool = False,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.rules = rules
        self._counters = folder / "counters"
        self._clock = folder / "clock"
        self._journal = folder / "journal"
        self._counters.write_bytes(bytes(8 * _MOST_RULES))
        self._clock.write_bytes(bytes(8))
        self._journal.write_bytes(b"")
        self.environment = {
            "LD_PRELOAD": str(shim()),
            "MACHINE_PREFIXES": ":".join(map(str, prefixes)),
            "MACHINE_RULES": ",".join(map(str, rules)),
            "MACHINE_COUNTERS": str(self._counters),
            "MACHINE_CLOCK": str(self._clock),
        } | ({"MACHINE_JOURNAL": str(self._journal)} if journal else {})

    @property
    def calls(self) -> list[int]:
        """How often the call of each rule was made."""
        numbers = struct.unpack(f"<{_MOST_RULES}Q", self._counters.read_bytes())
        return list(numbers[: len(self.rules)])

    @property
    def failures(self) -> int:
        """How often a call failed by a rule."""
        failed = 0
        for rule, calls in zip(self.rules, self.calls, strict=True):
            after = max(0, calls - rule.nth + 1)
            failed += min(rule.count, after) if rule.count else after
        return failed

    def heal(self) -> None:
        """Let no call fail from now on, as if all had failed that shall."""
        with self._counters.open("r+b") as file:  # in place: programs have it mapped
            file.write(struct.pack(f"<{_MOST_RULES}Q", *[1 << 62] * _MOST_RULES))

    def jump(self, seconds: int) -> None:
        """Set the time of day of all programs to so many seconds from the true one."""
        with self._clock.open("r+b") as file:  # in place: they have it mapped
            file.write(struct.pack("<q", seconds))

    def changes(self) -> Iterator[Entry]:
        """The journal so far."""
        data = self._journal.read_bytes()
        at = 0
        while at < len(data):
            kind, _, inode, offset, size, path, other = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            names = data[at : at + path].decode(), data[at + path : at + path + other].decode()
            at += path + other
            held = size if kind == Change.WRITE else 0
            yield Entry(Change(kind), inode, offset, *names, data[at : at + held])
            at += held


@cache
def shim() -> Path:
    """The compiled shim; without a C compiler the test skips, and fails in CI."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        why = "needs a C compiler"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    folder = tempfile.mkdtemp(prefix="machine-faults-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder) / "machine_faults.so"
    options = ("-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")
    subprocess.run(
        [compiler, *options, "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"], check=True
    )
    return library
