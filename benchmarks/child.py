"""Child process of one measurement, so that peak memory is that measurement's alone.

The parent sends a `Measurement` as JSON on stdin; the last line of stdout has the readings. The
process is pinned to its cores before anything else is imported, so that libraries that count cores
count those.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LEAST_S = 1.0  # short work is repeated until this much was measured
_MOST_RUNS = 50
_POOLS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "BLOSC")  # libraries with threads of their own


class MeasurementFailed(RuntimeError):  # noqa: N818 - the event is the name
    """A child ended without readings."""


def nothing() -> None:
    """No preparation."""


def shards_written(out: str) -> dict[str, float]:
    """Bytes of all shard files in a volume, to compare the work done."""
    return {"output_bytes": sum(file.stat().st_size for file in Path(out).rglob("*.shard"))}


@dataclass(frozen=True)
class TimedWork:
    """Work to measure.

    Attributes:
        run: does it once.
        amount: of chunks (or other units) in one run.
        reset: restores the state before each run; not timed.
        facts: further figures, read after the last run.
    """

    run: Callable[[], object]
    amount: float
    reset: Callable[[], object] = nothing
    facts: Callable[[], dict[str, float]] = dict


@dataclass(frozen=True)
class Measurement:
    """Measurement that a child is to take.

    Attributes:
        work: "module:function" of this package, which returns named `TimedWork`.
        arguments: of the function; JSON.
        cores: that the process may use.
        runs: of each `TimedWork`, at least.
    """

    work: str
    arguments: dict[str, Any]
    cores: int = 1
    runs: int = 3


@dataclass(frozen=True)
class Reading:
    """Reading of one measurement.

    Attributes:
        amount: units of work in one run.
        seconds: of each run.
        peak_bytes: the process's highest resident memory at the end of the first run.
        facts: further figures of the work.
    """

    amount: float
    seconds: list[float]
    peak_bytes: int
    facts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def merged(cls, readings: Sequence["Reading"]) -> "Reading":
        """Merge readings of the same work: all runs, and the highest peak."""
        return cls(
            readings[0].amount,
            [one for reading in readings for one in reading.seconds],
            max(reading.peak_bytes for reading in readings),
            readings[-1].facts,
        )


def measure(job: Measurement) -> dict[str, Reading]:
    """Run a job in a new process.

    Raises:
        MeasurementFailed: it ended without readings; the text has its last lines of output.
    """
    # 64 KiB and more of output would block a pipe that is not read: communicate() reads both.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **{f"{pool}_NUM_THREADS": str(job.cores) for pool in _POOLS}},
        check=False,
    )
    if done.returncode:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise MeasurementFailed(f"{job.work} ended with {done.returncode}: {tail}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return {name: Reading(**reading) for name, reading in answer.items()}


def main() -> None:
    """Read a job from stdin, do it, print the readings."""
    job = Measurement(**json.load(sys.stdin))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[: job.cores])
    module, _, function = job.work.partition(":")
    works = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**job.arguments)
    readings = {name: asdict(_read(timed, job.runs)) for name, timed in works.items()}
    print(json.dumps(readings))


def _read(timed: TimedWork, runs: int) -> Reading:
    from memmodel.process_memory import peak_bytes  # noqa: PLC0415 - nothing heavy before the pinning

    seconds: list[float] = []
    peak = 0
    while len(seconds) < runs or (sum(seconds) < _LEAST_S and len(seconds) < _MOST_RUNS):
        timed.reset()
        began = time.perf_counter()
        timed.run()
        seconds.append(time.perf_counter() - began)
        peak = peak or peak_bytes()
    return Reading(timed.amount, seconds, peak, timed.facts())


if __name__ == "__main__":
    main()
