"""Workers on one core beside storage that is far away: `python -m benchmarks.network`.

This process is the storage: the test server, with a delay per request and a width, on another core
than the worker. What it measures is the steady state: from the second receipt on, while shards wait
for an executor. Of large shards there are few: from the first receipt to the last but one.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.child import ROOT, MeasurementFailed
from benchmarks.network_data import Case, source_objects, volume_objects
from benchmarks.network_requests import by_kind
from tests.support.gcs_server import GcsServer, StoredObject
from tests.support.network import Network

DELAYS_MS: Final[Sequence[int]] = (0, 20, 60, 150)
BYTES_PER_S: Final = 100e6
CASES: Final[Sequence[Case]] = (
    Case("convert", 2000, 20),
    Case("convert", 6000, 10),
    Case("convert", 32768, 6),
    Case("downsample", 2000, 40),
    Case("downsample", 6000, 10),
    Case("downsample", 32768, 6),
)
LARGE: Final = 32768  # of such shards there are few
OTHERS_DELAYS_MS: Final = (0, 60)  # of TensorStore
_OTHERS_LAYERS: Final = 4  # of chunks of the first shard, that TensorStore reads or writes
QUICK: Final[Sequence[Case]] = (Case("convert", 2000, 20), Case("downsample", 2000, 20))
QUICK_DELAYS_MS: Final[Sequence[int]] = (60,)
OURS, WRITING, READING = "shardlift", "TensorStore, writing", "TensorStore, reading"
_SAMPLE_S: Final = 0.02
_MEMORY_SAMPLES: Final = 8  # between two looks at memory
_FIRST: Final = 2  # receipts before the steady state
_IN_WORK: Final = 4  # shards behind it: none of them waits for an executor
_WORKERS_BUCKETS: Final = ("volume", "state")
_MOST_S: Final = 900  # of one measurement
_PIN: Final = (
    "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@dataclass(frozen=True)
class Figures:
    """What one measurement found.

    Attributes:
        chunks: of the source, that were made in the time measured.
        seconds: of it.
        cpu_s: of the worker and its executors in it.
        peak_bytes: most memory of all of them together, shared pages counted once.
        requests: per shard, by kind.
    """

    kind: str
    size: int
    who: str
    delay_ms: int
    chunks: float
    seconds: float
    cpu_s: float
    peak_bytes: int | None = None
    requests: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the time in which the core worked."""
        return self.cpu_s / self.seconds


@dataclass(frozen=True)
class Sample:
    """What was so at one time."""

    at: float
    receipts: int
    cpu_s: float
    seen: int  # requests


