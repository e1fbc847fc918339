"""Discovering runs and their queue from --run, --state and --queue."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.run_discovery import RunDiscovery, discover_runs, open_shards
from runtime import settings
from runtime.errors import UsageError
from tests.support.three_shard_run import three_shard_run, write_receipt


def root(folder: Path) -> list[str]:
    """The state root of the runs, as it is given."""
    return [str(folder / "dest.runs")]


def test_the_queue_is_that_of_the_named_run(tmp_path: Path) -> None:
    """By its id and by its URI, also after the run was moved."""
    run = three_shard_run(tmp_path)
    queue = f"sqlite:{tmp_path}/queue.db"
    assert discover_runs(None, "r1", root(tmp_path)).queue == queue
    assert discover_runs(None, run.uri, []).queue == queue
    run.move(f"sqlite:{tmp_path}/moved.db")
    assert discover_runs(None, run.uri, []).queue == f"sqlite:{tmp_path}/moved.db"


def test_the_queue_is_that_of_the_newest_unfinished_run(tmp_path: Path) -> None:
    """A cancelled or ended run is passed over, unless there is no other."""
    for number in range(3):
        made = datetime(2026, 1, 1 + number, tzinfo=UTC)
        queue = f"sqlite:{tmp_path}/{number}.db"
        run = three_shard_run(tmp_path, f"r{number}", created=made, queue=queue)
    assert discover_runs(None, None, root(tmp_path)).queue == f"sqlite:{tmp_path}/2.db"
    run.cancel("enough")
    found = discover_runs(None, None, root(tmp_path))
    assert found.queue == f"sqlite:{tmp_path}/1.db"
    assert [one.run_id for one in found.refresh()] == ["r1"]
    for one in ("r0", "r1"):
        discover_runs(None, one, root(tmp_path)).refresh()[0].cancel("enough")
    assert discover_runs(None, None, root(tmp_path)).queue == f"sqlite:{tmp_path}/2.db"


def test_without_runs_it_is_the_default(tmp_path: Path) -> None:
    """As ever."""
    for state in ([], root(tmp_path)):
        found = discover_runs(None, None, state)
        assert found.queue == f"sqlite:{Path.cwd() / settings.DEFAULT_QUEUE_URL[7:]}"


def test_a_given_queue_wins_over_that_of_the_root(tmp_path: Path) -> None:
    """The runs there are out of sight, and counted."""
    run = three_shard_run(tmp_path)
    other = f"sqlite:{tmp_path}/other.db"
    found = discover_runs(other, None, root(tmp_path))
    assert (found.queue, found.refresh()) == (other, [])
    assert found.out_of_sight() == {f"of run r1 on {run.queue}": 3}
    write_receipt(run, "s0/0")
    assert list(found.out_of_sight().values()) == [2]


def test_a_given_queue_that_is_not_the_runs_is_refused(tmp_path: Path) -> None:
    """Both are named."""
    run = three_shard_run(tmp_path)
    with pytest.raises(UsageError, match=r"run r1 is in the queue .*queue\.db, not in .*other\.db"):
        discover_runs(f"sqlite:{tmp_path}/other.db", run.uri, [])
    assert discover_runs(run.queue, run.uri, []).serves(run)


def test_open_shards_are_those_that_can_be_done(tmp_path: Path) -> None:
    """None of a run that was cancelled."""
    run = three_shard_run(tmp_path)
    assert open_shards(run) == 3
    run.cancel("enough")
    assert open_shards(run) == 0


@pytest.mark.parametrize(
    ("fields", "remote"),
    [({}, False), ({"dest": "gs://bucket/v"}, True), ({"source": "gs://bucket/e"}, True)],
)
def test_places_in_buckets_are_seen(tmp_path: Path, fields: dict[str, str], remote: bool) -> None:
    """A worker chooses its number of slots by them."""
    run = three_shard_run(tmp_path, **fields)
    assert RunDiscovery(None, [run.state_url], run.queue).remote() is remote
    assert RunDiscovery(run, [], run.queue).remote() is remote


def test_no_run_is_missing_where_none_can_be_sought(tmp_path: Path) -> None:
    """Without state roots; where one is damaged, that is logged instead."""
    queue = f"sqlite:{tmp_path}/queue.db"
    assert discover_runs(queue, None, []).missing() is None
    found = discover_runs(queue, None, root(tmp_path))
    assert found.missing() == f"no run of the queue {queue} below {tmp_path}/dest.runs"
    run = three_shard_run(tmp_path)
    assert discover_runs(queue, run.uri, []).missing() is None
    found.refresh()
    assert found.missing() is None
    (tmp_path / "dest.runs" / "r1" / "run.json").write_text("{")
    damaged = discover_runs(queue, None, root(tmp_path))
    assert damaged.refresh() == []
    assert damaged.missing() is None
