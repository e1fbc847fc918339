"""A fleet: the right workers within the budget, with programs in place of real workers."""

import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from consumer.exit_condition import ExitCondition
from consumer.fleet.fleet import Fleet, FleetConfig, WorkersFailed
from consumer.run_discovery import RunDiscovery
from consumer.run_supervisor import RunSupervisor
from consumer.signals import ShutdownFlags
from delivery.broker.base import DEAD, Backlog
from delivery.broker.embedded import EmbeddedBroker
from delivery.messages import ShardMessage, decode
from memmodel.capacity import Budget
from memmodel.tiers import GIB, parse_tiers
from tests.support.three_shard_run import made_run
from tests.support.waiting import wait_for

TIERS = parse_tiers("1,2,4")
NAMES = ("1gi", "2gi", "4gi")

# Writes down its tier, says how it is, retires on SIGUSR1.
PROGRAM = """
import json, os, signal, sys, time
tier = sys.argv[sys.argv.index("--tier") + 1]
with open(os.path.join(os.path.dirname(__file__), "started"), "a") as file:
    file.write(json.dumps([tier, os.getpid()]) + "\\n")
signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
def say(line): print(line, flush=True)
"""


class Silent(EmbeddedBroker):
    """A queue that tells no numbers, as Pub/Sub on the emulator."""

    one_machine = False

    def backlog(self, tier: str) -> Backlog:
        """Unknown."""
        self.check_tier(tier)
        return Backlog()


@dataclass
class Yard:
    """A fleet with everything around it."""

    folder: Path
    broker: EmbeddedBroker
    met: list[str] = field(default_factory=list)
    flags: ShutdownFlags = field(default_factory=ShutdownFlags)
    thread: threading.Thread | None = None
    error: Exception | None = None

    def fleet(self, body: str, memory_bytes: int = 8 * GIB, cpus: int = 2) -> Fleet:
        """A fleet whose workers are a program that ends in `body`."""
        script = self.folder / "worker.py"
        script.write_text(PROGRAM + textwrap.dedent(body))
        budget = Budget(memory_bytes, cpus)
        command = (sys.executable, str(script))
        crew = FleetConfig(budget, TIERS, (), str(self.folder / "dest.runs"), command)
        return Fleet(self.broker, crew, self.flags, self.met.append)

    def run(self, fleet: Fleet) -> None:
        """Let it run until the test ends, or until it ends by itself."""
        known = RunDiscovery(None, None, self.broker.url)
        ending = ExitCondition(self.broker, RunSupervisor(self.broker, known), lambda: fleet.busy)

        def go() -> None:
            try:
                fleet.run(ending, until_drained=False)
            except WorkersFailed as error:
                self.error = error

        self.thread = threading.Thread(target=go)
        self.thread.start()

    def publish(self, tier: str, count: int = 1) -> None:
        """Messages in a queue."""
        message = ShardMessage(run=str(self.folder / "dest.runs/r1"), key="s0/0", kind="convert")
        self.broker.publish(tier, [message] * count)

    def started(self) -> list[str]:
        """Tiers of all workers that were started, in order."""
        path = self.folder / "started"
        return [line.split('"')[1] for line in path.open()] if path.exists() else []

    def alive(self) -> list[int]:
        """Process ids of our workers that live."""
        children = psutil.Process().children()
        return [c.pid for c in children if str(self.folder) in " ".join(c.cmdline())]

    def stop(self) -> None:
        """End the fleet."""
        self.flags.immediate.set()
        if self.thread is not None:
            self.thread.join(20)


@pytest.fixture
def yard(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Yard]:
    """Empty queues; those of `Silent` where the test says so."""
    kind = getattr(request, "param", EmbeddedBroker)
    with kind(tmp_path / "queue.db", NAMES, 60.0) as broker:
        yard = Yard(tmp_path, broker)
        yield yard
        yard.stop()


def test_workers_go_where_shards_are(yard: Yard) -> None:
    """None without work; as many as there are CPUs, the larger tier served first."""
    yard.run(yard.fleet("say('{\"busy\":true}')\ntime.sleep(600)"))
    time.sleep(0.6)
    assert yard.started() == []
    yard.publish("1gi", 5)
    yard.publish("4gi")
    wait_for(lambda: sorted(yard.started()) == ["1gi", "4gi"])
    time.sleep(0.6)
    assert len(yard.started()) == 2


def test_memory_limits_workers_too(yard: Yard) -> None:
    """Two workers of 4 GiB do not fit into 6."""
    yard.run(yard.fleet("say('{\"busy\":true}')\ntime.sleep(600)", memory_bytes=6 * GIB))
    yard.publish("4gi", 9)
    wait_for(lambda: yard.started() == ["4gi"])
    time.sleep(0.6)
    assert yard.started() == ["4gi"]


