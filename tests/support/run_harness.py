"""Small but real runs for tests with processes: an export, a plan, a queue, workers.

Every shard of a small volume is one chunk, so that a volume of some hundred voxels has some
hundred shards, each made in milliseconds.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from delivery import replay
from delivery.broker import open_broker
from delivery.broker.base import DEAD, Backlog, Broker
from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.receipts import Receipt
from delivery.ledger.run import Heartbeat, Run
from delivery.messages import ShardMessage, decode, shard_key
from memmodel.run_context import tier_chooser
from producer.synthetic_export import SyntheticVolume, write_export
from tests.support import ledgers
from tests.support.emulator import make_topology, new_queue_url
from tests.support.specs import made_info
from tests.support.waiting import wait_for

Triple = tuple[int, int, int]


def small_spec(size: Triple, scales: int) -> VolumeSpec:
    """A multiscale volume whose shards are single chunks."""
    document = made_info(size, [(2, 2, 2)] * (scales - 1), bits=[(0, 0)])
    for scale in document["scales"]:
        scale["key"] = "x".join(map(str, scale["resolution"]))
    return VolumeSpec.parse(document)


def small_plan(spec: VolumeSpec, files: Sequence[Path], tier: str) -> Plan:
    """Everything to be made: scale 0 from files of one block each, the others from the one before.

    Args:
        spec: of the destination.
        files: named after their first voxel.
        tier: of every converted shard.
    """
    rows = [*_converted(spec.scales[0], files, tier)]
    known = {row.key for row in rows}
    for fine, coarse in zip(spec.scales, spec.scales[1:], strict=False):
        made = list(_downsampled(fine, coarse, known))
        known |= {row.key for row in made}
        rows += made
    return Plan.of(rows, range(len(spec.scales)))


def _converted(scale: ScaleSpec, files: Sequence[Path], tier: str) -> Iterator[PlanRow]:
    for file in files:
        begin = tuple(int(part) for part in file.stem.split("_"))
        end = tuple(edge + 64 for edge in begin)
        for shard in sharding.shards_meeting(scale, begin, end):  # type: ignore[arg-type]  # three
            name = sharding.shard_hex(shard, scale.sharding)
            yield PlanRow(
                shard_key(0, name),
                0,
                name,
                shard,
                "convert",
                tier=tier,
                estimated_bytes=200 << 20,
                bytes_in=file.stat().st_size,
                sources=(f"s0/{file.name}",),
            )


def _downsampled(fine: ScaleSpec, coarse: ScaleSpec, known: set[str]) -> Iterator[PlanRow]:
    for shard in sharding.all_shards(coarse):
        keys = [
            shard_key(fine.index, sharding.shard_hex(below, fine.sharding))
            for below in sharding.inputs(fine, coarse, shard)
        ]
        inputs = tuple(key for key in keys if key in known)
        if inputs:
            name = sharding.shard_hex(shard, coarse.sharding)
            key = shard_key(coarse.index, name)
            yield PlanRow(key, coarse.index, name, shard, "downsample", inputs=inputs)


@dataclass
class RunHarness:
    """A run with its queue, and the processes that a test starts.

    Attributes:
        dest: the volume, below `folder` or a URL.
        lease_s: of every worker.
    """

    folder: Path
    queue: str
    tiers: tuple[str, ...]
    lease_s: float
    spec: VolumeSpec
    run: Run
    broker: Broker
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: dict[int, Path] = field(default_factory=dict)

    @property
    def converted(self) -> list[str]:
        """Keys of scale 0."""
        return [row.key for row in self.run.plan.rows(0)]

    def publish(self, keys: Sequence[str] | None = None, tier: str | None = None) -> list[str]:
        """Publish these shards, or everything that is ready."""
        choose_tier = tier_chooser(self.run)
        if keys is None:
            return replay.missing(self.run, self.broker, choose_tier, tier=tier)
        return replay.shards(self.run, self.broker, choose_tier, keys, tier=tier).published

    def publish_anyway(self, key: str) -> None:
        """Publish a shard of a run that was cancelled meanwhile."""
        message = ShardMessage(run=self.run.uri, key=key, kind="convert")
        self.broker.publish(self.tiers[0], [message])

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `python -m consumer ...` on this queue, in its own session."""
        log = self.folder / f"worker{len(self.processes)}.log"
        env = os.environ | {"LOG_FORMAT": "json", "LEASE_S": str(round(self.lease_s))}
        command = [sys.executable, "-m", "consumer", *arguments, "--queue", self.queue]
        command += [] if "--run" in arguments else ["--state", self.run.state_url]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--tiers", tiers_option(self.tiers)],
                env=env | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        self.logs[process.pid] = log
        return process

    def work(self, tier: str | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """One worker that works until the run has ended."""
        options = ["--tier", tier or self.tiers[0], "--run", self.run.uri, "--until-drained"]
        return self.start("work", *options, **environment)

    def log(self, process: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
        """The events that a process logged so far."""
        lines = self.logs[process.pid].read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def events(self, process: subprocess.Popen[bytes], name: str) -> list[dict[str, Any]]:
        """The logged events of one name."""
        return [line for line in self.log(process) if line.get("event") == name]

    def heartbeat(self, worker: psutil.Process | subprocess.Popen[bytes]) -> Heartbeat:
        """Wait for a heartbeat of this worker that names a shard."""

        def find() -> Heartbeat | None:
            ours = [b for b in self.run.heartbeats() if f"-{worker.pid}-" in b.worker and b.key]
            return ours[0] if ours else None

        return wait_for(find, "a heartbeat")

    def receipt(self, key: str, within_s: float = 120.0) -> Receipt:
        """Wait for a shard's receipt."""
        return wait_for(lambda: self.run.receipts.get(key), f"a receipt of {key}", within_s)

    def leftovers(self) -> dict[str, int]:
        """Messages left in every queue, the dead letters included; takes and acks them."""
        found = {}
        for tier in (*self.tiers, DEAD):
            found[tier] = 0
            if self.broker.backlog(tier) == Backlog(waiting=0, leased=0):
                continue  # the embedded broker knows
            while (delivery := self.broker.lease(tier, wait_s=self.lease_s + 1)) is not None:
                decode(delivery.data)
                self.broker.ack(delivery)
                found[tier] += 1
        return found

    def volume(self) -> dict[str, bytes]:
        """Every file of the volume, temporary ones included."""
        root = Path(self.run.info.dest)
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def shards(self) -> dict[str, bytes]:
        """The shard files and info, without temporary files."""
        return {path: data for path, data in self.volume().items() if ".tmp-" not in path}

    def close(self) -> None:
        """Kill all processes, close the queue."""
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.broker.close()


def make_export(folder: Path, size: Triple) -> list[Path]:
    """A DVID export of made-up labels with one block per file."""
    return write_export(folder, small_spec(size, 1).scales[0], SyntheticVolume(size))


def make_run_harness(
    folder: Path,
    queue_kind: str,
    files: Sequence[Path],
    size: Triple,
    *,
    scales: int = 1,
    tiers: Sequence[str] = ("512mi", "1gi"),
    lease_s: float = 3.0,
    info: Mapping[str, object] | None = None,
) -> RunHarness:
    """A planned run of all files, nothing published yet.

    Args:
        folder: for everything but the export.
        queue_kind: `sqlite`, or `pubsub` on the emulator.
        files: the export.
        size: voxels x, y, z.
        scales: of the volume.
        tiers: names, smallest first.
        lease_s: of a delivery.
        info: other fields of the run.
    """
    queue = f"sqlite:{folder}/queue.db" if queue_kind == "sqlite" else new_queue_url()
    if queue_kind == "pubsub":
        make_topology(queue, tiers)
    spec = small_spec(size, scales)
    fields = {
        "run_id": "run",
        "created": datetime.now(UTC),
        "source": str(files[0].parents[1]),
        "dest": str(folder / "volume"),
        "downres": tuple(range(1, scales)),
        "tiers": tuple(tiers),
        "queue": queue,
        "volume": spec.to_info(),
    }
    run_info = ledgers.info(**(fields | dict(info or {})))
    run = Run.create(str(folder / "state"), run_info, small_plan(spec, files, tiers[0]))
    broker = open_broker(queue, tiers, lease_s)
    return RunHarness(folder, queue, tuple(tiers), lease_s, spec, run, broker)


def tiers_option(names: Sequence[str]) -> str:
    """`--tiers` for tiers of these names."""
    sizes = {"mi": 1 / 1024, "gi": 1.0}
    return ",".join(str(int(name[:-2]) * sizes[name[-2:]]) for name in names)


def executor_process(worker: int) -> psutil.Process:
    """The executor process of a worker; waits until it has started."""
    return process_of(worker, "consumer.executor")


def process_of(worker: int, module: str) -> psutil.Process:
    """The process of a worker that runs a module; waits until it has started."""

    def find() -> psutil.Process | None:
        for child in psutil.Process(worker).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended, and may not be reaped yet
                if module in child.cmdline():
                    return child
        return None

    return wait_for(find, f"{module} of {worker}")


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, with all its threads: only then does its parent learn of it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True