class Measuring:
    """A server with the data of one case, and the processes measured against it.

    The export is made once, and enqueued once: each measurement begins with copies of what was
    there then.
    """

    def __init__(self, server: GcsServer, case: Case, folder: Path, worker_core: int) -> None:
        self._server = server
        self._case = case
        self._folder = folder
        self._core = worker_core
        self._spec = folder / "spec.json"
        self._spec.write_text(json.dumps(case.volume))
        self._queue = folder / "queue"
        self._begin: dict[str, list[StoredObject]] = {}  # of the buckets that a worker changes

    def fill(self) -> None:
        """Put the data into the buckets, and enqueue the shards."""
        self._server.make_bucket("source")
        for name, data in source_objects(self._case):
            self._put("source", name, data)
        for bucket in _WORKERS_BUCKETS:
            self._server.make_bucket(bucket)
        for name, data in volume_objects(self._case) if self._case.kind == "downsample" else ():
            self._put("volume", f"v/{name}", data)
        self._queue.mkdir()
        self._enqueue()
        shutil.copytree(self._queue, self._kept_queue)
        for bucket in _WORKERS_BUCKETS:
            self._begin[bucket] = [*map(replace, self._server.state.objects(bucket).values())]

    def worker(self, delay_ms: int) -> Figures:
        """A worker that makes all shards, at this distance."""
        self._start_anew()
        with self._distance(delay_ms):
            process = self._pinned(
                *("-m", "consumer", "work", "--tier", "2gi", "--tiers", "2", "--queue"),
                *(self._queue_url, "--state", "gs://state", "--until-drained"),
            )
            try:
                samples, peak = self._watch(process)
            finally:
                _end(process)
        before, behind = (_FIRST, _IN_WORK) if self._case.chunks < LARGE else (1, 1)
        first = next(s for s in samples if s.receipts >= before)
        last = next(s for s in samples if s.receipts >= self._case.shards - behind)
        shards = last.receipts - first.receipts
        return Figures(
            *(self._case.kind, self._case.chunks, OURS, delay_ms),
            chunks=self._case.chunks * shards,
            seconds=last.at - first.at,
            cpu_s=last.cpu_s - first.cpu_s,
            peak_bytes=peak,
            requests=by_kind(self._server.seen[first.seen : last.seen], shards),
        )

    def tensorstore(self, delay_ms: int, what: str) -> Figures:
        """TensorStore on the first shard, at this distance."""
        chunks = min(self._case.chunks, _OTHERS_LAYERS * self._case.edge**2)
        if what == WRITING:
            self._server.make_bucket("other")
            self._put("other", "v/info", json.dumps(self._case.volume).encode())
            arguments = self._local_export() | {"bucket": "other", "prefix": "v/", "chunks": chunks}
        else:
            end = [*[self._case.edge * 64] * 2, _OTHERS_LAYERS * 64]
            arguments = {"bucket": "volume", "prefix": "v/", "end": end}
        with self._distance(delay_ms):
            process = self._pinned(
                *("-m", "benchmarks.network_tensorstore"),
                *("write" if what == WRITING else "read", json.dumps(arguments)),
                stdout=subprocess.PIPE,
            )
            output, _ = process.communicate(timeout=_MOST_S)
        seconds, cpu_s = json.loads(output)
        return Figures(self._case.kind, self._case.chunks, what, delay_ms, chunks, seconds, cpu_s)

    def _local_export(self) -> dict[str, Any]:
        """The first file of the export, on disk."""
        arrow = self._folder / "0_0_0.arrow"
        for end in (".arrow", ".csv"):
            data = self._server.object("source", f"s0/0_0_0{end}").data
            arrow.with_suffix(end).write_bytes(data)
        return {"arrow": str(arrow), "volume": self._case.volume}

    @property
    def _queue_url(self) -> str:
        return f"sqlite:{self._queue}/queue.db"

    @property
    def _kept_queue(self) -> Path:
        return self._queue.with_name("queue-kept")

    def _start_anew(self) -> None:
        """Put everything back that a worker changed."""
        shutil.rmtree(self._queue)
        shutil.copytree(self._kept_queue, self._queue)
        with self._server.state.lock:
            for bucket, objects in self._begin.items():
                self._server.state.buckets[bucket] = {one.name: replace(one) for one in objects}

    def _enqueue(self) -> None:
        downres = ("1", "--adopt") if self._case.kind == "downsample" else ("none",)
        command = [
            *(sys.executable, "-m", "producer", "enqueue", "--source", "gs://source"),
            *("--dest", "gs://volume/v", "--state", "gs://state", "--queue"),
            self._queue_url,
            *("--tiers", "2", "--scales", "0", "--spec", str(self._spec), "--downres", *downres),
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MeasurementFailed(
                f"enqueue ended with {done.returncode}: {done.stderr}{done.stdout}"
            )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._server.environment(), "PROJECT_ID": "p", "LOG_FORMAT": "json"}

    def _pinned(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - of Popen
        """Python on the worker's core alone."""
        command = [sys.executable, "-c", _PIN, str(self._core), *arguments]
        if "stdout" in options:
            return subprocess.Popen(command, cwd=ROOT, env=self._environment(), **options)
        with (self._folder / "worker.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self._environment(), stdout=log, stderr=log
            )

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[list[Sample], int]:
        """Samples until all shards are made, and the most memory."""
        cpu: dict[int, float] = {}
        samples: list[Sample] = []
        peak, began = 0, time.monotonic()
        while not samples or samples[-1].receipts < self._case.shards:
            found = _family(process.pid)
            for one in found:
                with suppress(psutil.Error):
                    times = one.cpu_times()
                    cpu[one.pid] = times.user + times.system
            if len(samples) % _MEMORY_SAMPLES == 0:
                peak = max(peak, _memory(found))
            at, receipts = time.monotonic(), self._receipts()
            samples.append(Sample(at, receipts, sum(cpu.values()), len(self._server.seen)))
            if process.poll() is not None or at - began > _MOST_S:
                text = (self._folder / "worker.log").read_text()[-2000:]
                raise MeasurementFailed(f"{receipts} receipts of {self._case.shards}: {text}")
            time.sleep(_SAMPLE_S)
        return samples, peak

    def _receipts(self) -> int:
        """Receipts of the scale that is made."""
        scale = 0 if self._case.kind == "convert" else 1
        pattern = f"receipts/s{scale}"
        return sum(pattern in name for name in self._server.names("state"))

    def _put(self, bucket: str, name: str, data: bytes) -> None:
        with self._server.state.lock:
            # Composed as far as anybody can see: no md5 of large objects is worked out.
            self._server.state.put(bucket, name, data, {}, {}, component_count=1)

    @contextmanager
    def _distance(self, delay_ms: int) -> Iterator[None]:
        self._server.network = Network(delay_ms / 1000, BYTES_PER_S, BYTES_PER_S)
        try:
            yield
        finally:
            self._server.network = None


def named(names: str) -> list[Case]:
    """Cases by their names, as `convert-2000,downsample-6000`.

    Raises:
        KeyError: there is no such case.
    """
    known = {f"{case.kind}-{case.chunks}": case for case in CASES}
    return [known[name] for name in names.split(",")]


def measured_apart(cases: Sequence[Case], delays_ms: Sequence[int]) -> Iterator[Figures]:
    """The figures of `measure` in a process of its own, as they come.

    Raises:
        MeasurementFailed: it ended early.
    """
    options = json.dumps({"cases": [asdict(case) for case in cases], "delays_ms": delays_ms})
    command = [sys.executable, "-m", "benchmarks.network", options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            yield Figures(**json.loads(line))
    if process.returncode:
        raise MeasurementFailed(f"the network's process ended with {process.returncode}")


def measure(
    cases: Sequence[Case], delays_ms: Sequence[int], note: Callable[[Figures], None]
) -> list[Figures]:
    """All cases at all distances; this process keeps to the last core meanwhile."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    found = []
    try:
        for case in cases:
            with tempfile.TemporaryDirectory() as folder, GcsServer() as server:
                measuring = Measuring(server, case, Path(folder), cores[0])
                began = time.monotonic()
                measuring.fill()
                _note_progress(case, time.monotonic() - began)
                for delay_ms in delays_ms:
                    for figures in _measured(measuring, case, delay_ms, cases):
                        note(figures)
                        found.append(figures)
    finally:
        os.sched_setaffinity(0, cores)
    return found


def _note_progress(case: Case, seconds: float) -> None:
    made = f"{case.shards} shards of {case.chunks:,} chunks to {case.kind}"
    print(f"network: {made}: made up in {seconds:.0f} s", file=sys.stderr, flush=True)


def _measured(
    measuring: Measuring, case: Case, delay_ms: int, cases: Sequence[Case]
) -> Iterator[Figures]:
    yield measuring.worker(delay_ms)
    first = case == CASES[0] and len(cases) > len(QUICK)
    if first and delay_ms in OTHERS_DELAYS_MS:
        yield measuring.tensorstore(delay_ms, READING)
        yield measuring.tensorstore(delay_ms, WRITING)


def _family(pid: int) -> list[psutil.Process]:
    """A process and those that it started."""
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _memory(processes: Sequence[psutil.Process]) -> int:
    """Memory of all together; a page that several share counts once."""
    total = 0
    for one in processes:
        with suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Measure in this process; figures go to stdout as JSON, one line each."""
    options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    cases = [Case(**case) for case in options["cases"]] if "cases" in options else QUICK
    delays = options.get("delays_ms", QUICK_DELAYS_MS)
    measure(cases, delays, lambda figures: print(json.dumps(asdict(figures)), flush=True))


if __name__ == "__main__":
    main()
