"""Faults of storage, network, signals, clocks and messages together, on both brokers.

Each round is a volume of its own. Whatever happens, its command ends with the bytes of an
undisturbed run, or with another exit code and what is missing; once the faults stop, the same
command reaches those bytes. `HOSTILE_ROUNDS` is the number of rounds, `CHAOS_SEED` the seed.
"""

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.broker import open_broker
from tests.support.emulator import make_topology, new_queue_url
from tests.support.ended_whole import UNSAID, shard_files
from tests.support.gcs_server import GcsServer
from tests.support.hostile_chaos import Chaos
from tests.support.hostile_site import Site, end_group, environment
from tests.support.in_process_fleet import in_process_fleets
from tests.support.machine_faults import Rule
from tests.support.run_harness import tiers_option
from tests.support.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "200"))
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 30))
AT_ONCE = 8
FAULTS_S = 8.0  # of a batch
END_S = 120.0  # for a command, after the faults have stopped
# On Pub/Sub a fleet does not know how long queues are. It looks into one that was empty again only
# after half a minute, so that there a tier and the patience of six longer leases are what it takes.
TIERS = {"sqlite": ("512mi", "1gi"), "pubsub": ("512mi",)}
LEASE_S = {"sqlite": 3, "pubsub": 8}
SIZE = (120, 100, 60)  # 2 x 2 x 1 chunks, a shard each, and one above
# What an error says, and what the end of a run says that lacks shards.
SAID = ("error: ", "hint: ", "each of them: ")


