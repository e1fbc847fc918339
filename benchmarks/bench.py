"""Benchmark run: one method per comparison."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from benchmarks import network
from benchmarks.child import Measurement, MeasurementFailed, Reading, measure
from benchmarks.exports import (
    DENSE_PITCH,
    HEAVY_PITCH,
    Export,
    made_up,
    real_export,
)
from benchmarks.results import Result, Results

OURS = "shardlift"
OURS_TWO = "shardlift, 2 threads"
TENSORSTORE = "TensorStore"
TENSORSTORE_WHOLE = "TensorStore, one transaction"
IGNEOUS = "igneous"
IGNEOUS_BYTES = "igneous, copying encoded bytes"
TRANSACTION = 100  # chunks; what people use

REAL, USUAL, DENSE, HEAVY = "real", "made-up", "made-up, dense", "made-up, heavy"
LARGE = "4096"  # one of the sizes
_SIZES = (256, 1024, 4096, 16384, 32768)
_QUICK_SIZES = (64, 256)
_OTHERS_UP_TO = 1024  # chunks; beyond, others need gigabytes and minutes
_LARGE_OTHERS_UP_TO = 4096


@dataclass
class Bench:
    """A run of the benchmark.

    Attributes:
        work: folder for exports and volumes.
        shared: folder that may hold the real shard.
        results: filled as it goes.
        runs: of each measurement, at least.
        quick: small data.
        large: the parts that need minutes and much memory too.
        cases: of the network, by name; None: all, or the quick ones.
    """

    work: Path
    shared: Path
    results: Results
    runs: int = 3
    quick: bool = False
    large: bool = False
    cases: str | None = None

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

    @cached_property
    def larger(self) -> Export:
        """Large export as dense as the usual one; fixed costs of a shard hardly count."""
        return self._sized(_QUICK_SIZES[-1] if self.quick else int(LARGE))

    def _sized(self, chunks: int) -> Export:
        return made_up(self.work, str(chunks), chunks, pool=self._pool)

    @property
    def _pool(self) -> int:
        return 8 if self.quick else 48

    def kernels(self) -> None:
        """Measure single steps."""
        for export in filter(None, (self.real, self.dense)):
            self._steps("kernels", export, "kernels:steps")
        for export in filter(None, (self.real, self.dense)):
            self._steps("votes", export, "kernels:votes")
        for export in filter(None, (self.real, self.usual, self.dense)):
            self._steps("levels", export, "kernels:levels")

    def conversion(self) -> None:
        """Measure conversions of whole shard files."""
        for export in filter(None, (self.real, self.usual, self.dense)):
            jobs = _one_and_two(partial(self._ours, export))
            jobs[TENSORSTORE] = self._tensorstore(export, TRANSACTION)
            if export.chunks > TRANSACTION:
                jobs[TENSORSTORE_WHOLE] = self._tensorstore(export, None)
            self._in_turns("conversion", export, jobs)
        self._in_turns("conversion", self.larger, _one_and_two(partial(self._ours, self.larger)))
        self._convert_igneous(self.usual, IGNEOUS, "raw")
        self._convert_igneous(self.usual, IGNEOUS_BYTES, "compressed_segmentation")

    def memory(self) -> None:
        """Measure speed and peak memory against the size of the shard."""
        others = _LARGE_OTHERS_UP_TO if self.large else _OTHERS_UP_TO
        for chunks in _QUICK_SIZES if self.quick else _SIZES:
            export = self._sized(chunks)
            self._run("memory", export, OURS, self._ours(export))
            if chunks <= others:
                self._run("memory", export, TENSORSTORE, self._tensorstore(export, TRANSACTION))
                self._run("memory", export, TENSORSTORE_WHOLE, self._tensorstore(export, None))
        if self.large:
            heavy = made_up(self.work, HEAVY, _SIZES[-1], HEAVY_PITCH)
            self._run("memory", heavy, OURS, replace(self._ours(heavy), runs=1))

    def downsample(self) -> None:
        """Measure downsampling to the next scale."""
        for export in filter(None, (self.real, self.usual)):
            volume = self._converted(export)
            jobs = _one_and_two(partial(self._downsampled, export, volume))
            what = {"export": export.to_json(), "volume": volume}
            jobs[TENSORSTORE] = Measurement("with_tensorstore:downsample", what)
            if export is self.usual:
                igneous = {
                    "volume": self._one_scale(export),
                    "out": self._out("igneous"),
                    "chunks": export.chunks,
                }
                jobs[IGNEOUS] = Measurement("with_igneous:downsample", igneous)
            self._in_turns("downsample", export, jobs)
        volume = self._converted(self.larger)
        larger = _one_and_two(partial(self._downsampled, self.larger, volume))
        self._in_turns("downsample", self.larger, larger)

    def over_network(self) -> None:
        """Measure workers beside storage that is far away."""
        cases = network.QUICK if self.quick else network.CASES
        if self.cases is not None:
            cases = network.named(self.cases)
        delays_ms = network.QUICK_DELAYS_MS if self.quick else network.DELAYS_MS
        try:
            for found in network.measured_apart(cases, delays_ms):
                self._record_network(found)
        except MeasurementFailed as error:
            self.results.missing.append(f"network: {error}")
            print_progress(self.results.missing[-1])

    def _record_network(self, found: network.Figures) -> None:
        facts = {**found.requests, "share": found.share, "delay_ms": found.delay_ms}
        who, on = f"{found.who}, {found.delay_ms} ms", f"{found.kind}, {found.size}"
        self._record(
            Result("network", on, who, found.chunks, [found.seconds], found.peak_bytes, facts)
        )

    def _steps(self, table: str, export: Export, work: str) -> None:
        readings = self._measure(
            Measurement(work, {"export": export.to_json()}), f"{table}, {export.name}"
        )
        for who, reading in readings.items():
            self._record(Result.of(table, export.name, who, reading, peak=False))

    def _ours(self, export: Export, threads: int = 1) -> Measurement:
        out = self._out(f"ours-{threads}")
        what = {"export": export.to_json(), "out": out, "threads": threads}
        return Measurement("ours:convert", what, cores=threads)

    def _downsampled(self, export: Export, volume: str, threads: int = 1) -> Measurement:
        what = {"export": export.to_json(), "volume": volume, "threads": threads}
        return Measurement("ours:downsample", what, cores=threads)

    def _tensorstore(self, export: Export, transaction: int | None) -> Measurement:
        what = {
            "export": export.to_json(),
            "out": self._out("tensorstore"),
            "transaction": transaction,
        }
        return Measurement("with_tensorstore:convert", what)

    def _convert_igneous(self, export: Export, who: str, encoding: str) -> None:
        source = str(self.work / f"unsharded-{encoding}")
        copy = {"export": export.to_json(), "out": source, "encoding": encoding}
        job = Measurement("with_tensorstore:copy_unsharded", copy, runs=1)
        if not self._measure(job, f"input of {who}"):
            return
        what = {
            "source": source,
            "out": self._out("igneous"),
            "chunks": export.chunks,
            "encoding": "compressed_segmentation" if encoding == "raw" else None,
        }
        self._run("conversion", export, who, Measurement("with_igneous:transfer", what))
        shutil.rmtree(source)

    def _converted(self, export: Export) -> str:
        """Convert the export and return the volume."""
        out = str(self.work / f"volume-{export.name}")
        start = Measurement("with_tensorstore:start", {"volume": export.volume, "out": out}, runs=1)
        convert = {"export": export.to_json(), "out": out, "threads": 1}
        self._measure(start, "an info")
        self._measure(Measurement("ours:convert", convert, runs=1), "a volume to downsample")
        return out

    def _one_scale(self, export: Export) -> str:
        """Convert to a volume without upper scales, as igneous expects it."""
        volume = {**export.volume, "scales": export.volume["scales"][:1]}
        return self._converted(
            Export(**{**export.to_json(), "volume": volume, "name": "one-scale"})
        )

    def _in_turns(self, table: str, export: Export, jobs: dict[str, Measurement]) -> None:
        """Run all ways in turns, `runs` times, so that slow minutes of the machine affect each."""
        readings: dict[str, list[Reading]] = {who: [] for who in jobs}
        for _ in range(self.runs):
            for who, job in jobs.items():
                once = replace(job, runs=1)
                readings[who] += self._measure(once, f"{table}, {export.name}: {who}").values()
        for who, found in readings.items():
            if found:
                self._record_reading(table, export, who, Reading.merged(found))

    def _run(self, table: str, export: Export, who: str, job: Measurement) -> None:
        job = replace(job, runs=min(job.runs, self.runs))
        for reading in self._measure(job, f"{table}, {export.name}: {who}").values():
            self._record_reading(table, export, who, reading)

    def _record_reading(self, table: str, export: Export, who: str, reading: Reading) -> None:
        facts = {**reading.facts, "arrow_bytes": float(export.arrow_bytes)}
        self._record(Result.of(table, export.name, who, replace(reading, facts=facts)))

    def _record(self, measured: Result) -> None:
        peak = "" if measured.peak_bytes is None else f", {measured.peak_mib:,.0f} MiB"
        print_progress(
            f"{measured.table}, {measured.on}: {measured.who}: {measured.rate:,.0f}/s{peak}"
        )
        self.results.measured.append(measured)

    def _measure(self, job: Measurement, what: str) -> dict[str, Reading]:
        try:
            return measure(job)
        except MeasurementFailed as error:
            self.results.missing.append(f"{what}: {error}")
            print_progress(self.results.missing[-1])
            return {}

    def _out(self, name: str) -> str:
        """Empty output folder."""
        out = self.work / f"out-{name}"
        shutil.rmtree(out, ignore_errors=True)
        return str(out)


def _one_and_two(ours: Callable[..., Measurement]) -> dict[str, Measurement]:
    """Measurements of shardlift in one thread and, with two cores, in two."""
    jobs = {OURS: ours(threads=1)}
    if len(os.sched_getaffinity(0)) > 1:
        jobs[OURS_TWO] = ours(threads=2)
    return jobs


COMPARISONS: dict[str, Callable[[Bench], Any]] = {
    "kernels": Bench.kernels,
    "conversion": Bench.conversion,
    "memory": Bench.memory,
    "downsample": Bench.downsample,
    "network": Bench.over_network,
}


def print_progress(line: str) -> None:
    """Print a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)
