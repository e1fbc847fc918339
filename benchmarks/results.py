"""Results of a run, and the file that holds them."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks.child import Reading


@dataclass(frozen=True)
class Result:
    """Result of one way to do one piece of work.

    Attributes:
        table: comparison that it belongs to.
        on: the data.
        who: the way.
        amount: units of work in one run: chunks, or Mvoxel.
        seconds: of each run.
        peak_bytes: of its process after the first run; None where steps share a process.
        facts: further figures, e.g. bytes of the output.
    """

    table: str
    on: str
    who: str
    amount: float
    seconds: list[float]
    peak_bytes: int | None
    facts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, table: str, on: str, who: str, reading: Reading, *, peak: bool = True) -> Self:
        """Result of a reading."""
        peak_bytes = reading.peak_bytes if peak else None
        return cls(table, on, who, reading.amount, reading.seconds, peak_bytes, reading.facts)

    @property
    def rate(self) -> float:
        """Units per second, by the median run."""
        return self.amount / median(self.seconds)

    @property
    def peak_mib(self) -> float:
        """Peak memory; not a number where it was not measured."""
        return float("nan") if self.peak_bytes is None else self.peak_bytes / 2**20


@dataclass(frozen=True)
class Results:
    """Results of a whole run.

    Attributes:
        date: UTC.
        machine: CPU, cores, memory, kernel and load.
        versions: of Python and packages.
        settings: of the command.
        measured: in the order of measuring.
        missing: measurements that failed, and why.
    """

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, Any]
    measured: list[Result] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def of(self, table: str, on: str | None = None) -> list[Result]:
        """A comparison's measurements, or those on one kind of data."""
        return [m for m in self.measured if m.table == table and on in {None, m.on}]

    def find(self, table: str, on: str, who: str) -> Result | None:
        """One measurement."""
        return next((m for m in self.of(table, on) if m.who == who), None)

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of `write`."""
        data = json.loads(path.read_text())
        return cls(**{**data, "measured": [Result(**m) for m in data["measured"]]})
