"""What commands say of the worker pools of a queue."""

from datetime import timedelta
from pathlib import Path

import pytest

from delivery.ledger import autoscaler_note
from delivery.ledger.autoscaler_note import AutoscalerNote
from delivery.ledger.run import Run
from delivery.messages import now
from producer.worker_pools import PoolLooks, configured, describe, start, state_of
from tests.support.three_shard_run import three_shard_run

QUEUE = "pubsub://some-project/brain"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in a queue on Pub/Sub, on a machine that knows no region."""
    for name in ("REGION", "PUBSUB_EMULATOR_HOST", "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"):
        monkeypatch.delenv(name, raising=False)
    return three_shard_run(tmp_path, queue=QUEUE)


def note(run: Run, overdue_s: float, **counts: int) -> None:
    """Write an autoscaler's note whose next look is overdue for so long."""
    written = AutoscalerNote(
        queue=QUEUE,
        region="us-central1",
        at=now() - timedelta(minutes=9),
        until=now() - timedelta(seconds=overdue_s),
        counts={f"{name[1:]}": count for name, count in counts.items()},
        dollars_per_hour=0.5,
    )
    autoscaler_note.write(run.state, written)


def test_instances_that_run_unwatched_are_told(run: Run) -> None:
    """By the note alone where Cloud Run cannot be asked; it ends with the way on."""
    assert state_of(run, QUEUE) is None
    note(run, 1, _4gi=12)
    state = state_of(run, QUEUE)
    assert state is not None
    text = describe(state)
    assert "12 instances (4gi 12), $0.50/h" in text
    assert "nobody watches them" in text
    assert "infra stop" in text


def test_watched_or_stopped_instances_are_no_concern(run: Run) -> None:
    """Nothing to do."""
    note(run, -60, _4gi=12)
    watched = state_of(run, QUEUE)
    note(run, 60)
    stopped = state_of(run, QUEUE)
    assert watched is not None
    assert stopped is not None
    assert "nobody" not in describe(watched) + describe(stopped)


def test_a_damaged_note_counts_as_absent(run: Run) -> None:
    """Nothing depends on it."""
    run.state.write(autoscaler_note.path(QUEUE), b"{")
    assert state_of(run, QUEUE) is None


def test_pools_are_looked_for_only_where_they_can_be(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not without a region, nor on an emulator whose Cloud Run would be the real one."""
    assert not configured(QUEUE)
    monkeypatch.setenv("REGION", "us-central1")
    assert configured(QUEUE)
    assert not configured("sqlite:queue.db")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    assert not configured(QUEUE)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN", "http://127.0.0.1:1")
    assert configured(QUEUE)
    assert state_of(run, "sqlite:queue.db") is None


def test_trouble_with_the_pools_is_a_note(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is published, so the command goes on."""
    monkeypatch.setenv("REGION", "us-central1")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN", "http://127.0.0.1:1")
    monkeypatch.setenv("STORAGE_RETRY_S", "0")
    start(run, QUEUE)
    said = capsys.readouterr().err
    assert said.startswith("note: worker pools were not started: ")
    assert said.count("\n") == 1


def test_looks_are_kept_for_a_while(run: Run) -> None:
    """A display refreshes more often than that."""
    time_s = [0.0]
    looks = PoolLooks(run, clock=lambda: time_s[0])
    assert looks.state() is None
    note(run, 1, _4gi=1)
    assert looks.state() is None
    time_s[0] = 31
    assert looks.state() is not None
