"""Worker loop: polling, backoff, graceful shutdown."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.signals import Flag
from consumer.worker.loop import MAX_ERRORS, WorkerLoop
from delivery.ledger.overview import RunOverview
from delivery.ledger.run import Cancellation, Run
from delivery.messages import NewerSchema
from runtime.errors import UnreachableError
from tests.support.three_shard_run import SMALL
from tests.support.worker_harness import WorkerHarness, done, failed, worker_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    """A worker with a queue."""
    with worker_harness(tmp_path) as harness:
        yield harness


def make_loop(
    harness: WorkerHarness, on_busy: Callable[[bool], None] = lambda _: None, pause_s: float = 0.01
) -> WorkerLoop:
    """The loop of the harness's worker."""
    return WorkerLoop(
        harness.broker, SMALL, harness.worker, harness.flags, on_busy=on_busy, pause_s=pause_s
    )


class RecordingFlag(Flag):
    """A flag whose waits end at once."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout_s: float) -> bool:
        """Record the timeout."""
        self.waits.append(timeout_s)
        return self.is_set()


def test_it_serves_until_the_exit_condition_holds(harness: WorkerHarness) -> None:
    """`should_exit` is called only when no message came."""
    harness.script(s0_0=[done()], s0_1=[done()])
    harness.publish("s0/0")
    harness.publish("s0/1")
    make_loop(harness).run(lambda: True)
    assert sorted(harness.run.receipts.list()) == ["s0/0", "s0/1"]


def test_it_reports_when_it_is_busy(harness: WorkerHarness) -> None:
    """Once at each change."""
    harness.script(s0_0=[done()], s0_1=[done()])
    harness.publish("s0/0")
    harness.publish("s0/1")
    reports: list[bool] = []
    make_loop(harness, reports.append).run(lambda: True)
    assert reports == [True, False]


def test_after_several_errors_in_a_row_it_gives_up(harness: WorkerHarness) -> None:
    """The last error ends it; the message stays in the queue."""
    harness.script(s0_0=[failed("retryable", "no network")])
    harness.publish()
    with pytest.raises(UnreachableError, match="no network"):
        make_loop(harness).run(lambda: False)
    assert len(harness.tasks()) == MAX_ERRORS
    assert len(harness.waiting(SMALL)) == 1


def test_the_pauses_grow(harness: WorkerHarness) -> None:
    """Four pauses before the fifth error, each twice as long."""
    harness.script(s0_0=[failed("retryable")])
    harness.publish()
    harness.flags.immediate = flag = RecordingFlag()
    with pytest.raises(UnreachableError):
        make_loop(harness, pause_s=0.1).run(lambda: False)
    assert flag.waits == [0.1, 0.2, 0.4, 0.8]


def test_a_success_resets_the_count_of_errors(harness: WorkerHarness) -> None:
    """Errors of one shard between successes of others do not end the worker."""
    harness.script(s0_0=[failed("retryable")], s0_1=[done()])
    for _ in range(MAX_ERRORS + 1):
        harness.publish("s0/1")
    harness.publish("s0/0")
    loop = make_loop(harness)
    for _ in range(MAX_ERRORS):  # an error, then a duplicate of a done shard
        assert loop._poll_with_backoff()
        harness.publish("s0/1")
        assert loop._poll_with_backoff()


def test_a_newer_schema_ends_it_at_once(harness: WorkerHarness) -> None:
    """Waiting would not make this program newer."""
    harness.publish_newer("s0/0")
    with pytest.raises(NewerSchema):
        make_loop(harness, pause_s=60).run(lambda: False)


def test_a_graceful_shutdown_finishes_the_shard_in_work(harness: WorkerHarness) -> None:
    """No other shard is begun."""
    harness.script(s0_0=["wait", done()], s0_1=[done()])
    harness.publish("s0/0")
    harness.publish("s0/1")

    class RetiringRun(Run):
        """Requests the shutdown when the executor waits for the permission to publish."""

        def cancelled(self, overview: RunOverview | None = None) -> Cancellation | None:
            """Called before and after the work."""
            if harness.tasks():
                harness.flags.graceful.set()
            return super().cancelled(overview)

    harness.replace_run(RetiringRun(harness.run.uri))
    make_loop(harness).run(lambda: False)
    assert list(harness.run.receipts.list()) == ["s0/0"]
    assert harness.broker.backlog(SMALL).waiting == 1


def test_trouble_is_reported_and_its_end(harness: WorkerHarness) -> None:
    """So that a fleet can name the cause before its worker gives up."""
    harness.script(s0_0=[failed("retryable", "no network")], s0_1=[done()])
    harness.publish("s0/0")
    harness.publish("s0/1")
    told: list[str] = []
    loop = WorkerLoop(
        harness.broker, SMALL, harness.worker, harness.flags, on_trouble=told.append, pause_s=0.01
    )
    assert loop._poll_with_backoff()
    assert loop._poll_with_backoff()
    assert told == ["s0/0: no network", ""]
