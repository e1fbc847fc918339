"""Records of shards that the plan lacks: each command tells of them and goes on."""

import json

import pytest

from delivery.ledger.run import Heartbeat, Run, newest_run
from delivery.messages import now
from tests.support.ledgers import fail, receipt
from tests.support.workspace import Workspace, converted_workspace

KEY = "s0/beef"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run that made everything, with records of a shard that it never had."""
    made = converted_workspace(tmp_path_factory.mktemp("unplanned") / "workspace")
    run = run_of(made)
    fail(run, KEY)
    run.receipts.put(receipt(KEY))
    run.raise_redo([KEY])
    run.mark_published(KEY)
    run.write_heartbeat(Heartbeat(worker="w-9", tier="512mi", key=KEY, at=now()))
    run.state.write("unreadable/x.json", b"\xff")
    return made


def run_of(workspace: Workspace) -> Run:
    """The newest run, read anew."""
    run = newest_run(f"{workspace.volume}.runs")
    assert run is not None
    return run


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "--json"],
        ["errors"],
        ["errors", "--json", "--details"],
        ["report", "--out", "report.html"],
        ["runs"],
        ["runs", "--json"],
        ["dead-letters", "list"],
        ["dead-letters", "list", "--json"],
        ["dead-letters", "show", KEY],
        ["dead-letters", "requeue", "--all"],
        ["replay", "--missing"],
        ["replay", "--failed"],
        ["verify", "--deep"],
    ],
    ids=" ".join,
)
def test_commands_tell_of_it_and_go_on(workspace: Workspace, command: list[str]) -> None:
    """One line, and the exit code of a run without it."""
    done = workspace.of_run(*command)
    assert done.returncode == 0, done
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert len([note for note in notes if KEY in note]) == 1, done.stderr
    assert "that the plan lacks, passed over" in done.stderr


def test_counts_are_those_of_the_plan(workspace: Workspace) -> None:
    """Nothing of it is counted, nor shown as in work."""
    document = json.loads(workspace.of_run("status", "--json").stdout)
    assert KEY not in document["shards"]
    assert (document["done"], document["succeeded"], document["in_flight"]) == (14, True, [])
    assert sorted(document["unplanned"]) == [
        f"failed/{KEY}",
        f"receipts/{KEY}",
        f"redo/{KEY}",
        f"workers/w-9 ({KEY})",
    ]


def test_the_same_command_again_continues(workspace: Workspace) -> None:
    """Nothing is made for it."""
    done = workspace.enqueue("--wait")
    assert done.returncode == 0, done


def test_requeue_names_it_and_takes_the_others(workspace: Workspace) -> None:
    """A shard of the plan beside it is published."""
    run = run_of(workspace)
    known = next(run.plan.rows(0)).key
    run.raise_redo([known])
    fail(run, known, redo=1, at=now())
    done = workspace.of_run("dead-letters", "requeue", KEY, known)
    assert done.returncode == 1
    assert f"1 shard published again: {known}" in done.stdout
    assert f"failed/{KEY}" in done.stderr
    assert workspace.enqueue("--wait").returncode == 0


def test_drop_removes_its_record(workspace: Workspace) -> None:
    """The way on that the note names; the run is not given up for it."""
    run = run_of(workspace)
    fail(run, "s0/dead")
    done = workspace.of_run("dead-letters", "drop", "s0/dead")
    assert done.returncode == 0
    assert run_of(workspace).failures.get("s0/dead") is None
    assert workspace.of_run("verify").returncode == 0
