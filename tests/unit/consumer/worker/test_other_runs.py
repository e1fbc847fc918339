"""A worker and what is not its run's: an id that is used again, bytes of another revision."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.revision_check import check_revisions
from consumer.run_discovery import RunDiscovery
from delivery.dead_letters import drain
from delivery.ledger.output_revision import OUTPUT_REVISION, OtherRevision
from delivery.ledger.overview import RunOverview
from delivery.ledger.run import Run
from delivery.ledger.trouble import read_trouble
from delivery.messages import ShardMessage
from runtime.storage import open_storage
from tests.support.three_shard_run import SMALL, three_shard_run, write_receipt
from tests.support.worker_harness import WorkerHarness, done, worker_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    """A run of two shards and their dependent, nothing published."""
    with worker_harness(tmp_path) as harness:
        yield harness


def start_over(harness: WorkerHarness, **fields: Any) -> Run:  # noqa: ANN401 - of RunInfo
    """Remove the run and plan another of its id, with a token."""
    shutil.rmtree(harness.run.uri)
    run = three_shard_run(harness.folder, token="second", **fields)  # noqa: S106 - a run's
    harness.run = run
    return run


def test_a_message_of_an_earlier_run_of_the_id_is_acked(harness: WorkerHarness) -> None:
    """Nothing is made of it; one of the present run is followed."""
    run = start_over(harness)
    harness.script(s0_0=["wait", done()], s0_1=["wait", done()])
    harness.publish("s0/0", run_token="first")  # noqa: S106 - a run's
    harness.publish("s0/1", run_token="second")  # noqa: S106 - a run's
    harness.deliver()
    harness.deliver()
    assert sorted(run.receipts.list()) == ["s0/1"]
    assert harness.waiting(SMALL) == []


def test_a_worker_notices_that_an_id_is_used_again(harness: WorkerHarness) -> None:
    """It knows the earlier run's plan and settings; the message tells that there are others."""
    harness.script(s0_0=["wait", done()], s0_1=["wait", done()])
    harness.publish("s0/0")
    harness.deliver()
    run = start_over(harness, label_type="supervoxels")
    harness.publish("s0/1", run_token="second")  # noqa: S106 - a run's
    harness.deliver()
    assert [task["label_type"] for task in harness.tasks()] == ["labels", "supervoxels"]
    assert run.receipts.list()["s0/1"].run_token == "second"  # noqa: S105 - a run's


def test_a_shard_of_a_run_that_was_replaced_is_not_published(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id was used again while the shard was made: its message is judged anew."""
    harness.script(s0_0=["wait", done()])
    harness.publish("s0/0")
    real = Run.replaced

    def replaced(run: Run, _overview: RunOverview) -> bool:  # taken before
        monkeypatch.setattr(Run, "replaced", real)
        start_over(harness, label_type="supervoxels")
        return run.replaced()

    monkeypatch.setattr(Run, "replaced", replaced)
    harness.deliver()
    assert harness.run.receipts.list() == {}
    harness.deliver()  # without a token, as of version 0.1.0: the present run decides
    assert [task["label_type"] for task in harness.tasks()] == ["labels", "supervoxels"]
    assert sorted(harness.run.receipts.list()) == ["s0/0"]


def test_a_dead_letter_of_an_earlier_run_fails_no_shard(harness: WorkerHarness) -> None:
    """Its bytes are kept aside."""
    run = start_over(harness)
    letter = {"run": run.uri, "key": "s0/0", "kind": "convert", "reason": "it was broken"}
    letters = [
        ShardMessage.model_validate(letter | {"run_token": token}) for token in ("first", "second")
    ]
    harness.broker.publish("dead", letters)
    result = drain(harness.broker, open_storage(run.state_url))
    assert (len(result.keys), len(result.unreadable)) == (1, 1)
    assert sorted(run.failures.list()) == ["s0/0"]


def test_a_run_of_another_output_revision_is_not_worked_on(harness: WorkerHarness) -> None:
    """The message goes back, the worker ends at once, log and status say why."""
    shutil.rmtree(harness.run.uri)
    harness.run = three_shard_run(harness.folder, output_revision=OUTPUT_REVISION + 1)
    harness.script(s0_0=["wait", done()])
    harness.publish("s0/0")
    with pytest.raises(OtherRevision, match="was planned by version"):
        harness.deliver()
    assert harness.tasks() == []
    assert [message.key for message in harness.waiting(SMALL)] == ["s0/0"]
    trouble = read_trouble(harness.run.storage)
    assert trouble is not None
    assert f"for output revision {OUTPUT_REVISION + 1}" in trouble.reason


def test_a_program_that_can_make_nothing_does_not_start(tmp_path: Path) -> None:
    """Every unfinished run is of another revision; one that it can make is enough."""
    other = three_shard_run(tmp_path, "r1", output_revision=OUTPUT_REVISION + 1)
    discovery = RunDiscovery(None, [other.state_url], other.queue)
    with pytest.raises(OtherRevision):
        check_revisions(discovery)
    with pytest.raises(OtherRevision):
        check_revisions(RunDiscovery(other, [], other.queue))
    three_shard_run(tmp_path, "r2")
    check_revisions(discovery)
    for key in ("s0/0", "s0/1"):
        write_receipt(Run(f"{other.state_url}/r2"), key)
    Run(f"{other.state_url}/r2").cancel("done with it")
    with pytest.raises(OtherRevision):
        check_revisions(discovery)
    other.cancel("so it is")
    check_revisions(discovery)
