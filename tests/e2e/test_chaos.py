"""Random faults of workers, messages and sources.

The volume equals that of an undisturbed run; where the export changes, it equals the export as it
is in the end, or the command names what changed.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from delivery import replay
from delivery.broker import open_broker
from delivery.broker.base import DEAD
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from infra.desired import LEAST_DEADLINE_S
from memmodel.run_context import tier_chooser
from producer.synthetic_export import SyntheticVolume, write_export
from runtime.storage import open_storage
from tests.support.emulator import environment_of, running_emulator
from tests.support.fault_injection import FaultInjector
from tests.support.run_harness import (
    RunHarness,
    make_export,
    make_run_harness,
    small_spec,
    tiers_option,
)
from tests.support.volumes import tensorstore_voxels
from tests.support.votes_reference import numpy_votes
from tests.support.waiting import wait_for
from tests.support.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Chunks, which are shards, per axis of scale 0; `make chaos` asks for more.
EDGES = tuple(int(part) for part in os.environ.get("CHAOS_SHARDS", "6x5x4").split("x"))
SIZE = tuple(64 * edge - cut for edge, cut in zip(EDGES, (10, 17, 26), strict=True))
SOURCE_SIZE = (300, 200, 120)  # 5 x 4 x 2 chunks
SEED = int(os.environ.get("CHAOS_SEED", "1"))
SCALES = 4
TIERS = ("512mi", "1gi", "2gi", "4gi")
LEASE_S = 3.0
WORK_S = "0.5"  # that a shard takes at least, so that something is in work when things happen
# Nothing leased for so long: nothing is left. What a worker pulled when it was killed, before it
# set its own lease, comes again after the subscription's.
QUIET_S = LEAST_DEADLINE_S + LEASE_S + 4
END_S = 900.0
SLOTS = ("1", "3")  # of each worker: one shard, or two in work and one that waits


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The export that both runs convert."""
    return make_export(tmp_path_factory.mktemp("chaos-export"), SIZE)  # type: ignore[arg-type]  # three


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, export: list[Path]) -> Iterator[RunHarness]:
    """The same run without faults, on the embedded broker."""
    harness = new_harness(tmp_path_factory.mktemp("calm"), "sqlite", export)
    harness.publish()
    fleet = start_fleet(harness, "--until-drained")
    assert fleet.wait(END_S) == 0
    yield harness
    harness.close()


def new_harness(folder: Path, queue_kind: str, export: list[Path]) -> RunHarness:
    """A planned pyramid."""
    return make_run_harness(
        folder,
        queue_kind,
        export,
        SIZE,  # type: ignore[arg-type]  # three
        scales=SCALES,
        tiers=TIERS,
        lease_s=LEASE_S,
    )


