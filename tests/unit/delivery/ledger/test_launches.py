"""Launches: one run after the other begins, whoever dies in between."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from delivery.ledger import plan as plans
from delivery.ledger.launches import FOLDER, LaunchedMeanwhile, Launches
from delivery.ledger.overview import RUN
from delivery.ledger.plan import Plan
from delivery.ledger.run import Run, RunInfo, list_runs
from runtime.errors import UsageError
from tests.support.ledgers import finish, info, pyramid

PLAN = Plan.of(pyramid(), (0, 1, 2))


def about(run_id: str, dest: str = "/volume") -> RunInfo:
    """Settings of a run that has a token."""
    return info(run_id=run_id, dest=dest, token=f"token of {run_id}")


def ids(state: Path) -> list[str]:
    """The runs below a state root."""
    return sorted(run.run_id for run in list_runs(str(state)))


def test_a_run_begins_with_plan_and_settings(tmp_path: Path) -> None:
    """The folder holds what a run has, and nothing else."""
    launches = Launches(str(tmp_path))
    run = launches.begin(about("a"), PLAN, launches.settle())
    assert (run.info.token, len(run.plan)) == ("token of a", len(PLAN))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [plans.PATH, RUN]
    assert launches.newest() == 1


def test_of_launches_that_saw_the_same_one_goes_on(tmp_path: Path) -> None:
    """Eight at once: one run; the others are to look again."""
    after = Launches(str(tmp_path)).settle()

    def begin(number: int) -> bool:
        try:
            Launches(str(tmp_path)).begin(about(f"r{number}"), PLAN, after)
        except LaunchedMeanwhile:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1
    assert len(ids(tmp_path)) == 1


def test_of_equal_ids_one_goes_on(tmp_path: Path) -> None:
    """The others look again, whatever they find in the folder, and then see it taken."""
    after = Launches(str(tmp_path)).settle()

    def begin(_: int) -> bool:
        try:
            Launches(str(tmp_path)).begin(about("r"), PLAN, after)
        except LaunchedMeanwhile:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1
    launches = Launches(str(tmp_path))
    with pytest.raises(UsageError, match="there is a run r already"):
        launches.begin(about("r"), PLAN, launches.settle())


def test_runs_of_other_destinations_do_not_meet(tmp_path: Path) -> None:
    """A hundred volumes below one state root are enqueued at once."""
    after = Launches(str(tmp_path)).settle()
    for number in range(3):
        Launches(str(tmp_path)).begin(about(f"r{number}", f"/volume{number}"), PLAN, after)
    assert ids(tmp_path) == ["r0", "r1", "r2"]


@pytest.mark.parametrize("died_at", ["cancel", "write", "create", "delete"])
def test_a_launch_that_died_is_completed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_at: str
) -> None:
    """At whatever step: it happened, with the plan it had, and what it cancels is cancelled."""
    launches = Launches(str(tmp_path))
    old = launches.begin(about("old"), PLAN, launches.settle())

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if died_at == "cancel":
            patched.setattr(Run, "cancel", die)
        else:
            patched.setattr(type(old.storage), died_at, _only_in(tmp_path / "new", died_at, old))
        with pytest.raises(KeyboardInterrupt):
            launches.begin(about("new"), PLAN, 1, {"old": "new overwrites it", "gone": "?"})
    assert ids(tmp_path) == (["new", "old"] if died_at == "delete" else ["old"])
    assert Launches(str(tmp_path)).settle() == 2
    assert ids(tmp_path) == ["new", "old"]
    assert Run(old.uri).cancelled() is not None
    assert len(Run.open(str(tmp_path / "new")).plan) == len(PLAN)


def _only_in(folder: Path, name: str, run: Run) -> object:
    """The method of a storage, which dies where it would touch plan.arrow or run.json."""
    real = getattr(type(run.storage), name)

    def method(self: object, path: str, *rest: object) -> object:
        wanted = {"write": plans.PATH, "create": RUN}.get(name)
        if str(self.root) == str(folder) and wanted in {None, path}:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return real(self, path, *rest)

    return method


def test_a_launch_that_died_before_its_turn_is_nothing(tmp_path: Path) -> None:
    """A plan alone is no run; the same id serves the next command."""
    PLAN.write(Run(str(tmp_path / "a")).storage, "plan-left.arrow")
    PLAN.write(Run(str(tmp_path / "a")).storage)
    launches = Launches(str(tmp_path))
    assert launches.settle() == 0
    assert ids(tmp_path) == []
    launches.begin(about("a"), PLAN, 0)
    assert ids(tmp_path) == ["a"]


def test_a_folder_that_was_removed_stays_removed(tmp_path: Path) -> None:
    """A launch is completed once; who removes the run's folder starts over."""
    launches = Launches(str(tmp_path))
    run = launches.begin(about("a"), PLAN, 0)
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    assert launches.settle() == 1
    assert not run.planned()


