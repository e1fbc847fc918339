"""Runs that messages named."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consumer.worker.known_runs import KnownRuns
from delivery.ledger.run import Run
from delivery.messages import ShardMessage
from tests.support.three_shard_run import three_shard_run

FIRST, SECOND = "one", "two"


@pytest.fixture
def discovered() -> list[Run]:
    """Runs that were announced."""
    return []


@pytest.fixture
def runs(discovered: list[Run]) -> KnownRuns:
    """No run is known."""
    return KnownRuns(discovered.append)


def message(run: Run, token: str | None = None) -> ShardMessage:
    """A message of a run."""
    return ShardMessage(run=run.uri, key="s0/0", kind="convert", run_token=token)


def test_a_run_is_kept_once_it_is_planned(
    tmp_path: Path, runs: KnownRuns, discovered: list[Run]
) -> None:
    """Slots that find it at the same time announce it once and use one object."""
    named = message(three_shard_run(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        contexts = list(pool.map(lambda _: runs.named(named), range(8)))
        assert list(pool.map(runs.check_planned, contexts)) == [True] * 8
    assert len(set(map(id, contexts))) == 1
    assert [run.run_id for run in discovered] == ["r1"]
    assert list(runs) == [runs.find(named)] == [contexts[0].run]


def test_a_run_without_a_ledger_is_not_kept(tmp_path: Path, runs: KnownRuns) -> None:
    """It is looked for again with the next message, and found once it is planned."""
    named = message(Run(str(tmp_path / "dest.runs" / "r1")))
    assert not runs.check_planned(runs.named(named))
    assert runs.find(named) is None
    three_shard_run(tmp_path)
    assert runs.check_planned(runs.named(named))


def test_a_run_whose_id_was_used_again_is_read_anew(
    tmp_path: Path, runs: KnownRuns, discovered: list[Run]
) -> None:
    """A message with another token than the known run's leads to the new one."""
    context = runs.named(message(three_shard_run(tmp_path, token=FIRST), FIRST))
    assert runs.check_planned(context)
    assert context.run.info.token == FIRST
    shutil.rmtree(tmp_path / "dest.runs")
    second = message(three_shard_run(tmp_path, token=SECOND), SECOND)
    context = runs.named(second)
    assert runs.check_planned(context)
    assert context.run.info.token == SECOND
    assert runs.named(second) is context
    assert len(discovered) == 2


def test_a_forgotten_run_is_not_found(tmp_path: Path, runs: KnownRuns) -> None:
    """Its ledger went, or another run has its id."""
    named = message(three_shard_run(tmp_path))
    context = runs.named(named)
    runs.check_planned(context)
    runs.forget(context.run)
    assert runs.find(named) is None
    assert runs.named(named) is not context
