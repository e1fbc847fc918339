"""Dead letters and replay as people meet them: a broken export file, real workers, commands."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_commands import Desk, corrupt_zstd, finished_desk, make_desk


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, bytes]:
    """A desk whose run ended with one dead shard; what that shard's file was when whole."""
    desk = make_desk(tmp_path_factory.mktemp("broken") / "desk")
    whole = corrupt_zstd(desk.arrow(1))
    done = desk.enqueue("--wait")
    assert done.code == 1, done
    return desk, whole


@pytest.fixture
def broken(ended: tuple[Desk, bytes], tmp_path: Path) -> Iterator[tuple[Desk, Path, bytes]]:
    """The same desk, the broken file, and what it was when whole; put back after each test."""
    desk, whole = ended
    with put_back(desk, tmp_path / "kept"):
        yield desk, desk.arrow(1), whole


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk whose run made everything."""
    return finished_desk(tmp_path_factory.mktemp("made") / "desk")


@pytest.fixture
def finished(made: Desk, tmp_path: Path) -> Iterator[Desk]:
    """The same; put back after each test."""
    with put_back(made, tmp_path / "kept"):
        yield made


@contextlib.contextmanager
def put_back(desk: Desk, kept: Path) -> Iterator[None]:
    """Whatever happens to the desk's folder, afterwards it is as before: runs know its path."""
    shutil.copytree(desk.folder, kept)
    try:
        yield
    finally:
        shutil.rmtree(desk.folder)
        kept.rename(desk.folder)


def only_letter(desk: Desk) -> dict[str, object]:
    """The one dead letter there is."""
    letters = desk.of_run("dead-letters", "list", "--json").document["dead_letters"]
    assert len(letters) == 1
    return dict(letters[0])


def test_a_corrupt_block_from_death_to_life(broken: tuple[Desk, Path, bytes]) -> None:
    """It is listed with its file and reason; mended and requeued, the same command finishes."""
    desk, arrow, whole = broken
    letter = only_letter(desk)
    key = str(letter["key"])
    assert letter["attempts"] == 1
    assert letter["tier"] == "512mi"
    assert len(desk.shards()) == 11  # no other shard is held up

    listed = desk.of_run("dead-letters", "list")
    assert (listed.code, key in listed.out) == (0, True)
    assert "no dead letters" in desk.of_run("dead-letters", "list", "--reason", "no such").out
    assert key in desk.of_run("dead-letters", "list", "--scale", "0", "--tier", "512mi").out

    shown = desk.of_run("dead-letters", "show", key)
    assert shown.code == 0
    assert arrow.name in shown.out.partition("made from")[0]
    assert "tier 512mi, delivery 1" in shown.out
    details = desk.of_run("dead-letters", "show", key, "--json").document
    assert details["history"][0]["tier"] == "512mi"

    arrow.write_bytes(whole)
    requeued = desk.of_run("dead-letters", "requeue", key)
    assert (requeued.code, requeued.out.strip()) == (0, f"1 shard published again: {key}")
    assert "no dead letters" in desk.of_run("dead-letters", "list").out
    assert desk.enqueue("--wait").code == 0
    assert len(desk.shards()) == 12
    assert desk.of_run("verify", "--deep", "--values", "40").code == 0


def test_requeued_unmended_dies_again(broken: tuple[Desk, Path, bytes]) -> None:
    """Nothing is lost by trying: the shard is dead again, with the same reason."""
    desk, _, _ = broken
    before = only_letter(desk)
    assert "1 shard published" in desk.of_run("dead-letters", "requeue", "--all").out
    assert desk.enqueue("--wait").code == 1
    after = only_letter(desk)
    assert after["key"] == before["key"]
    assert after["reason"] == before["reason"]
    assert str(after["at"]) > str(before["at"])


