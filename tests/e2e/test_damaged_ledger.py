"""Damage to the ledger: one plain line, no promise of what is not there, no other run concerned."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.ledger.lost_leases import LostLeases
from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.trouble import Trouble, write_trouble
from delivery.messages import now
from tests.support.commands import CommandResult
from tests.support.damage import DAMAGES, JSON_DAMAGES, Damage, Snapshot
from tests.support.ledgers import fail
from tests.support.workspace import Workspace, make_workspace

READING = (
    ("runs",),
    ("runs", "--json"),
    ("status",),
    ("errors",),
    ("report", "--out", "report.html"),
    ("verify",),
    ("dead-letters", "list"),
    ("replay", "--missing"),
    ("cancel",),
)
LAUNCHES = "../.launches"  # beside the runs
ALWAYS_TOLD = ("run.json", "plan.arrow", "queue.json", "redo", "receipts", "failed")
SPARED = ("workers", "published", "cancelled.json", "lost-leases", "trouble.json", LAUNCHES)
JSON = (
    *("run.json", "queue.json", "cancelled.json", "redo", "receipts", "failed", "workers"),
    *("trouble.json", LAUNCHES),
)
QUICK = (("status",), ("runs",))


@dataclass(frozen=True)
class TwoRuns:
    """A workspace with a run that is to be damaged, and a sound one below the same state root."""

    workspace: Workspace
    snapshot: Snapshot

    @property
    def hurt(self) -> Run:
        """The run to be damaged."""
        return Run(str(self.workspace.folder / "runs" / "hurt"))

    def file(self, name: str) -> Path:
        """A file of the run: by its name, or the first in the folder of this name."""
        path = Path(self.hurt.uri) / name
        return next(iter(sorted(one for one in path.rglob("*") if one.is_file())), path)

    def run(self, *command: str, run: str = "hurt") -> CommandResult:
        """Run a command of `producer` about a run; `runs` lists all."""
        named = () if command[0] == "runs" else ("--run", run)
        return self.workspace.run(*command, *named, "--state", "runs")

    def enqueue(self, dest: str, *more: str) -> CommandResult:
        """Enqueue below the same state root."""
        common = ("--scales", "0", "--downres", "1", "--queue", "sqlite:queue.db")
        command = self.workspace.enqueue_command(*common, "--state", "runs", *more, dest=dest)
        return self.workspace.run(*command)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    """Two finished runs; one has every kind of object that a run can have."""
    folder = tmp_path_factory.mktemp("damaged") / "w"
    workspace = make_workspace(folder, (128, 64, 64), scales=2, tiers="0.5")
    runs = TwoRuns(workspace, Snapshot(folder))
    for dest, run_id in (("out", "hurt"), ("other", "sound")):
        done = runs.enqueue(dest, "--run-id", run_id, "--wait")
        assert done.returncode == 0, done.stderr
    hurt = runs.hurt
    hurt.move(hurt.queue)
    hurt.write_heartbeat(Heartbeat(worker="w1", tier="512mi", at=now()))
    hurt.raise_redo([next(iter(hurt.plan.rows(0))).key])
    fail(hurt, next(iter(hurt.plan.rows(1))).key)
    hurt.mark_published(next(iter(hurt.plan.rows(1))).key)
    LostLeases(hurt.storage).add("s0/0", "w1")
    write_trouble(hurt.storage, Trouble(key="s0/0", worker="w1", at=now(), reason="full"))
    return TwoRuns(workspace, Snapshot(folder))


@pytest.fixture
def runs(prepared: TwoRuns) -> Iterator[TwoRuns]:
    """The same, put back afterwards."""
    yield prepared
    prepared.snapshot.restore()


def cases() -> Iterator[tuple[str, str, Damage]]:
    """Each kind of object with each damage."""
    for name in (*ALWAYS_TOLD, *SPARED):
        for way, damage in {**DAMAGES, **(JSON_DAMAGES if name in JSON else {})}.items():
            if (name, way) != ("redo", "directory"):  # no sign is left of what was requested
                yield name, way, damage


CASES = list(cases())
IDS = [f"{name}-{way}".replace(" ", "_") for name, way, _ in CASES]


@pytest.mark.parametrize(("name", "way", "damage"), CASES, ids=IDS)
def test_damage_is_one_line(runs: TwoRuns, name: str, way: str, damage: Damage) -> None:
    """No traceback, one error line with a hint, and no success of a run that cannot be read."""
    file = _damage(runs, name, damage)
    for command in QUICK:
        _check_plain(runs.run(*command), command)
    looked = runs.run("status", "--json")
    if looked.returncode == 0:
        assert name in SPARED or not looked.document["succeeded"], (name, way)
        assert name in SPARED or "directory" in way, (name, way)
    elif name != "run.json" or "directory" not in way:
        assert file.name in looked.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way", "damage"), CASES, ids=IDS)
def test_no_command_ends_in_a_traceback(runs: TwoRuns, name: str, way: str, damage: Damage) -> None:
    """Every command that reads the ledger, on a damaged run; then the same enqueue again."""
    del way
    _damage(runs, name, damage)
    for command in READING:
        _check_plain(runs.run(*command), command)
        runs.snapshot.restore()
        _damage(runs, name, damage)
    _check_plain(runs.enqueue("out"), ("enqueue",))
    _check_plain(runs.enqueue("out", "--overwrite", "--dry-run"), ("enqueue", "--overwrite"))
    _check_sound(runs)


@pytest.mark.parametrize("name", [*ALWAYS_TOLD, *SPARED])
def test_other_runs_go_on(runs: TwoRuns, name: str) -> None:
    """Commands about another run below the same state root work as ever."""
    _damage(runs, name, DAMAGES["garbage"])
    _check_sound(runs)


@pytest.mark.parametrize("name", ["run.json", "plan.arrow", "receipts", "redo", "queue.json"])
def test_a_fleet_makes_the_other_runs(runs: TwoRuns, name: str) -> None:
    """A fleet of the state root passes over a damaged run, says so, and finishes the others."""
    assert runs.enqueue("third", "--run-id", "third").returncode == 0
    _damage(runs, name, DAMAGES["empty"])
    fleet = runs.workspace.run_subprocess(
        *("fleet", "--until-drained", "--state", "runs", "--queue", "sqlite:queue.db"),
        *("--memory", "1GiB", "--cpus", "1"),
        program="consumer",
    )
    _check_plain(fleet, ("fleet",))
    assert runs.file(name).name in fleet.stderr
    assert runs.run("status", "--json", run="third").document["succeeded"]


@pytest.mark.parametrize("name", ["run.json", "plan.arrow", "redo"])
def test_a_fleet_of_a_damaged_run_does_not_end_in_peace(runs: TwoRuns, name: str) -> None:
    """The fleet of one run says what is damaged and ends with another code than 0."""
    _damage(runs, name, DAMAGES["empty"])
    fleet = runs.workspace.run_subprocess(
        *("fleet", "--until-drained", "--run", runs.hurt.uri, "--memory", "1GiB"),
        program="consumer",
    )
    _check_plain(fleet, ("fleet",))
    assert fleet.returncode == 1
    assert f"{runs.file(name).name} is damaged" in fleet.stderr


def test_a_damaged_note_still_cancels(runs: TwoRuns) -> None:
    """A run whose cancellation cannot be read makes nothing, and says why."""
    file = _damage(runs, "cancelled.json", DAMAGES["empty"])
    shown = runs.run("status")
    assert shown.returncode == 0
    assert f"cancelled ({file.name} is damaged" in shown.stdout


def test_what_is_in_the_way_of_a_cancellation_is_told(runs: TwoRuns) -> None:
    """A folder in place of the note does not cancel, so `cancel` does not claim it."""
    Path(runs.hurt.uri, "cancelled.json").mkdir()
    done = runs.run("cancel")
    assert done.returncode == 1
    assert "cancelled.json is damaged (it is not a file)" in done.stderr


def test_the_newest_run_that_can_be_read_is_called_so(runs: TwoRuns) -> None:
    """Without --run a damaged run is noted in words, since it may be the one that was meant."""
    _damage(runs, "run.json", DAMAGES["empty"])
    done = runs.workspace.run("status", "--state", "runs")
    assert done.returncode == 0, done.stderr
    assert "run sound (the newest that can be read)" in done.stderr
    (note,) = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: run hurt: ")
    assert "run.json is damaged (Invalid JSON: " in note


def test_verify_names_a_damaged_run_of_the_destination(runs: TwoRuns) -> None:
    """A damaged earlier run is a finding; the volume is compared with what is known."""
    again = runs.enqueue("out", "--run-id", "again", "--overwrite", "--wait")
    assert again.returncode == 0, again.stderr
    _damage(runs, "plan.arrow", DAMAGES["cut"])
    done = runs.run("verify", run="again")
    assert done.returncode == 1
    assert "run hurt: " in done.stdout


def _damage(runs: TwoRuns, name: str, damage: Damage) -> Path:
    file = runs.file(name)
    if not file.exists():
        file.write_text('{"at": "2024-05-06T07:00:00Z", "why": "no more"}')
    damage(file)
    return file


def _check_plain(done: CommandResult, command: tuple[str, ...]) -> None:
    """No traceback; a failure has exactly one error line, and a hint."""
    assert "Traceback" not in done.stderr, (command, done.stderr)
    assert "a bug" not in done.stderr, (command, done.stderr)
    assert done.returncode in {0, 1, 2, 3}, (command, done.returncode)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode:
        assert len(errors) == 1 or done.stdout, (command, done.stderr)
        assert not errors or "hint: " in done.stderr, (command, done.stderr)


def _check_sound(runs: TwoRuns) -> None:
    """The sound run is shown and verified, another destination is planned."""
    listed = {facts["run"]: facts["state"] for facts in runs.run("runs", "--json").document}
    assert listed["sound"] == "done"
    assert runs.run("status", "--json", run="sound").document["succeeded"]
    checked = runs.run("verify", run="sound")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    planned = runs.enqueue("fourth", "--dry-run")
    assert planned.returncode == 0, planned.stderr
