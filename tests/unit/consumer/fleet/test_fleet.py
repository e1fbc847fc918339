"""Fleet: workers within the budget, with fake workers tick by tick, and with real processes."""

import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from consumer.exit_condition import ExitCondition
from consumer.fleet.fleet import MAX_DEATHS, Fleet, FleetConfig, WorkersFailed
from consumer.fleet.worker_process import WorkerProcess, WorkerReport
from consumer.run_discovery import RunDiscovery
from consumer.run_supervisor import RunSupervisor
from consumer.signals import ShutdownFlags
from delivery.broker.base import DEAD, Backlog
from delivery.broker.embedded import EmbeddedBroker
from delivery.messages import ShardMessage, decode
from memmodel.capacity import Budget
from memmodel.tiers import GIB, Tier, parse_tiers
from tests.support.three_shard_run import three_shard_run
from tests.support.waiting import wait_for

TIERS = parse_tiers("1,2,4")
NAMES = ("1gi", "2gi", "4gi")

# Beginning of a real worker process's program; the test adds the end.
PROGRAM = """
import os, signal, sys, time
def report(line): print(line, flush=True)
"""


class SilentBroker(EmbeddedBroker):
    """A queue that reports no numbers, as Pub/Sub on the emulator."""

    one_machine = False

    def backlog(self, tier: str) -> Backlog:
        """Unknown."""
        self.check_tier(tier)
        return Backlog()


class FakeWorker(WorkerProcess):
    """A worker without a process: the test sets its state and how it ends."""

    def __init__(self, tier: Tier, on_report: Callable[[WorkerReport], None]) -> None:
        self.tier = tier
        self.state = "new"
        self.retiring = False
        self.on_report = on_report
        self.code: int | None = None
        self.last_error: str | None = None

    @property
    def error(self) -> str | None:
        """As the test set it."""
        return self.last_error

    @property
    def pid(self) -> int:
        """Of no process."""
        return 0

    @property
    def exit_code(self) -> int | None:
        """As the test set it."""
        return self.code

    def retire(self) -> None:
        """End unless busy."""
        self.retiring = True
        if self.state != "busy":
            self.code = 0


@dataclass
class FleetBench:
    """A fleet of fake workers, with a queue and a clock that the test moves."""

    folder: Path
    broker: EmbeddedBroker
    workers: list[FakeWorker] = field(default_factory=list)
    discovered: list[str] = field(default_factory=list)
    flags: ShutdownFlags = field(default_factory=ShutdownFlags)
    now_s: float = 1000.0

    def fleet(self, memory_bytes: int = 8 * GIB, cpus: int = 2) -> Fleet:
        """A fleet of fake workers."""
        return Fleet(
            self.broker,
            self.config(memory_bytes, cpus),
            self.flags,
            self.discovered.append,
            start_worker=self.start_worker,
            clock=lambda: self.now_s,
        )

    def config(self, memory_bytes: int, cpus: int, *command: str) -> FleetConfig:
        """Of every tier."""
        return FleetConfig(
            Budget(memory_bytes, cpus), TIERS, (), (str(self.folder / "dest.runs"),), command
        )

    def start_worker(self, tier: Tier, on_report: Callable[[WorkerReport], None]) -> FakeWorker:
        """Start a fake one."""
        self.workers.append(FakeWorker(tier, on_report))
        return self.workers[-1]

    def publish(self, tier: str, count: int = 1) -> None:
        """Put messages in a queue."""
        message = ShardMessage(run=str(self.folder / "dest.runs/r1"), key="s0/0", kind="convert")
        self.broker.publish(tier, [message] * count)

    def started(self) -> list[str]:
        """Tiers of all workers that were started, in order."""
        return [worker.tier.name for worker in self.workers]

    def alive(self) -> list[str]:
        """Tiers of the workers that have not ended."""
        return [worker.tier.name for worker in self.workers if worker.code is None]


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FleetBench]:
    """Empty queues; of a `SilentBroker` where the test sets it."""
    kind = getattr(request, "param", EmbeddedBroker)
    with kind(tmp_path / "queue.db", NAMES, 60.0) as broker:
        yield FleetBench(tmp_path, broker)