def test_a_worker_moves_when_the_backlog_does(yard: Yard) -> None:
    """The idle one is retired, which lets it finish, and another starts where shards wait."""
    yard.run(yard.fleet("say('{\"busy\":false}')\ntime.sleep(600)", cpus=1))
    yard.publish("1gi")
    wait_for(lambda: yard.started() == ["1gi"])
    delivery = yard.broker.lease("1gi")
    assert delivery is not None
    yard.broker.ack(delivery)
    time.sleep(0.6)
    assert len(yard.alive()) == 1  # idle, and nobody needs its place
    yard.publish("2gi")
    wait_for(lambda: yard.started() == ["1gi", "2gi"])
    assert len(yard.alive()) == 1


def test_a_dead_worker_is_replaced(yard: Yard) -> None:
    """Its message will come back, so somebody should be there."""
    yard.run(yard.fleet("say('{\"busy\":true}')\ntime.sleep(600)", cpus=1))
    yard.publish("1gi")
    wait_for(yard.started)
    os.kill(yard.alive()[0], signal.SIGKILL)
    wait_for(lambda: len(yard.started()) == 2)


@pytest.mark.parametrize("code", [2, 3])
def test_a_worker_that_gives_up_ends_the_fleet(yard: Yard, code: int) -> None:
    """It said why; starting it again would only say it once more."""
    yard.run(yard.fleet(f"sys.exit({code})"))
    yard.publish("1gi")
    wait_for(lambda: yard.error is not None)
    assert isinstance(yard.error, WorkersFailed)
    assert yard.error.exit_code == code


def test_workers_that_die_at_once_are_not_started_for_ever(yard: Yard) -> None:
    """Something is wrong that another start will not mend."""
    yard.run(yard.fleet("os.kill(os.getpid(), 9)"))
    yard.publish("1gi")
    wait_for(lambda: yard.error is not None)
    assert "ended as soon as they started" in str(yard.error)


def test_it_learns_runs_from_its_workers(yard: Yard) -> None:
    """A fleet without a state root knows what messages lead to."""
    yard.run(yard.fleet("say('{\"run\":\"/runs/r7\"}')\nsay('noise')\ntime.sleep(600)"))
    yard.publish("1gi")
    wait_for(lambda: yard.met == ["/runs/r7"])


def test_all_workers_stop_with_it(yard: Yard) -> None:
    """Politely first, then not."""
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay('{\"busy\":true}')\n"
    fleet = yard.fleet(stubborn + "time.sleep(600)", cpus=1)
    yard.run(fleet)
    yard.publish("1gi")
    wait_for(lambda: fleet._hands and fleet._hands[0].state == "busy")
    yard.stop()
    assert yard.alive() == []


def test_what_no_worker_here_can_hold_is_dead(yard: Yard) -> None:
    """With both numbers, where this machine is all there is."""
    made_run(yard.folder)
    yard.publish("4gi")
    yard.run(yard.fleet("time.sleep(600)", memory_bytes=2 * GIB))
    wait_for(lambda: yard.broker.backlog(DEAD).waiting)
    letter = yard.broker.lease(DEAD)
    assert letter is not None
    reason = decode(letter.data).reason
    assert reason is not None
    assert "needs a worker of tier 4gi" in reason
    assert "this machine has 2.00 GiB" in reason
    assert yard.started() == []


@pytest.mark.parametrize("yard", [Silent], indirect=True)
def test_queues_without_numbers_are_tried_in_turn(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that finds nothing makes room for another tier's; no tier is forgotten."""
    monkeypatch.setattr("consumer.fleet.fleet.MOST_EMPTY_S", 4.0)
    yard.run(yard.fleet("time.sleep(0.3)\nsay('{\"busy\":false}')\ntime.sleep(600)", cpus=1))
    wait_for(lambda: set(yard.started()) == set(NAMES))
    wait_for(lambda: len(yard.started()) > len(NAMES))


@pytest.mark.parametrize("yard", [Silent], indirect=True)
def test_idle_workers_stay_while_there_is_room(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start costs two seconds of a CPU: without need nobody is retired."""
    monkeypatch.setattr("consumer.fleet.fleet.MOST_EMPTY_S", 0.5)
    yard.run(yard.fleet("say('{\"busy\":false}')\ntime.sleep(600)", cpus=3))
    wait_for(lambda: sorted(yard.started()) == sorted(NAMES))
    time.sleep(2)
    assert len(yard.started()) == len(NAMES)


@pytest.mark.parametrize("yard", [Silent], indirect=True)
def test_a_busy_tier_without_numbers_gets_more(yard: Yard) -> None:
    """Its workers all have a shard, so there may be more."""
    busy = """
    if tier == "1gi" or os.environ.get("ALL"):
        say('{"busy":true}')
    else:
        say('{"busy":false}')
    time.sleep(600)
    """
    yard.run(yard.fleet(busy, cpus=3, memory_bytes=64 * GIB))
    wait_for(lambda: yard.started().count("1gi") >= 2)