def test_what_an_earlier_run_left_in_the_folder_is_named(tmp_path: Path) -> None:
    """Its receipts and its cancellation are not the new run's."""
    launches = Launches(str(tmp_path))
    run = launches.begin(about("a"), PLAN, 0)
    run.cancel("so it is")
    (tmp_path / "a" / RUN).unlink()
    with pytest.raises(UsageError, match=r"holds what an earlier run .* cancelled\.json"):
        launches.begin(about("a"), PLAN, launches.settle())


def test_a_damaged_launch_stops_no_other(tmp_path: Path) -> None:
    """It is of no run that could be made; the number is used up."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "00000001.json").write_bytes(b"{")
    (tmp_path / FOLDER / "notes").write_bytes(b"")
    launches = Launches(str(tmp_path))
    launches.begin(about("a"), PLAN, launches.settle())
    launches.begin(about("b", "/other"), PLAN, 0)
    assert ids(tmp_path) == ["a", "b"]


def test_receipts_of_an_earlier_run_of_the_id_do_not_count(tmp_path: Path) -> None:
    """A worker of that run may write one late; the new run's own takes its place."""
    launches = Launches(str(tmp_path))
    run = launches.begin(about("a"), PLAN, 0)
    finish(run, "s0/00", run_token="earlier", redo=5)  # noqa: S106 - a run's
    assert run.receipts.list() == {}
    assert run.receipts.get("s0/00") is None
    assert run.receipts.summary("s0/00") is None
    finish(run, "s0/00", run_token=run.info.token)
    finish(run, "s0/01")  # of version 0.1.0, which has no tokens
    assert sorted(run.receipts.list()) == ["s0/00", "s0/01"]


def test_a_run_knows_that_another_took_its_id(tmp_path: Path) -> None:
    """By its token; and it knows when it is gone."""
    launches = Launches(str(tmp_path))
    run = launches.begin(about("a"), PLAN, 0)
    assert not run.replaced()
    text = (tmp_path / "a" / RUN).read_text()
    (tmp_path / "a" / RUN).write_text(text.replace("token of a", "another"))
    assert run.replaced()
    (tmp_path / "a" / RUN).unlink()
    assert run.replaced()


@pytest.mark.parametrize(
    "change",
    [
        {"plan": "../plan.arrow"},
        {"info": {"run_id": "../../x", "dest": "/volume"}},
        {"info": {}},
        {"cancels": {"../other": "why"}},
    ],
)
def test_a_launch_that_leads_elsewhere_is_of_no_run(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """It stops no other run, and nothing is made where it points."""
    state = tmp_path / "a" / "state"
    launches = Launches(str(state))
    launches.begin(about("a"), PLAN, launches.settle())
    file = state / FOLDER / "00000002.json"
    known = json.loads((state / FOLDER / "00000001.json").read_bytes())
    file.write_text(json.dumps(known | change))
    run = launches.begin(about("b"), PLAN, launches.settle())
    assert run.planned()
    assert ids(state) == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