def test_workers_go_where_shards_are(bench: FleetBench) -> None:
    """None without work; as many as there are CPUs, the larger tier served first."""
    fleet = bench.fleet()
    fleet.tick()
    assert bench.started() == []
    bench.publish("1gi", 5)
    bench.publish("4gi")
    for _ in range(3):
        fleet.tick()
        assert bench.started() == ["4gi", "1gi"]
        for worker in bench.workers:
            worker.state = "busy"


def test_memory_limits_workers_too(bench: FleetBench) -> None:
    """Two workers of 4 GiB do not fit into 6."""
    fleet = bench.fleet(memory_bytes=6 * GIB)
    bench.publish("4gi", 9)
    for _ in range(3):
        fleet.tick()
        assert bench.started() == ["4gi"]


def test_a_worker_moves_when_the_backlog_does(bench: FleetBench) -> None:
    """The idle one is retired, which lets it finish, and another starts where shards wait."""
    fleet = bench.fleet(cpus=1)
    bench.publish("1gi")
    fleet.tick()
    delivery = bench.broker.lease("1gi")
    assert delivery is not None
    bench.broker.ack(delivery)
    bench.workers[0].state = "idle"
    fleet.tick()
    assert bench.alive() == ["1gi"]  # idle, but no other tier needs its place
    bench.publish("2gi")
    fleet.tick()
    assert bench.alive() == []
    fleet.tick()
    assert bench.alive() == ["2gi"]


def test_a_busy_worker_finishes_before_it_moves(bench: FleetBench) -> None:
    """It is retired, and its place is taken only when it has ended."""
    fleet = bench.fleet(cpus=1)
    bench.publish("1gi")
    fleet.tick()
    bench.workers[0].state = "busy"
    delivery = bench.broker.lease("1gi")
    assert delivery is not None
    bench.broker.ack(delivery)
    bench.publish("2gi")
    fleet.tick()
    fleet.tick()
    assert (bench.alive(), bench.workers[0].retiring) == (["1gi"], True)
    bench.workers[0].code = 0
    fleet.tick()
    assert bench.alive() == ["2gi"]


def test_a_dead_worker_is_replaced(bench: FleetBench) -> None:
    """Its message will be delivered again."""
    fleet = bench.fleet(cpus=1)
    bench.publish("1gi")
    fleet.tick()
    bench.workers[0].state, bench.workers[0].code = "busy", -9
    fleet.tick()
    assert bench.started() == ["1gi", "1gi"]


@pytest.mark.parametrize("code", [2, 3])
def test_a_worker_that_gives_up_ends_the_fleet(bench: FleetBench, code: int) -> None:
    """It logged the reason; another would only fail in the same way."""
    fleet = bench.fleet()
    bench.publish("1gi")
    fleet.tick()
    bench.workers[0].code = code
    with pytest.raises(WorkersFailed) as raised:
        fleet.tick()
    assert raised.value.exit_code == code


def test_workers_that_die_at_their_start_end_the_fleet(bench: FleetBench) -> None:
    """A fault that another start does not mend."""
    fleet = bench.fleet(cpus=1)
    bench.publish("1gi")
    for _ in range(MAX_DEATHS):
        fleet.tick()
        bench.workers[-1].code = -9
    with pytest.raises(WorkersFailed, match="ended as soon as they started"):
        fleet.tick()


