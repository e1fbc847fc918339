"""Which measurements make a run, one function per comparison."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.child import Job, MeasurementFailed, Reading, measure
from benchmarks.exports import (
    DENSE_PITCH,
    HEAVY_PITCH,
    Export,
    made_up,
    real_export,
)
from benchmarks.results import Measured, Results

OURS = "shardlift"
OURS_TWO = "shardlift, 2 threads"
TENSORSTORE = "TensorStore"
TENSORSTORE_WHOLE = "TensorStore, one transaction"
IGNEOUS = "igneous"
IGNEOUS_BYTES = "igneous, copying encoded bytes"
TRANSACTION = 100  # chunks; what people use

REAL, USUAL, DENSE, HEAVY = "real", "made-up", "made-up, dense", "made-up, heavy"
_SIZES = (256, 1024, 4096, 16384, 32768)
_QUICK_SIZES = (64, 256)
_OTHERS_UP_TO = 1024  # chunks; beyond, others need gigabytes and minutes
_LARGE_OTHERS_UP_TO = 4096


@dataclass
class Bench:
    """A run of the benchmark.

    Attributes:
        work: a folder for exports and volumes.
        shared: where the real shard may be.
        results: filled as it goes.
        runs: of each measurement, at least.
        quick: small data.
        large: the parts that need minutes and much memory too.
    """

    work: Path
    shared: Path
    results: Results
    runs: int = 3
    quick: bool = False
    large: bool = False

    @cached_property
    def real(self) -> Export | None:
        """The real shard."""
        return real_export(self.shared)

    @cached_property
    def usual(self) -> Export:
        """Made-up data as dense as a real dataset's."""
        return made_up(self.work, USUAL, 256 if self.quick else 1024, pool=self._pool)

    @cached_property
    def dense(self) -> Export:
        """More than 60 labels per chunk."""
        return made_up(self.work, DENSE, 64 if self.quick else 256, DENSE_PITCH, self._pool)

    @property
    def _pool(self) -> int:
        return 8 if self.quick else 48

    def kernels(self) -> None:
        """Single steps."""
        for export in filter(None, (self.real, self.dense)):
            self._steps("kernels", export, "kernels:steps")
        for export in filter(None, (self.real, self.dense)):
            self._steps("votes", export, "kernels:votes")

    def conversion(self) -> None:
        """Whole shard files."""
        for export in filter(None, (self.real, self.usual, self.dense)):
            self._convert_ours("conversion", export)
            if len(os.sched_getaffinity(0)) > 1:
                self._convert_ours("conversion", export, threads=2)
            self._convert_tensorstore("conversion", export, TRANSACTION)
            if export.chunks > TRANSACTION:
                self._convert_tensorstore("conversion", export, None)
        self._convert_igneous(self.usual, IGNEOUS, "raw")
        self._convert_igneous(self.usual, IGNEOUS_BYTES, "compressed_segmentation")

    def memory(self) -> None:
        """Speed and peak memory against the size of the shard."""
        others = _LARGE_OTHERS_UP_TO if self.large else _OTHERS_UP_TO
        for chunks in _QUICK_SIZES if self.quick else _SIZES:
            export = made_up(self.work, str(chunks), chunks, pool=self._pool)
            self._convert_ours("memory", export)
            if chunks <= others:
                self._convert_tensorstore("memory", export, TRANSACTION)
                self._convert_tensorstore("memory", export, None)
        if self.large:
            heavy = made_up(self.work, HEAVY, _SIZES[-1], HEAVY_PITCH)
            self._convert_ours("memory", heavy, runs=1)

    def downsample(self) -> None:
        """The next scale."""
        for export in filter(None, (self.real, self.usual)):
            volume = self._converted(export)
            what = {"export": export.to_json(), "volume": volume}
            self._take("downsample", export, OURS, Job("ours:downsample", what))
            self._take("downsample", export, TENSORSTORE, Job("with_tensorstore:downsample", what))
        igneous: dict[str, Any] = {
            "volume": self._one_scale(self.usual),
            "out": self._out("igneous"),
            "chunks": self.usual.chunks,
        }
        job = Job("with_igneous:downsample", igneous)
        self._take("downsample", self.usual, IGNEOUS, job)

    def _steps(self, table: str, export: Export, work: str) -> None:
        readings = self._measure(Job(work, {"export": export.to_json()}), f"{table}, {export.name}")
        for who, reading in readings.items():
            self._keep(Measured.of(table, export.name, who, reading, peak=False))

    def _convert_ours(
        self, table: str, export: Export, threads: int = 1, runs: int | None = None
    ) -> None:
        what = {"export": export.to_json(), "out": self._out("ours"), "threads": threads}
        who = OURS if threads == 1 else OURS_TWO
        self._take(table, export, who, Job("ours:convert", what, threads, runs or self.runs))

    def _convert_tensorstore(self, table: str, export: Export, transaction: int | None) -> None:
        what = {
            "export": export.to_json(),
            "out": self._out("tensorstore"),
            "transaction": transaction,
        }
        who = TENSORSTORE if transaction else TENSORSTORE_WHOLE
        self._take(table, export, who, Job("with_tensorstore:convert", what))

    def _convert_igneous(self, export: Export, who: str, encoding: str) -> None:
        source = str(self.work / f"unsharded-{encoding}")
        copy = {"export": export.to_json(), "out": source, "encoding": encoding}
        job = Job("with_tensorstore:copy_unsharded", copy, runs=1)
        if not self._measure(job, f"input of {who}"):
            return
        what = {
            "source": source,
            "out": self._out("igneous"),
            "chunks": export.chunks,
            "encoding": "compressed_segmentation" if encoding == "raw" else None,
        }
        self._take("conversion", export, who, Job("with_igneous:transfer", what))
        shutil.rmtree(source)

    def _converted(self, export: Export) -> str:
        """A volume that holds the export's shard."""
        out = str(self.work / f"volume-{export.name}")
        start = Job("with_tensorstore:start", {"volume": export.volume, "out": out}, runs=1)
        convert = {"export": export.to_json(), "out": out, "threads": 1}
        self._measure(start, "an info")
        self._measure(Job("ours:convert", convert, runs=1), "a volume to downsample")
        return out

    def _one_scale(self, export: Export) -> str:
        """The same volume without the scales above, as igneous expects it."""
        volume = {**export.volume, "scales": export.volume["scales"][:1]}
        return self._converted(
            Export(**{**export.to_json(), "volume": volume, "name": "one-scale"})
        )

    def _take(self, table: str, export: Export, who: str, job: Job) -> None:
        job = Job(job.work, job.arguments, job.cores, min(job.runs, self.runs))
        for reading in self._measure(job, f"{table}, {export.name}: {who}").values():
            facts = {**reading.facts, "arrow_bytes": float(export.arrow_bytes)}
            found = Reading(reading.amount, reading.seconds, reading.peak_bytes, facts)
            self._keep(Measured.of(table, export.name, who, found))

    def _keep(self, measured: Measured) -> None:
        peak = "" if measured.peak_bytes is None else f", {measured.peak_mib:,.0f} MiB"
        tell(f"{measured.table}, {measured.on}: {measured.who}: {measured.rate:,.0f}/s{peak}")
        self.results.measured.append(measured)

    def _measure(self, job: Job, what: str) -> dict[str, Reading]:
        try:
            return measure(job)
        except MeasurementFailed as error:
            self.results.missing.append(f"{what}: {error}")
            tell(self.results.missing[-1])
            return {}

    def _out(self, name: str) -> str:
        """A folder that no earlier measurement has left files in."""
        out = self.work / f"out-{name}"
        shutil.rmtree(out, ignore_errors=True)
        return str(out)


COMPARISONS: dict[str, Callable[[Bench], Any]] = {
    "kernels": Bench.kernels,
    "conversion": Bench.conversion,
    "memory": Bench.memory,
    "downsample": Bench.downsample,
}


def tell(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)
