"""Model of a careless user: exit code 0 means that the volume equals the export as it is now.

Commands, planner, ledger, queue, worker and conversion are the real ones, within one process. The
machine decides what happens to the export, to the volume and to a run under way, how places are
spelled and which options are given. After each `enqueue --wait` either every scale that it makes
equals an independent vote on the source, or it ended with another exit code and a text that names
what is missing; `verify` right after ends with 0 if and only if the voxels are equal.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.changing_export import (
    INFO,
    NAMES,
    VERSIONS,
    ChangingExport,
    ExportVersions,
)
from tests.support.commands import CommandResult, run_in_process
from tests.support.in_process_fleet import in_process_fleets
from tests.support.volumes import tensorstore_voxels
from tests.support.votes_reference import numpy_votes
from tests.support.workspace import clean_environment

SCALES = len(INFO["scales"])
SPELLINGS = ("{0}", "./{0}", "{0}/", "x/../{0}", "link-{0}", "{1}/{0}", "{1}/x/../link-{0}")
DOWNRES = ("1,2", "1,2", "1,2", "1", "none")

# A failure is as telling without being made smaller, which takes minutes.
PHASES = tuple(Phase) if os.environ.get("CARELESS_SHRINK") else (Phase.explicit, Phase.generate)

names = st.sampled_from(NAMES)
spellings = st.sampled_from(SPELLINGS)


@cache
def export_versions() -> ExportVersions:
    """Versions of all files, written once."""
    return ExportVersions.write(Path(tempfile.mkdtemp(prefix="export-versions-")))


class Interruption:
    """What happens to a run at its n-th step: Ctrl-C, or a change of the export."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self._left = at
        self._act = act
        self.happened = False

    def step(self, _name: str) -> None:
        """Count a step of the fleet."""
        self._left -= 1
        if self._left == 0:
            self.happened = True
            self._act()


def press_ctrl_c() -> None:
    """Interrupt the command."""
    raise KeyboardInterrupt