def test_the_cause_of_workers_that_cannot_start_is_named(bench: FleetBench) -> None:
    """Their last words go to a stderr that the fleet shares, so it tries one itself."""
    program = bench.folder / "worker.py"
    program.write_text("raise ImportError('libz.so.9: cannot open shared object file')")
    fleet = Fleet(
        bench.broker,
        bench.config(GIB, 1, sys.executable, str(program)),
        bench.flags,
        bench.discovered.append,
        start_worker=bench.start_worker,
    )
    bench.publish("1gi")
    for _ in range(MAX_DEATHS):
        fleet.tick()
        bench.workers[-1].code = 1
    with pytest.raises(WorkersFailed, match=r"as they started: ImportError: libz\.so\.9"):
        fleet.tick()


def test_a_worker_that_gives_up_names_the_cause(bench: FleetBench) -> None:
    """The fleet ends with the worker's exit code, and with its error."""
    program = bench.folder / "worker.py"
    report = '{"error": "s0/0: No space left on device: /out/a.shard"}'
    program.write_text(f"{PROGRAM}\nreport({report!r})\nsys.exit(3)")
    fleet = Fleet(
        bench.broker,
        bench.config(GIB, 1, sys.executable, str(program)),
        bench.flags,
        bench.discovered.append,
    )
    bench.publish("1gi")

    cause = "gave up: s0/0: No space left on device: /out/a.shard"
    with pytest.raises(WorkersFailed, match=cause) as raised:
        wait_for(fleet.tick, "the worker's end")
    assert raised.value.exit_code == 3


def test_a_worker_that_is_interrupted_at_its_start_died(bench: FleetBench) -> None:
    """A library does that to its own process where it cannot start threads."""
    fleet = bench.fleet(cpus=1)
    bench.publish("1gi")
    for _ in range(MAX_DEATHS):
        fleet.tick()
        bench.workers[-1].code = 130
    with pytest.raises(WorkersFailed, match="ended as soon as they started"):
        fleet.tick()


def test_trouble_of_workers_is_known_before_they_give_up(bench: FleetBench) -> None:
    """A run may be given up first; the last report counts, an empty one takes it back."""
    fleet = bench.fleet()
    bench.publish("1gi")
    fleet.tick()
    bench.workers[-1].on_report(WorkerReport(error="no thread to spare"))
    assert fleet.trouble == "no thread to spare"
    bench.workers[-1].on_report(WorkerReport(error=""))
    assert fleet.trouble is None


def test_deaths_count_only_in_a_row(bench: FleetBench) -> None:
    """A worker that had a shard before it died starts the count anew."""
    fleet = bench.fleet(cpus=1)
    bench.publish("1gi")
    for _ in range(2):
        for _ in range(MAX_DEATHS - 1):
            fleet.tick()
            bench.workers[-1].code = -9
        fleet.tick()
        bench.workers[-1].state, bench.workers[-1].code = "busy", -9
    fleet.tick()
    assert len(bench.started()) == 2 * MAX_DEATHS + 1


def test_shards_beyond_this_machine_are_dead_letters(bench: FleetBench) -> None:
    """With both numbers, where this machine is the only one."""
    three_shard_run(bench.folder)
    bench.publish("4gi")
    bench.fleet(memory_bytes=2 * GIB).tick()
    letter = bench.broker.lease(DEAD)
    assert letter is not None
    reason = decode(letter.data).reason
    assert reason is not None
    assert "needs a worker of tier 4gi" in reason
    assert "this machine has 2.00 GiB" in reason
    assert bench.started() == []


@pytest.mark.parametrize("bench", [SilentBroker], indirect=True)
def test_queues_without_numbers_are_probed_in_turn(bench: FleetBench) -> None:
    """A worker that finds nothing makes room for another tier's; every tier is probed again."""
    fleet = bench.fleet(cpus=1)
    for _ in range(600):
        fleet.tick()
        bench.workers[-1].state = "idle"
        bench.now_s += 1
    assert set(bench.started()[: len(NAMES)]) == set(NAMES)
    assert min(bench.started().count(name) for name in NAMES) > 1


