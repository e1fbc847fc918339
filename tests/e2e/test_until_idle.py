"""`consumer work --until-idle`: a worker that ends by itself, on both brokers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.run_harness import RunHarness, make_export, make_run_harness

SIZE = (512, 256, 128)


@pytest.fixture(params=["sqlite", "pubsub"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunHarness]:
    """A planned run of scale 0, nothing published yet."""
    if request.param == "pubsub":
        request.getfixturevalue("pubsub_emulator")
    files = make_export(tmp_path / "export", SIZE)
    made = make_run_harness(tmp_path, request.param, files, SIZE)
    yield made
    made.close()


def test_a_worker_leaves_an_idle_queue(harness: RunHarness) -> None:
    """It makes what is published, then exits 0, although the run has not ended."""
    published = harness.publish(harness.converted[:-1])
    worker = harness.start("work", "--tier", harness.tiers[0], "--until-idle", "1")
    assert worker.wait(120) == 0
    assert set(harness.run.receipts.list()) == set(published)
    assert harness.events(worker, "worker_stopped")


def test_a_worker_without_any_message_leaves_too(harness: RunHarness) -> None:
    """A run that goes on elsewhere keeps nobody."""
    worker = harness.start("work", "--tier", harness.tiers[1], "--until-idle", "0")
    assert worker.wait(60) == 0


def test_a_worker_waits_while_its_shard_is_in_work(harness: RunHarness) -> None:
    """The pause of the work is longer than the idle time."""
    (key,) = harness.publish(harness.converted[:1])
    options = ("--tier", harness.tiers[0], "--until-idle", "0.5")
    worker = harness.start("work", *options, WORK_PAUSE_S="3")
    assert worker.wait(60) == 0
    assert harness.run.receipts.get(key)
