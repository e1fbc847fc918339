"""A run and its queue: opened before anything is written, moved, found again, or gone."""

import os
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.ledger.run import Heartbeat, Run, find_run
from delivery.messages import now
from tests.support.commands import run_in_process
from tests.support.ledgers import fail
from tests.support.three_shard_run import three_shard_run
from tests.support.workspace import Workspace, error_line, make_small_workspace

SHARDS = 12


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An export of which nothing is made."""
    return make_small_workspace(tmp_path / "workspace")


def enqueue(workspace: Workspace, queue: str, *more: str) -> list[str]:
    """Arguments of an `enqueue` to this queue."""
    return workspace.enqueue_command("--scales", "0", "--queue", queue, *more)


def newest(workspace: Workspace) -> Run:
    """The run of the usual destination."""
    return find_run(str(workspace.folder / "out.runs"))


def waiting(queue: str, run: Run) -> int:
    """Messages that wait in a queue."""
    with open_broker(queue, run.info.tiers, 60) as broker:
        return sum(broker.backlog(tier).waiting or 0 for tier in run.info.tiers)


@pytest.mark.parametrize("queue", ["pubsub://proj/brain", "kafka://x", "sqlite:/proc/q.db"])
def test_a_queue_that_cannot_be_used_leaves_nothing_behind(
    workspace: Workspace, queue: str
) -> None:
    """No run, no info: the right queue then begins afresh."""
    done = workspace.run(*enqueue(workspace, queue))
    assert done.returncode == 2
    assert queue.removeprefix("sqlite:") in error_line(done)
    assert not (workspace.folder / "out").exists()
    assert not (workspace.folder / "out.runs").exists()
    right = workspace.run(*enqueue(workspace, "sqlite:queue.db"))
    assert right.returncode == 0, right.stderr
    assert "continuing" not in right.stdout


def test_a_topic_that_does_not_exist_leaves_nothing_behind(
    workspace: Workspace, pubsub_emulator: str
) -> None:
    """Topics are asked for before the run is written."""
    assert pubsub_emulator
    done = workspace.run(*enqueue(workspace, "pubsub://my-project/brian"))
    assert done.returncode == 3
    assert "has no such topic or subscription" in error_line(done)
    assert not (workspace.folder / "out.runs").exists()


def test_another_queue_moves_a_run(workspace: Workspace) -> None:
    """Its shards are published there, and every command looks there."""
    first, second = (f"sqlite:{workspace.folder}/{name}.db" for name in ("first", "second"))
    assert workspace.run(*enqueue(workspace, first)).returncode == 0
    run = newest(workspace)
    moved = workspace.run(*enqueue(workspace, "sqlite:second.db"))
    assert moved.returncode == 0, moved.stderr
    assert f"note: run {run.run_id} moves from {first} to {second}" in moved.stderr
    assert f"continuing {run.run_id}" in moved.stdout
    assert f"{SHARDS} shards published to {second}" in moved.stdout
    assert (run.queue, run.info.queue) == (second, first)
    assert waiting(second, run) == SHARDS
    status = workspace.of_run("status", "--json").document
    assert status["queue"] == second
    assert status["backlogs"]["512mi"]["waiting"] == SHARDS


def test_without_another_queue_a_run_stays_where_it_is(workspace: Workspace) -> None:
    """The counts printed agree with the queue; the default is not another queue."""
    assert workspace.run(*enqueue(workspace, "sqlite:queue.db")).returncode == 0
    run = newest(workspace)
    again = workspace.run(*workspace.enqueue_command("--scales", "0"))
    assert again.returncode == 0, again.stderr
    assert (
        f"nothing published: {SHARDS} messages of it or other runs in {run.queue}" in again.stdout
    )
    assert waiting(run.queue, run) == SHARDS
    assert not (workspace.folder / ".braid").exists()


@pytest.mark.parametrize("how", ["heartbeat", "lease"])
def test_a_run_in_work_is_not_moved(workspace: Workspace, how: str) -> None:
    """Exit 2, both queues named; nothing is changed."""
    assert workspace.run(*enqueue(workspace, "sqlite:queue.db")).returncode == 0
    run = newest(workspace)
    if how == "heartbeat":
        run.write_heartbeat(Heartbeat(worker="w", tier="512mi", key="s0/0", at=now()))
    else:
        with open_broker(run.queue, run.info.tiers, 60) as broker:
            assert broker.lease("512mi") is not None
    done = workspace.run(*enqueue(workspace, "sqlite:other.db"))
    assert done.returncode == 2
    assert f"is in the queue {run.queue}, where 1 shard of it may be in work" in error_line(done)
    assert f"names sqlite:{workspace.folder}/other.db" in error_line(done)
    assert newest(workspace).queue == run.queue


def test_looking_needs_no_queue(workspace: Workspace) -> None:
    """The ledger is shown, the queue unknown and why; no command makes a new one."""
    assert workspace.run(*enqueue(workspace, "sqlite:queue.db")).returncode == 0
    run = newest(workspace)
    key = next(run.plan.rows()).key
    fail(run, key, reason="cut short. Export this shard again", at=now())
    for file in workspace.folder.glob("queue.db*"):
        file.unlink()
    shown = workspace.of_run("status")
    assert shown.returncode == 0, shown.stderr
    assert f"queue: unknown: there is no {workspace.folder}/queue.db" in shown.stdout
    assert "512mi     11" in shown.stdout
    assert f"1 shard: {key}: cut short" in shown.stdout
    document = workspace.of_run("status", "--json").document
    assert document["queue_unknown"] == f"there is no {workspace.folder}/queue.db"
    assert document["ready_by_tier"] == {"512mi": SHARDS - 1}
    assert document["backlogs"]["512mi"]["waiting"] is None
    for command, code in (
        (["errors"], 1),
        (["dead-letters", "list"], 0),
        (["dead-letters", "show", key], 0),
        (["runs"], 0),
        (["report", "--out", "report.html"], 0),
    ):
        done = workspace.of_run(*command)
        assert (done.returncode, "error:" in done.stderr) == (code, False), done.stderr
    assert not (workspace.folder / "queue.db").exists()


def test_looking_works_after_infra_down(workspace: Workspace, pubsub_emulator: str) -> None:
    """Topics are gone; the ledger is shown, and the queue is unknown for that reason."""
    from tests.support.emulator import make_topology, new_queue_url  # noqa: PLC0415 - Google's client

    assert pubsub_emulator
    queue = new_queue_url()
    make_topology(queue, ("512mi",))
    assert workspace.run(*enqueue(workspace, queue)).returncode == 0
    with_topics = workspace.of_run("status").stdout
    assert "queue: unknown: it does not tell its length" in with_topics
    down = run_in_process("infra", "down", "--yes", "--queue", queue, folder=workspace.folder)
    assert down.returncode == 0, down.stderr
    shown = workspace.of_run("status")
    assert shown.returncode == 0, shown.stderr
    assert f"queue: unknown: {queue} has no such topic or subscription" in shown.stdout
    assert with_topics.splitlines()[:5] == shown.stdout.splitlines()[:5]
    errors = workspace.of_run("errors")
    assert (errors.returncode, errors.stdout) == (0, "no errors\n")


def test_looking_passes_over_a_queue_that_is_damaged(workspace: Workspace) -> None:
    """As for readers without the right to write it."""
    assert workspace.run(*enqueue(workspace, "sqlite:queue.db")).returncode == 0
    for file in workspace.folder.glob("queue.db-*"):
        file.unlink()
    (workspace.folder / "queue.db").write_bytes(b"no database" * 1000)
    shown = workspace.of_run("status")
    assert shown.returncode == 0, shown.stderr
    assert "queue: unknown: the queue" in shown.stdout
    errors = workspace.of_run("errors")
    assert (errors.returncode, errors.stdout) == (0, "no errors\n")
    assert "note: queue: unknown: the queue" in errors.stderr


def test_a_given_queue_must_exist(workspace: Workspace) -> None:
    """What was typed is not passed over."""
    assert workspace.run(*enqueue(workspace, "sqlite:queue.db")).returncode == 0
    assert workspace.of_run("status", "--queue", "kafka://x").returncode == 2


def consumer(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run `python -m consumer ...`; exit code and stderr."""
    known = {k: v for k, v in os.environ.items() if not k.endswith("_PATH") and k != "QUEUE_URL"}
    environment = known | {"LEASE_S": "1"}
    done = run_in_process("consumer", *arguments, folder=folder, environment=environment)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", [["work", "--tier", "1gi"], ["fleet"]])