@pytest.mark.parametrize("bench", [SilentBroker], indirect=True)
def test_idle_workers_stay_while_there_is_room(bench: FleetBench) -> None:
    """A start costs two seconds of a CPU: without need no worker is retired."""
    fleet = bench.fleet(cpus=3)
    for _ in range(600):
        fleet.tick()
        for worker in bench.workers:
            worker.state = "idle"
        bench.now_s += 1
    assert sorted(bench.started()) == sorted(bench.alive()) == sorted(NAMES)


@pytest.mark.parametrize("bench", [SilentBroker], indirect=True)
def test_a_busy_tier_without_numbers_gets_more(bench: FleetBench) -> None:
    """All its workers have a shard, so there may be more."""
    fleet = bench.fleet(cpus=3, memory_bytes=64 * GIB)
    for _ in range(3):
        fleet.tick()
        for worker in bench.workers:
            worker.state = "busy" if worker.tier.name == "1gi" else "idle"
    assert bench.alive().count("1gi") >= 2


@pytest.mark.parametrize("bench", [SilentBroker], indirect=True)
def test_a_published_message_ends_the_wait_for_a_probe(bench: FleetBench) -> None:
    """A tier found empty is probed at once when a worker reports that it published there."""
    fleet = bench.fleet(cpus=1)
    while len(bench.started()) < len(NAMES):
        fleet.tick()
        bench.workers[-1].state = "idle"
    fleet.tick()
    assert len(bench.started()) == len(NAMES)
    bench.workers[-1].on_report(WorkerReport(tier="4gi"))
    fleet.tick()
    fleet.tick()
    assert bench.started()[len(NAMES) :] == ["4gi"]


@dataclass
class RealFleet:
    """A running fleet whose workers are processes of a small program."""

    bench: FleetBench
    fleet: Fleet
    thread: threading.Thread

    def processes(self) -> list[psutil.Process]:
        """Its workers that live."""
        children = psutil.Process().children()
        return [c for c in children if str(self.bench.folder) in " ".join(c.cmdline())]

    def stop(self) -> None:
        """End the fleet."""
        self.bench.flags.immediate.set()
        self.thread.join(60)


@pytest.fixture
def run_fleet(bench: FleetBench) -> Iterator[Callable[[str], RealFleet]]:
    """Runs a fleet of one worker whose program ends in the given code."""
    running: list[RealFleet] = []

    def run(body: str) -> RealFleet:
        script = bench.folder / "worker.py"
        script.write_text(PROGRAM + textwrap.dedent(body))
        config = bench.config(8 * GIB, 1, sys.executable, str(script))
        fleet = Fleet(bench.broker, config, bench.flags, bench.discovered.append)
        supervisor = RunSupervisor(bench.broker, RunDiscovery(None, [], bench.broker.url))
        exit_condition = ExitCondition(bench.broker, supervisor, lambda: fleet.busy)
        thread = threading.Thread(
            target=fleet.run, args=(exit_condition,), kwargs={"until_drained": False}
        )
        running.append(RealFleet(bench, fleet, thread))
        bench.publish("1gi")
        thread.start()
        return running[-1]

    yield run
    for fleet in running:
        fleet.stop()


def test_it_discovers_runs_from_its_workers(
    bench: FleetBench, run_fleet: Callable[[str], RealFleet]
) -> None:
    """A line of a worker that is not a report is passed over."""
    run_fleet("report('noise')\nreport('{\"run\":\"/runs/r7\"}')\ntime.sleep(600)")
    wait_for(lambda: bench.discovered == ["/runs/r7"])


def test_all_workers_stop_with_it(
    run_fleet: Callable[[str], RealFleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SIGTERM, and by SIGKILL those that ignore it."""
    monkeypatch.setattr("consumer.fleet.fleet.GRACE_S", 0.5)
    running = run_fleet(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nreport('{\"busy\":true}')\ntime.sleep(600)"
    )
    wait_for(lambda: running.fleet._workers and running.fleet._workers[0].state == "busy")
    assert len(running.processes()) == 1
    running.stop()
    assert running.processes() == []