class CarelessUser(RuleBasedStateMachine):
    """Export, volume and the commands of a user."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="whole-or-told-"))
        (self.folder / "export" / "s0").mkdir(parents=True)
        (self.folder / "x").mkdir()
        (self.folder / "spec.json").write_text(json.dumps(INFO))
        for name in ("out", "export"):
            (self.folder / f"link-{name}").symlink_to(name)
        (self.folder / "out").mkdir()
        self.export = ChangingExport(self.folder / "export", export_versions())
        self.vouched = False  # shards that are not what the export makes were adopted

    def teardown(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder)

    # -- the export

    @initialize(there=st.lists(names, min_size=1, unique=True), version=st.sampled_from(VERSIONS))
    def begin(self, there: list[str], version: int) -> None:
        """Some files are there when the user begins."""
        for name in there:
            self.export.put(name, version)

    @rule(name=names, version=st.sampled_from(VERSIONS))
    def put(self, name: str, version: int) -> None:
        """A file arrives late, or is exported again, which mends it."""
        self.export.put(name, version)

    @rule(name=names)
    def remove(self, name: str) -> None:
        """A file goes."""
        self.export.remove(name)

    @precondition(lambda self: self.export.sound)
    @rule(
        data=st.data(),
        how=st.sampled_from(["lose_index", "lose_arrow", "leave_part", "damage_chunk", "cut"]),
    )
    def break_file(self, data: st.DataObject, how: str) -> None:
        """A file is lost in part, or damaged."""
        getattr(self.export, how)(data.draw(st.sampled_from(sorted(self.export.sound))))

    # -- the volume

    @precondition(lambda self: self.shards())
    @rule(data=st.data(), cut=st.booleans())
    def harm_shard(self, data: st.DataObject, cut: bool) -> None:
        """A shard file is cut or deleted."""
        shard = data.draw(st.sampled_from(self.shards()))
        if cut:
            shard.write_bytes(shard.read_bytes()[:-3])
        else:
            shard.unlink()

    @precondition(lambda self: (self.folder / "out.runs").exists())
    @rule()
    def forget(self) -> None:
        """The ledger is lost, so that nobody knows what the shards were made from."""
        shutil.rmtree(self.folder / "out.runs")
        (self.folder / "queue.db").unlink(missing_ok=True)

    def shards(self) -> list[Path]:
        """All shard files."""
        return sorted((self.folder / "out").rglob("*.shard"))

    # -- commands

    @rule(
        dest=spellings,
        source=spellings,
        downres=st.sampled_from(DOWNRES),
        options=st.sets(st.sampled_from(["--partial", "--overwrite", "--new-run", "skip"])),
        adopt=st.booleans(),
    )
    def enqueue(self, dest: str, source: str, downres: str, options: set[str], adopt: bool) -> None:
        """Convert and wait; then verify."""
        more = [*options - {"skip"}, *(["--adopt"] if adopt else [])]
        more += ["--bad-chunks", "skip"] if "skip" in options else []
        self.check(self.launch(dest, source, downres, *more), downres)

    @rule(dest=spellings, source=spellings, downres=st.sampled_from(DOWNRES))
    def enqueue_plainly(self, dest: str, source: str, downres: str) -> None:
        """The command that most people use."""
        done = self.launch(dest, source, downres)
        self.check(done, downres)
        if not self.export.problems and self.export.present and "no known run" not in done.stderr:
            assert done.returncode == 0, done

    @rule(at=st.integers(1, 12), dest=spellings)
    def enqueue_and_interrupt(self, at: int, dest: str) -> None:
        """Ctrl-C in the middle, before or after an output appeared."""
        event = Interruption(at, press_ctrl_c)
        done = self.launch(dest, "export", "1,2", event=event)
        if event.happened:
            assert done.returncode == 130, done
        self.check(done, "1,2")

    @rule(
        at=st.integers(1, 12),
        name=names,
        version=st.sampled_from([*VERSIONS, None]),
        downres=st.sampled_from(DOWNRES),
    )
    def enqueue_while_it_changes(
        self, at: int, name: str, version: int | None, downres: str
    ) -> None:
        """A file arrives, changes or goes while the run is under way."""

        def change() -> None:
            if version is None:
                self.export.remove(name)
            else:
                self.export.put(name, version)

        done = self.launch("out", "export", downres, event=Interruption(at, change))
        self.check(done, downres, changing=(name,))

    @rule(downres=st.sampled_from(["1", "2", "1,2"]))
    def downsample(self, downres: str) -> None:
        """Coarser scales alone: they equal the votes on what is there."""
        dest = ("--dest", "out", "--scales", "none", "--downres", downres, "--tiers", "0.5,1")
        with in_process_fleets():
            done = self.run("enqueue", *dest, "--wait", "--queue", "sqlite:queue.db")
        if done.returncode:
            assert done.stderr.startswith("error: ") or "lost" in done.stdout, done
            return
        first = min(map(int, downres.split(",")))
        self.compare_votes(range(first, 1 + max(map(int, downres.split(",")))))

    def run(self, *arguments: str) -> CommandResult:
        """Run a command of the producer."""
        return run_in_process(
            "producer", *arguments, folder=self.folder, environment=clean_environment()
        )

    def launch(
        self,
        dest: str,
        source: str,
        downres: str,
        *more: str,
        event: Interruption | None = None,
    ) -> CommandResult:
        """Run `enqueue --wait`."""
        scales = ("--scales", "0", "--downres", downres, "--queue", "sqlite:queue.db")
        places = ("--source", self.spelled(source, "export"), "--dest", self.spelled(dest, "out"))
        with in_process_fleets(event.step if event else lambda _: None):
            done = self.run(
                *("enqueue", *places, "--spec", "spec.json", "--tiers", "0.5,1", "--wait"),
                *(*scales, *more),
            )
        if "--overwrite" in more and done.returncode == 0:
            self.vouched = False
        elif "--adopt" in more and "adopted" in done.stdout:
            self.vouched = True
        return done

    def spelled(self, spelling: str, name: str) -> str:
        """One of the names of a place."""
        return spelling.format(name, self.folder)

    # -- what must hold

    def check(self, done: CommandResult, downres: str, changing: tuple[str, ...] = ()) -> None:
        """Equal and exit code 0, or told; and `verify` says the same."""
        problems = self.export.problems
        if done.returncode == 0:
            assert self.vouched or not problems, (done, problems)
            made = [0, *(int(s) for s in downres.split(",") if s != "none")]
            assert self.vouched or self.differing(made) == [], (done, made)
        elif done.returncode != 130:
            assert done.returncode in (1, 2), done
            self.check_told(done, changing)
        if not (self.folder / "out.runs").exists():
            return
        verified = self.run("verify", "--dest", "out", "--json")
        scales = verified.document["scales"] if verified.stdout else list(range(SCALES))
        if verified.returncode == 0:
            trusted = self.vouched or not self.export.present  # a note: no export to compare with
            assert trusted or not problems, (verified, problems)
            assert trusted or self.differing(scales) == [], (done, verified)
        elif done.returncode == 0 and downres == "1,2":
            raise AssertionError((done, verified.stdout))

    def check_told(self, done: CommandResult, changing: tuple[str, ...]) -> None:
        """An error names a broken file, or says what else is in the way."""
        said = done.stderr + done.stdout
        told = [*self.export.problems.values(), *changing]
        if not self.export.present:
            told.append("*.arrow files")
        other = ("no known run", "did not decode: s0/", ".shard: ")
        named = [text for text in (*told, *other) if text in said]
        assert named, (done, told)

    def differing(self, scales: list[int]) -> list[int]:
        """Scales that are not what the export makes now."""
        return [s for s in scales if not np.array_equal(self.volume(s), self.export.voxels(s))]

    def compare_votes(self, scales: range) -> None:
        """Coarse scales are the votes on the scale before."""
        for scale in scales:
            votes = numpy_votes(self.volume(scale - 1), (2, 2, 2), nonzero=False)
            assert np.array_equal(self.volume(scale), votes), scale

    def volume(self, scale: int) -> np.ndarray:
        """Voxels by TensorStore."""
        return np.asarray(tensorstore_voxels(self.folder / "out", scale))


def run_machine(examples: int, steps: int) -> None:
    """Run the machine; a failure prints its steps.

    The same users each time, unless CARELESS_USERS asks for that many others.
    """
    others = os.environ.get("CARELESS_USERS")
    run_state_machine_as_test(
        CarelessUser,
        settings=settings(
            max_examples=int(others or examples),
            derandomize=not others,
            database=None,
            stateful_step_count=steps,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def user() -> Iterator[CarelessUser]:
    """A user with one file of an export."""
    careless = CarelessUser()
    careless.export.put(NAMES[0], 0)
    yield careless
    careless.teardown()


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_file_that_comes_or_changes_during_a_run_is_named(user: CarelessUser, name: str) -> None:
    """Exit code 1 with the file; the same command makes what it touches."""
    change = Interruption(3, lambda: user.export.put(name, 1))
    done = user.launch("out", "export", "1,2", event=change)
    assert done.returncode == 1
    assert "changed while the run was under way: s0/" in done.stderr
    assert f"s0/{name}.arrow" in done.stderr
    again = user.launch("out", "export", "1,2")
    assert again.returncode == 0, again
    assert user.differing([0, 1, 2]) == []


def test_what_is_left_of_an_export_is_a_finding(user: CarelessUser) -> None:
    """An export without any whole file is no reference; one that was tidied away is a note."""
    assert user.launch("out", "export", "1,2").returncode == 0
    user.export.lose_arrow(NAMES[0])
    verified = user.run("verify", "--dest", "out")
    assert verified.returncode == 1
    assert f"s0/{NAMES[0]}.csv: an index without its Arrow file" in verified.stdout
    user.export.remove(NAMES[0])
    tidied = user.run("verify", "--dest", "out")
    assert tidied.returncode == 0, tidied
    assert "not with the export" in tidied.stderr


@pytest.mark.timeout(600)
def test_whole_or_told() -> None:
    """A few careless users."""
    run_machine(12, 12)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whole_or_told_at_length() -> None:
    """Many."""
    run_machine(60, 30)