def test_shards_in_another_queue_end_with_exit_3(tmp_path: Path, command: list[str]) -> None:
    """Never with 0 after a minute of looking at an empty queue."""
    run = three_shard_run(tmp_path)
    options = ["--until-drained", "--dest", "dest", "--queue", "sqlite:other.db"]
    code, stderr = consumer(tmp_path, *command, *options)
    assert code == 3
    assert f"left in queues that were not served: 3 shards of run r1 on {run.queue}" in stderr


def test_a_run_in_another_queue_is_refused(tmp_path: Path) -> None:
    """Exit 2 at once."""
    run = three_shard_run(tmp_path)
    options = ["--until-drained", "--run", run.uri, "--queue", "sqlite:other.db"]
    code, stderr = consumer(tmp_path, "fleet", *options)
    assert code == 2
    assert f"run r1 is in the queue {run.queue}, not in sqlite:{tmp_path}/other.db" in stderr


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_a_fleet_finds_the_queue_of_the_destination(workspace: Workspace) -> None:
    """`--dest` alone, from another folder, leads to the run's queue."""
    assert workspace.run(*enqueue(workspace, "sqlite:queue.db")).returncode == 0
    elsewhere = workspace.folder / "elsewhere"
    elsewhere.mkdir()
    code, stderr = consumer(elsewhere, "fleet", "--until-drained", "--dest", "../out")
    assert code == 0, stderr
    assert not list(elsewhere.iterdir())
    assert workspace.of_run("status", "--json").document["succeeded"]


@pytest.mark.slow  # waits ten seconds
def test_waiting_without_workers_is_told(workspace: Workspace, pubsub_emulator: str) -> None:
    """On Pub/Sub `--wait` starts none, and says so with the command that does."""
    from tests.support.emulator import make_topology, new_queue_url  # noqa: PLC0415 - Google's client

    queue = new_queue_url()
    make_topology(queue, ("512mi",))
    environment = {"PUBSUB_EMULATOR_HOST": pubsub_emulator}
    process = workspace.start(*enqueue(workspace, queue, "--wait"), **environment)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "no workers yet" in line)
        assert f"consumer fleet --run {newest(workspace).uri} --until-drained" in line
    finally:
        process.kill()
        process.wait()
