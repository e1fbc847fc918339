"""A run's folder: made once, found again, cancelled, asked for again."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from delivery.ledger.plan import Plan
from delivery.ledger.run import Heartbeat, Run, find_run, list_runs, new_run_id, newest_run
from runtime.errors import ShardliftError, UsageError
from tests.support.gcs_server import GcsServer
from tests.support.ledgers import at, info, made_run, pyramid


def test_a_run_is_read_as_it_was_made(tmp_path: Path) -> None:
    """What was planned is what any process finds under the URI."""
    made = made_run(tmp_path, run_id="r1", volume={"scales": [1]})
    found = Run.open(made.uri)
    assert found.uri == f"{tmp_path}/r1"
    assert (found.run_id, found.state_url) == ("r1", str(tmp_path))
    assert found.info == made.info
    assert list(found.plan.rows()) == pyramid()
    assert (tmp_path / "r1/plan.arrow").exists()
    assert (tmp_path / "r1/run.json").exists()


def test_without_run_json_nothing_is_planned(tmp_path: Path) -> None:
    """A crash between plan and run.json leaves no run, and its id free."""
    run = made_run(tmp_path, run_id="r1")
    run.storage.delete("run.json")
    with pytest.raises(UsageError, match="no run at"):
        Run.open(run.uri)
    assert list_runs(str(tmp_path)) == []
    made_run(tmp_path, run_id="r1")


def test_an_id_is_given_once(tmp_path: Path) -> None:
    """A second run of the same id is refused and changes nothing."""
    first = made_run(tmp_path, run_id="r1")
    with pytest.raises(UsageError, match="there is a run r1 already"):
        made_run(tmp_path, [], run_id="r1")
    assert len(Run.open(first.uri).plan) == len(pyramid())


@pytest.mark.parametrize("run_id", ["", "a/b", "../x", ".hidden", "unreadable", "x" * 101])
def test_ids_name_folders(tmp_path: Path, run_id: str) -> None:
    """An id that cannot name a folder of its own is refused."""
    with pytest.raises(UsageError, match="cannot name a run"):
        Run.create(str(tmp_path), info(run_id=run_id), Plan.of([]))


def test_the_newest_run_is_found(tmp_path: Path) -> None:
    """Runs are listed oldest first; the newest is the default; an id or URI names any."""
    assert newest_run(str(tmp_path)) is None
    with pytest.raises(UsageError, match="no run below"):
        find_run(str(tmp_path))
    for name, seconds in (("b", 10), ("a", 30), ("c", 20)):
        made_run(tmp_path, run_id=name, created=at(seconds))
    (tmp_path / "unreadable").mkdir()
    (tmp_path / "stray").mkdir()
    assert [run.run_id for run in list_runs(str(tmp_path))] == ["b", "c", "a"]
    assert find_run(str(tmp_path)).run_id == "a"
    assert find_run(str(tmp_path), "c").run_id == "c"
    assert find_run("/elsewhere", f"{tmp_path}/b").run_id == "b"
    with pytest.raises(UsageError, match="no run at"):
        find_run(str(tmp_path), "d")


def test_runs_in_a_bucket_are_listed_without_looking_into_them(gcs: GcsServer, bucket: str) -> None:
    """Listing runs costs requests per run, however many receipts they hold."""
    state = f"gs://{bucket}/volume.runs"
    runs = [made_run(state, run_id=name, created=at(len(name))) for name in ("one", "three")]
    for number in range(5):
        runs[0].storage.write(f"receipts/s0/{number}.json", b"{}")
    before = len(gcs.seen)
    assert [run.run_id for run in list_runs(state)] == ["one", "three"]
    assert not [line for line in gcs.seen[before:] if "receipts" in line]
    assert len(gcs.seen) - before <= 1 + 2 * len(runs)


def test_new_ids_sort_by_time_and_differ() -> None:
    """Ids made in one second differ."""
    assert len({new_run_id() for _ in range(50)}) > 45


def test_a_run_is_cancelled_once(tmp_path: Path) -> None:
    """The first reason stays."""
    run = made_run(tmp_path)
    assert run.cancelled() is None
    assert run.cancel("overwritten by r2")
    assert not run.cancel("another reason")
    note = Run.open(run.uri).cancelled()
    assert note is not None
    assert note.why == "overwritten by r2"


def test_redo_counts_up(tmp_path: Path) -> None:
    """Each asking raises the number of its shards, and of no others."""
    run = made_run(tmp_path)
    assert run.redo() == {}
    assert run.raise_redo(["s0/00", "s0/01"]) == {"s0/00": 1, "s0/01": 1}
    assert run.raise_redo(["s0/01"]) == {"s0/01": 2}
    assert run.raise_redo([]) == {}
    assert Run.open(run.uri).redo() == {"s0/00": 1, "s0/01": 2}


def test_simultaneous_redos_lose_nothing(tmp_path: Path) -> None:
    """Askings at the same time for different shards all count."""
    run = made_run(tmp_path)
    keys = [f"s0/{number:02x}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: run.raise_redo([key]), keys))
    assert run.redo() == dict.fromkeys(keys, 1)


def test_bad_chunks_are_left_out_by_request_of_shard_or_run(tmp_path: Path) -> None:
    """The ledger decides, so that every publication of the shard says the same."""
    run = made_run(tmp_path)
    assert not run.leaves_out_bad_chunks("s0/00")
    run.request_without_bad_chunks(["s0/00"])
    seen = Run(run.uri)
    assert seen.leaves_out_bad_chunks("s0/00")
    assert not seen.leaves_out_bad_chunks("s0/01")
    run.request_without_bad_chunks()
    assert seen.leaves_out_bad_chunks("s0/01")
    assert made_run(tmp_path, bad_chunks="skip").leaves_out_bad_chunks("s0/00")


def test_heartbeats_show_the_last_word(tmp_path: Path) -> None:
    """Each worker has one heartbeat, the newest first; a worker that ends leaves none."""
    run = made_run(tmp_path)
    for worker, key, seconds in (("w1", "s0/00", 1), ("w2", "s0/01", 2), ("w1", "s0/02", 3)):
        run.write_heartbeat(Heartbeat(worker=worker, tier="2gi", key=key, at=at(seconds)))
    found = run.heartbeats()
    assert [(beat.worker, beat.key) for beat in found] == [("w1", "s0/02"), ("w2", "s0/01")]
    assert run.remove_heartbeat("w1")
    assert [beat.worker for beat in run.heartbeats()] == ["w2"]


def test_publish_markers_hold_their_inputs_digest(tmp_path: Path) -> None:
    """A marker lies at `published/s<scale>/<hex>`; the last one written counts."""
    run = made_run(tmp_path)
    assert run.publish_marker("s1/00") is None
    run.mark_published("s1/00", "2gi", "first")
    run.mark_published("s1/00", "4gi", "second")
    assert (Path(run.uri) / "published/s1/00").exists()
    marker = run.publish_marker("s1/00")
    assert marker is not None
    assert (marker.tier, marker.inputs_digest) == ("4gi", "second")
    assert {key: found.inputs_digest for key, found in run.publish_markers().items()} == {
        "s1/00": "second"
    }


def test_damage_is_one_line(tmp_path: Path) -> None:
    """A damaged run.json or plan says which file it is."""
    run = made_run(tmp_path)
    for text, fault in (('{"run_id": 3', "Invalid JSON: "), ('{"run_id": 3}', "run_id: ")):
        (Path(run.uri) / "run.json").write_text(text)
        with pytest.raises(ShardliftError, match=rf"run\.json is damaged \({fault}"):
            _ = Run(run.uri).info
    (Path(run.uri) / "plan.arrow").write_bytes(b"ARROW1\0\0rubbish")
    with pytest.raises(ShardliftError, match=r"plan\.arrow is damaged"):
        _ = Run(run.uri).plan


def test_fields_added_later_stay(tmp_path: Path) -> None:
    """A run written by a newer program keeps what we do not know."""
    run = made_run(tmp_path, colour="red")
    assert Run.open(run.uri).info.model_dump()["colour"] == "red"


def test_a_run_can_be_moved_to_another_queue(tmp_path: Path) -> None:
    """Every process sees the new queue; run.json stays as it was written."""
    run = made_run(tmp_path, run_id="r1", queue="sqlite:/first.db")
    written = (tmp_path / "r1/run.json").read_bytes()
    assert run.queue == "sqlite:/first.db"
    other = Run.open(run.uri)
    for queue in ("sqlite:/second.db", "pubsub://my-project/brain"):
        run.move(queue)
        assert (run.queue, other.queue) == (queue, queue)
    assert other.info.queue == "sqlite:/first.db"
    assert (tmp_path / "r1/run.json").read_bytes() == written