@dataclass
class Round:
    """One volume and the command that makes it."""

    name: str
    site: Site
    volume: str
    arguments: list[str]
    commands: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self, rules: Sequence[Rule] = ()) -> subprocess.Popen[bytes]:
        """Start the command, once more."""
        self.commands += 1
        self.process = self.site.start(self.log_name, self.arguments, rules)
        return self.process

    @property
    def log_name(self) -> str:
        """Of the last command."""
        return f"{self.name}-{self.commands}"

    def end(self) -> int:
        """Wait for the command; its exit code."""
        assert self.process is not None
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            end_group(self.process)
            pytest.fail(f"{self.name} does not end: {self.said()}")
        if code < 0:  # killed, or interrupted before it listened
            return code
        said = self.said()
        assert not any(word in said for word in UNSAID), said
        if code > 0 and code != 130:
            assert any(word in said for word in SAID), (code, said)
        return code

    def said(self) -> str:
        """Output of the last command."""
        return self.site.log(self.log_name)

    def files(self) -> dict[str, bytes]:
        """The volume as it is."""
        if not self.volume.startswith("gs://"):
            return shard_files(Path(self.volume))
        bucket, _, prefix = self.volume.removeprefix("gs://").partition("/")
        return {
            name.removeprefix(f"{prefix}/"): self.site.server.object(bucket, name).data
            for name in self.site.server.names(bucket)
            if name.startswith(f"{prefix}/") and ".tmp-" not in name
        }


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export, on the disk."""
    return make_workspace(
        tmp_path_factory.mktemp("hostile").resolve() / "work", SIZE, scales=2, tiers="0.5,1"
    )


@pytest.fixture(scope="module")
def reference(workspace: Workspace) -> dict[str, bytes]:
    """The volume of an undisturbed run."""
    options = ("--scales", "0", "--downres", "1", "--wait", "--queue", "sqlite:calm/queue.db")
    with in_process_fleets():
        done = workspace.run(*workspace.enqueue_command(*options, dest="calm/volume"))
    assert done.returncode == 0, done.stderr
    return shard_files(workspace.folder / "calm" / "volume")


@pytest.fixture(params=["sqlite", "pubsub"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty queue on each broker."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path.resolve()}/queue/queue.db"
    request.getfixturevalue("pubsub_emulator")
    url = new_queue_url()
    make_topology(url, TIERS["pubsub"])
    return url


@pytest.fixture(params=["local", "gs"])
def site(  # noqa: PLR0917 - fixtures
    request: pytest.FixtureRequest,
    workspace: Workspace,
    gcs: GcsServer,
    bucket: str,
    queue: str,
    tmp_path: Path,
) -> Iterator[Site]:
    """A fleet whose ledgers are on the disk or in a bucket, and the export in both."""
    folder = tmp_path.resolve()
    for name in ("export", "spec.json"):
        (folder / name).symlink_to(workspace.folder / name)
    for path in sorted((workspace.export / "s0").iterdir()):
        gcs.state.put(bucket, f"export/s0/{path.name}", path.read_bytes(), {}, {})
    state = f"{folder}/state" if request.param == "local" else f"gs://{bucket}/state"
    (folder / "queue").mkdir()
    kind = queue.partition(":")[0]
    tiers, lease_s = TIERS[kind], LEASE_S[kind]
    broker = open_broker(queue, tiers, lease_s)
    local = [folder / name for name in ("volumes", "state", "queue")]
    made = Site(folder, queue, state, gcs, broker, local, environment(gcs, lease_s), tiers)
    yield made
    made.close()


def make_round(site: Site, bucket: str, number: int, generator: random.Random) -> Round:
    """Source and destination on the disk or in a bucket."""
    source = generator.choice(("export", f"gs://{bucket}/export"))
    place = generator.choice((f"{site.folder}/volumes", f"gs://{bucket}/volumes"))
    volume = f"{place}/{number}"
    arguments = ["producer", "enqueue", "--source", source, "--dest", volume]
    arguments += [
        "--spec",
        "spec.json",
        "--tiers",
        tiers_option(site.tiers),
        "--scales",
        "0",
        "--downres",
        "1",
    ]
    arguments += ["--wait", "--queue", site.queue, "--state", site.state]
    return Round(f"round{number}", site, volume, arguments)


def disturb(site: Site, rounds: list[Round], seed: int, counts: Counter[str]) -> list[int]:
    """Start the commands of all rounds, act on them for a while; their exit codes."""
    commands: list[subprocess.Popen[bytes]] = []
    chaos = Chaos(site, seed, commands)
    commands.extend(one.start(chaos.rules()) for one in rounds)
    chaos.start()
    until_s = time.monotonic() + FAULTS_S
    while time.monotonic() < until_s and any(command.poll() is None for command in commands):
        time.sleep(0.05)
    chaos.stop()
    counts.update(chaos.counts)
    return [one.end() for one in rounds]


def finish(rounds: list[Round], reference: dict[str, bytes], counts: Counter[str]) -> None:
    """The same commands, without faults; shards that died of kills are requeued, as users do."""
    for one in rounds:
        one.site.fleet()
        one.start()
    for one in rounds:
        code = one.end()
        if code == 1 and "dead-letters" in one.said():
            counts["ends: dead letters"] += 1
            where = ["--dest", one.volume, "--state", one.site.state]
            requeue = ["producer", "dead-letters", "requeue", "--all", *where]
            assert one.site.start(f"{one.name}-requeue", requeue).wait(END_S) == 0
            one.start()
            code = one.end()
        assert code == 0, one.said()
        assert one.files() == reference, one.said()


def test_hostile_chaos(
    site: Site, bucket: str, reference: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every round ends whole, or with what is missing; then whole."""
    ledger = "in a bucket" if "://" in site.state else "on disk"
    kind = f"{site.queue.partition(':')[0]}, ledger {ledger}"
    with capsys.disabled():
        print(f"\nhostile chaos, {kind}: CHAOS_SEED={SEED}")  # noqa: T201 - to run it again
    generator = random.Random(f"{SEED} {kind}")
    counts: Counter[str] = Counter()
    numbers = list(range(ROUNDS // 4))
    site.fleet()
    while numbers:
        batch, numbers = numbers[:AT_ONCE], numbers[AT_ONCE:]
        rounds = [make_round(site, bucket, number, generator) for number in batch]
        codes = disturb(site, rounds, generator.randrange(1 << 30), counts)
        for one, code in zip(rounds, codes, strict=True):
            counts[f"ends: {code}"] += 1
            assert code or one.files() == reference, one.said()
        finish([one for one, code in zip(rounds, codes, strict=True) if code], reference, counts)
    for said in site.fleet_logs():
        assert "Traceback" not in said, said[-3000:]
    with capsys.disabled():
        for what, count in sorted(counts.items()):
            print(f"  {what:<28}{count:>6}")  # noqa: T201 - the result
