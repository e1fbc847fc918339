"""Site of the hostile chaos: a queue, a state root and a fleet, on an odd machine."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from delivery.broker.base import Broker
from tests.support.gcs_server import GcsServer
from tests.support.machine_faults import OddMachine, Rule
from tests.support.run_harness import tiers_option
from tests.support.workspace import clean_environment


@dataclass
class Site:
    """One queue, one state root and one fleet, with the machine and the storage they are on.

    Attributes:
        folder: current directory of every program.
        local: paths whose system calls may fail.
        extra: environment of every program.
        tiers: names of the fleet's.
    """

    folder: Path
    queue: str
    state: str
    server: GcsServer
    broker: Broker
    local: Sequence[Path]
    extra: dict[str, str]
    tiers: tuple[str, ...]
    fleets: list[subprocess.Popen[bytes]] = field(default_factory=list)
    machines: list[OddMachine] = field(default_factory=list)
    jump_s: int = 0

    def start(
        self, name: str, arguments: Sequence[str], rules: Sequence[Rule] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own; its output is in `NAME.log`."""
        machine = OddMachine(self.folder / f"{name}.machine", self.local, rules)
        machine.jump(self.jump_s)
        self.machines.append(machine)
        with (self.folder / f"{name}.log").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self.folder,
                env=clean_environment() | self.extra | machine.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def fleet_logs(self) -> list[str]:
        """What each fleet said, but for those that were interrupted before they listened."""
        return [
            self.log(f"fleet{number}")
            for number, fleet in enumerate(self.fleets)
            if fleet.poll() != -signal.SIGINT
        ]

    def log(self, name: str) -> str:
        """What a program said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def fleet(self, rules: Sequence[Rule] = ()) -> subprocess.Popen[bytes]:
        """The fleet; another one if it has ended."""
        if not self.fleets or self.fleets[-1].poll() is not None:
            options = ["--queue", self.queue, "--state", self.state]
            options += ["--tiers", tiers_option(self.tiers)]
            options += ["--memory", "2GiB", "--cpus", "2"]
            name = f"fleet{len(self.fleets)}"
            self.fleets.append(self.start(name, ["consumer", "fleet", *options], rules))
        return self.fleets[-1]

    def jump(self, seconds: int) -> None:
        """Set the time of day of all programs to so many seconds from the true one."""
        self.jump_s = seconds
        for machine in self.machines:
            machine.jump(seconds)

    def close(self) -> None:
        """End the fleet; no process is left."""
        for fleet in self.fleets:
            end_group(fleet)
        self.broker.close()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it started."""
    for one in family(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it that are alive."""
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    return []


def environment(server: GcsServer, lease_s: int) -> dict[str, str]:
    """So that programs use this server, and do not wait long for it."""
    kept = {"STORAGE_RETRY_S": "4", "LEASE_S": str(lease_s), "PYTHONPATH": str(Path.cwd())}
    return server.environment() | kept