def start_fleet(harness: RunHarness, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """Four workers, however few CPUs there are."""
    common = ["--run", harness.run.uri, "--memory", "16GiB", "--cpus", "4"]
    return harness.start("fleet", *common, *options, **environment)


@pytest.mark.parametrize("slots", SLOTS)
def test_chaos_on_the_embedded_broker(
    calm: RunHarness,
    export: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    slots: str,
) -> None:
    """Kills, freezes and duplicates; then bytes, receipts and queues are as after a calm run."""
    harness = new_harness(tmp_path, "sqlite", export)
    try:
        harness.publish()
        fleet = start_fleet(harness, WORK_PAUSE_S=WORK_S, WORKER_SLOTS=slots)
        injector = FaultInjector(harness, fleet.pid, SEED)
        injector.act(until_done=0.9)
        settle(harness, fleet, injector.counts)
        check(harness, calm)
        print_counts(harness, fleet, injector.counts, capsys)
    finally:
        harness.close()


@pytest.mark.parametrize("slots", SLOTS)
def test_chaos_on_pubsub(
    calm: RunHarness,
    export: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    slots: str,
) -> None:
    """The same, and the emulator restarts in the middle, which makes it forget everything."""
    with running_emulator(tmp_path / "emulator1.log") as host, environment_of(host):
        harness = new_harness(tmp_path, "pubsub", export)
        harness.publish()
        fleet = start_fleet(harness, WORK_PAUSE_S=WORK_S, WORKER_SLOTS=slots)
        injector = FaultInjector(harness, fleet.pid, SEED)
        injector.act(until_done=0.4)
    port = int(host.rpartition(":")[2])
    with running_emulator(tmp_path / "emulator2.log", port) as host, environment_of(host):
        try:
            injector.counts["broker restarts"] += 1
            command("infra", "up", "--queue", harness.queue, "--tiers", tiers_option(TIERS))
            command("producer", "replay", "--missing", "--run", harness.run.uri)
            if fleet.poll() is not None:
                fleet = start_fleet(harness, WORK_PAUSE_S=WORK_S, WORKER_SLOTS=slots)
                injector.fleet = fleet.pid
            injector.act(until_done=0.9)
            settle(harness, fleet, injector.counts)
            check(harness, calm)
            print_counts(harness, fleet, injector.counts, capsys)
        finally:
            harness.close()


class SourceFaults:
    """Files of an export that arrive late, go and change while it is converted.

    Args:
        export: below it lies `s0`.
        others: files of the same names with other voxels.
        seed: of the choice.
    """

    def __init__(self, export: Path, others: Path, seed: int) -> None:
        self._folder = export / "s0"
        self._others = others / "s0"
        self._random = random.Random(seed)
        self._names = sorted(path.stem for path in self._folder.glob("*.arrow"))
        self._late = self._names[::5]
        self.versions = {name: 0 for name in self._names if name not in self._late}
        self.counts: Counter[str] = Counter()
        self.kept = export / "late"
        self.kept.mkdir()
        for name in self._late:
            self._move(name, self._folder, self.kept)

    def arrive(self) -> None:
        """Another file arrives."""
        if self._late:
            name = self._late.pop()
            self._move(name, self.kept, self._folder)
            self.versions[name] = 0
            self.counts["files that came late"] += 1

    def change(self) -> None:
        """A file is exported again: a copy, then a rename, as tools that copy do."""
        name = self._random.choice([n for n, version in self.versions.items() if not version])
        for ending in (".csv", ".arrow"):
            copy = self._folder.parent / f"{name}{ending}"
            shutil.copyfile(self._others / f"{name}{ending}", copy)
            copy.replace(self._folder / f"{name}{ending}")
        self.versions[name] = 1
        self.counts["files that changed"] += 1

    def _move(self, name: str, source: Path, dest: Path) -> None:
        for ending in (".csv", ".arrow"):
            (source / f"{name}{ending}").rename(dest / f"{name}{ending}")


def test_chaos_of_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files come and change during a run with kills: equal in the end, or named with exit code 1.

    The same command then makes what they touch, until nothing is left to do.
    """
    workspace = make_workspace(tmp_path / "work", SOURCE_SIZE, scales=3)
    other = SyntheticVolume(SOURCE_SIZE, seed=9)
    write_export(tmp_path / "others", small_spec(SOURCE_SIZE, 1).scales[0], other)
    for name in {p.name for p in (workspace.export / "s0").iterdir()} ^ {
        p.name for p in (tmp_path / "others" / "s0").iterdir()
    }:  # blocks of zeros have no row, so the two may differ in files
        for folder in (workspace.export, tmp_path / "others"):
            (folder / "s0" / name).unlink(missing_ok=True)
    faults = SourceFaults(workspace.export, tmp_path / "others", SEED)
    command_line = workspace.enqueue_command(
        *("--scales", "0", "--downres", "1,2", "--wait", "--queue", "sqlite:queue.db")
    )
    process = workspace.start(*command_line, WORK_PAUSE_S=WORK_S)
    injector = disturb(workspace, process.pid, faults)
    said, errors = process.communicate(timeout=END_S)
    counts = injector.counts + faults.counts
    rounds = 0
    code = process.returncode
    while code:
        assert code in (1, 2), (said, errors)
        assert "Traceback" not in errors
        assert any(name in errors + said for name in faults.versions), (said, errors)
        rounds += 1
        assert rounds < 4, (said, errors)
        done = workspace.run_subprocess(*command_line)
        code, said, errors = done.returncode, done.stdout, done.stderr
    check_source(workspace, faults, (workspace.sample, other))
    verified = workspace.of_run("verify", "--deep", "--values", "20")
    assert verified.returncode == 0, verified
    with capsys.disabled():
        print(f"\nchaos of the source: {dict(counts)}, {rounds} rounds")  # noqa: T201 - the result
    assert faults.counts["files that came late"] > 0
    assert faults.counts["files that changed"] > 0


def disturb(workspace: Workspace, launcher: int, faults: SourceFaults) -> FaultInjector:
    """Act on export and workers of an `enqueue --wait` until most of it is done."""
    state = f"{workspace.volume}.runs"
    run = wait_for(lambda: next(iter(list_runs(state)), None), "the run")
    fleet = wait_for(lambda: psutil.Process(launcher).children(), "the fleet")[0]
    wait_for(run.receipts.list, "a first shard")
    broker = open_broker(run.queue, run.info.tiers, LEASE_S)
    tiers = tuple(run.info.tiers)
    folder = workspace.folder
    harness = RunHarness(folder, run.queue, tiers, LEASE_S, workspace.spec, run, broker)
    acts = (faults.arrive, faults.change)
    injector = FaultInjector(harness, fleet.pid, SEED, acts)
    try:
        for act in acts:  # whatever the seed
            act()
        injector.act(until_done=0.8)
    finally:
        broker.close()
    return injector


def check_source(
    workspace: Workspace, faults: SourceFaults, fields: tuple[SyntheticVolume, SyntheticVolume]
) -> None:
    """Every scale equals the export as it is now and the plain votes on it."""
    x, y, z = SOURCE_SIZE
    expected = np.zeros((z, y, x), np.uint64)
    for name, version in faults.versions.items():
        begin = tuple(map(int, name.split("_")))
        end = tuple(min(b + 64, n) for b, n in zip(begin, SOURCE_SIZE, strict=True))
        box = tuple(slice(b, e) for b, e in zip(begin[::-1], end[::-1], strict=True))
        expected[box] = fields[version].labels(begin, end)  # type: ignore[arg-type]  # three
    for scale in range(3):
        assert np.array_equal(tensorstore_voxels(workspace.volume, scale), expected), scale
        expected = numpy_votes(expected, (2, 2, 2), nonzero=False)


def command(program: str, *arguments: str) -> None:
    """Run a command as a user would."""
    subprocess.run([sys.executable, "-m", program, *arguments], check=True)


def settle(harness: RunHarness, fleet: subprocess.Popen[bytes], counts: Counter[str]) -> None:
    """Requeue shards that died of kills; wait until the run has ended and the fleet is idle.

    The fleet stays until the last duplicate is acked, which a user would not wait for.
    """

    def ended() -> RunStatus | None:
        status = read_status(harness.run)
        if status.keys(ShardState.FAILED):
            requeue(harness.run, harness, counts)
            return None
        return status if status.ended else None

    status = wait_for(ended, "the end of the run", END_S)
    assert status.succeeded
    leased = -1
    while leased != (leased := len(harness.log(fleet))):
        time.sleep(QUIET_S)
    assert fleet.poll() is None
    fleet.terminate()
    assert fleet.wait(30) == 130


def requeue(run: Run, harness: RunHarness, counts: Counter[str]) -> None:
    """Requeue dead letters, as a user does when their reason is gone."""
    counts["dead letters requeued"] += len(
        replay.failed(run, harness.broker, tier_chooser(run), tier=TIERS[0])
    )


def check(harness: RunHarness, calm: RunHarness) -> None:
    """One receipt per shard, the same bytes, nothing in any queue, nothing half-written."""
    keys = {row.key for row in harness.run.plan.rows()}
    storage = open_storage(harness.run.uri)
    receipts = [info.path for info in storage.list("receipts/")]
    assert sorted(receipts) == sorted(f"receipts/{key}.json" for key in keys)
    assert harness.leftovers() == dict.fromkeys((*TIERS, DEAD), 0)
    whole, expected = harness.shards(), calm.volume()
    assert whole.keys() == expected.keys()
    assert [path for path in whole if whole[path] != expected[path]] == []


def print_counts(
    harness: RunHarness,
    fleet: subprocess.Popen[bytes],
    counts: Counter[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Print how often each fault and each recovery occurred."""
    receipts = [harness.run.receipts.get(key) for key in harness.run.receipts.list()]
    hops = [hop for receipt in receipts if receipt for hop in receipt.history]
    lines = {
        "shards": len(receipts),
        **counts,
        "deliveries": len(harness.events(fleet, "shard_leased")),
        "redeliveries": sum(
            1 for line in harness.events(fleet, "shard_leased") if line["attempt"] > 1
        ),
        "already done": len(harness.events(fleet, "shard_already_done")),
        "leases lost": len(harness.events(fleet, "lease_lost")),
        "escalations": len(harness.events(fleet, "shard_escalated")),
        "escalations in receipts": len(hops),
        "workers replaced": len(harness.events(fleet, "worker_died")),
        "rounds of republishing": len(harness.events(fleet, "shards_republished")),
    }
    with capsys.disabled():
        print(f"\nchaos on {harness.queue.partition(':')[0]}")  # noqa: T201 - the result
        for name, number in lines.items():
            print(f"  {name:<24}{number:>6}")  # noqa: T201 - the result
    assert counts["workers killed"] > 0
    assert counts["executors killed"] > 0