def test_drop_gives_up(broken: tuple[Desk, Path, bytes]) -> None:
    """A dropped shard stays a hole: dependents stay blocked, --all leaves it, a key takes it."""
    desk, arrow, whole = broken
    key = str(only_letter(desk)["key"])
    assert desk.of_run("dead-letters", "drop", key).code == 0
    assert only_letter(desk)["dropped"] is True
    status = desk.of_run("status", "--json").document
    scales = status["scales"]
    assert status["ended"] is True
    assert scales[0]["given_up"] == 1
    assert scales[1]["blocked"] >= 1
    assert "0 shards" in desk.of_run("dead-letters", "requeue", "--all").out

    verified = desk.of_run("verify", "--json")
    assert verified.code == 1
    assert key in {finding["key"] for finding in verified.document["findings"]}

    arrow.write_bytes(whole)
    assert key in desk.of_run("dead-letters", "requeue", key).out
    assert desk.enqueue("--wait").code == 0


def test_replay_failed(broken: tuple[Desk, Path, bytes]) -> None:
    """`replay --failed` is requeue --all; afterwards the run is finished."""
    desk, arrow, whole = broken
    arrow.write_bytes(whole)
    replayed = desk.of_run("replay", "--failed")
    assert replayed.code == 0
    assert replayed.out.startswith("1 shard published")
    assert desk.enqueue("--wait").code == 0


@pytest.mark.parametrize("command", ["show", "drop", "requeue"])
def test_keys_that_are_not_dead(tmp_path: Path, command: str) -> None:
    """A key that is no dead letter is wrong use, named, and nothing is written."""
    desk = make_desk(tmp_path / "desk")
    assert desk.enqueue().code == 0
    ended = desk.of_run("dead-letters", command, "s0/00")
    assert ended.code == 2, ended
    assert "s0/00" in ended.err
    assert "no dead letters" in desk.of_run("dead-letters", "list").out


def test_replay_missing_after_the_queue_was_lost(tmp_path: Path) -> None:
    """A queue that forgot everything: --missing publishes all that is ready, and the run ends."""
    desk = make_desk(tmp_path / "desk")
    assert desk.enqueue().code == 0
    for file in desk.folder.glob("queue.db*"):
        file.unlink()
    replayed = desk.of_run("replay", "--missing")
    assert replayed.out.startswith("12 shards published")
    assert desk.enqueue("--wait").code == 0
    assert "0 shards published" in desk.of_run("replay", "--missing").out


def test_replay_shards_with_redo(finished: Desk) -> None:
    """A file that was lost is made again, byte for byte; without --redo nothing happens."""
    desk = finished
    lost = desk.shards()[0]
    whole = lost.read_bytes()
    lost.unlink()
    key = f"s0/{lost.stem}"
    desk.of_run("replay", "--shards", key)
    assert desk.shards()[0] != lost
    redone = desk.of_run("replay", "--shards", key, "--redo")
    assert redone.code == 0
    assert desk.enqueue("--wait").code == 0
    assert lost.read_bytes() == whole
    (receipt,) = (desk.folder / "volume.runs").glob(f"*/receipts/{key}.json")
    assert json.loads(receipt.read_text())["redo"] == 1


def test_replay_since(finished: Desk) -> None:
    """Back to before the run: with --redo all that is ready is made again."""
    replayed = finished.of_run("replay", "--since", "2020-01-01T00:00", "--redo")
    assert replayed.code == 0, replayed
    assert replayed.out.startswith("12 shards published")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which shards?"),
        (["--failed", "--missing"], "which shards?"),
        (["--missing", "--redo"], "--redo goes with"),
        (["--since", "yesterday"], "is not a time"),
        (["--shards", "s0/00", "--tier", "3gi"], "3gi"),
        (["--shards", "s9/00"], "s9/00"),
    ],
)
def test_replay_wrong_use(desk: Desk, arguments: list[str], said: str) -> None:
    """Each is one line that says what is wrong, and exit code 2."""
    ended = desk.of_run("replay", *arguments)
    assert ended.code == 2, ended
    assert said in ended.err


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A run that waits for workers."""
    desk = make_desk(tmp_path_factory.mktemp("wrong") / "desk")
    assert desk.enqueue().code == 0
    return desk
