"""Dead letters and replay: a broken export file, real workers, commands."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workspace import (
    Workspace,
    converted_workspace,
    corrupt_zstd,
    make_small_workspace,
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, bytes]:
    """A workspace whose run ended with one dead shard; what that shard's file was when whole."""
    workspace = make_small_workspace(tmp_path_factory.mktemp("broken") / "workspace")
    whole = corrupt_zstd(workspace.arrow(1))
    done = workspace.enqueue("--wait")
    assert done.returncode == 1, done
    return workspace, whole


@pytest.fixture
def broken(
    ended: tuple[Workspace, bytes], tmp_path: Path
) -> Iterator[tuple[Workspace, Path, bytes]]:
    """The same workspace, the broken file, and what it was when whole; put back after each test."""
    workspace, whole = ended
    with put_back(workspace, tmp_path / "kept"):
        yield workspace, workspace.arrow(1), whole


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose run made everything."""
    return converted_workspace(tmp_path_factory.mktemp("made") / "workspace")


@pytest.fixture
def finished(made: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """The same; put back after each test."""
    with put_back(made, tmp_path / "kept"):
        yield made


@contextlib.contextmanager
def put_back(workspace: Workspace, kept: Path) -> Iterator[None]:
    """Restore the workspace's folder at the end, at the same path, which runs hold."""
    shutil.copytree(workspace.folder, kept)
    try:
        yield
    finally:
        shutil.rmtree(workspace.folder)
        kept.rename(workspace.folder)


def only_letter(workspace: Workspace) -> dict[str, object]:
    """The one dead letter there is."""
    letters = workspace.of_run("dead-letters", "list", "--json").document["dead_letters"]
    assert len(letters) == 1
    return dict(letters[0])


def test_a_corrupt_block_from_death_to_life(broken: tuple[Workspace, Path, bytes]) -> None:
    """It is listed with its file and reason; mended and requeued, the same command finishes."""
    workspace, arrow, whole = broken
    letter = only_letter(workspace)
    key = str(letter["key"])
    assert letter["attempts"] == 1
    assert letter["tier"] == "512mi"
    assert len(workspace.shards()) == 11  # no other shard is held up

    listed = workspace.of_run("dead-letters", "list")
    assert (listed.returncode, key in listed.stdout) == (0, True)
    assert (
        workspace.of_run("dead-letters", "list", "--reason", "no such").stdout
        == "no dead letters of this kind, 1 of others\n"
    )
    assert key in workspace.of_run("dead-letters", "list", "--scale", "0", "--tier", "512mi").stdout

    shown = workspace.of_run("dead-letters", "show", key)
    assert shown.returncode == 0
    assert arrow.name in shown.stdout.partition("made from")[0]
    assert "tier 512mi, delivery 1" in shown.stdout
    details = workspace.of_run("dead-letters", "show", key, "--json").document
    assert details["history"][0]["tier"] == "512mi"

    arrow.write_bytes(whole)
    requeued = workspace.of_run("dead-letters", "requeue", key)
    assert (requeued.returncode, requeued.stdout.strip()) == (0, f"1 shard published again: {key}")
    assert "no dead letters" in workspace.of_run("dead-letters", "list").stdout
    assert workspace.enqueue("--wait").returncode == 0
    assert len(workspace.shards()) == 12
    assert workspace.of_run("verify", "--deep", "--values", "40").returncode == 0


def test_requeued_unmended_dies_again(broken: tuple[Workspace, Path, bytes]) -> None:
    """Nothing is lost by trying: the shard is dead again, with the same reason."""
    workspace, _, _ = broken
    before = only_letter(workspace)
    assert "1 shard published" in workspace.of_run("dead-letters", "requeue", "--all").stdout
    assert workspace.enqueue("--wait").returncode == 1
    after = only_letter(workspace)
    assert after["key"] == before["key"]
    assert after["reason"] == before["reason"]
    assert str(after["at"]) > str(before["at"])


def test_drop_gives_up(broken: tuple[Workspace, Path, bytes]) -> None:
    """A dropped shard stays a hole: dependents stay blocked, --all leaves it, a key takes it."""
    workspace, arrow, whole = broken
    key = str(only_letter(workspace)["key"])
    assert workspace.of_run("dead-letters", "drop", key).returncode == 0
    assert only_letter(workspace)["dropped"] is True
    status = workspace.of_run("status", "--json").document
    scales = status["scales"]
    assert status["ended"] is True
    assert scales[0]["given_up"] == 1
    assert scales[1]["blocked"] >= 1
    assert "0 shards" in workspace.of_run("dead-letters", "requeue", "--all").stdout

    verified = workspace.of_run("verify", "--json")
    assert verified.returncode == 1
    assert key in {finding["key"] for finding in verified.document["findings"]}

    arrow.write_bytes(whole)
    assert key in workspace.of_run("dead-letters", "requeue", key).stdout
    assert workspace.enqueue("--wait").returncode == 0


def test_drop_all_asks_first(broken: tuple[Workspace, Path, bytes]) -> None:
    """Without a terminal it needs --yes; a shard that is given up is not given up again."""
    workspace, _, _ = broken
    key = str(only_letter(workspace)["key"])
    refused = workspace.of_run("dead-letters", "drop", "--all")
    assert refused.returncode == 2
    assert "this would give up 1 shard of run" in refused.stderr
    assert "--yes" in refused.stderr
    assert only_letter(workspace)["dropped"] is False
    assert workspace.of_run("dead-letters", "drop", key, "--all", "--yes").returncode == 2
    assert workspace.of_run("dead-letters", "drop").returncode == 2
    dropped = workspace.of_run("dead-letters", "drop", "--all", "--yes")
    assert (dropped.returncode, dropped.stdout) == (0, f"1 shard given up: {key}\n")
    again = workspace.of_run("dead-letters", "drop", "--all")
    assert (again.returncode, again.stdout) == (0, "0 shards given up\n")


def test_a_letter_is_a_line_in_a_pipe(broken: tuple[Workspace, Path, bytes]) -> None:
    """Its reason, with the file in it, is not folded."""
    workspace, _, _ = broken
    letter = only_letter(workspace)
    _, line = workspace.of_run("dead-letters", "list").stdout.splitlines()
    assert str(letter["reason"]) in line


def test_replay_failed(broken: tuple[Workspace, Path, bytes]) -> None:
    """`replay --failed` is requeue --all; afterwards the run is finished."""
    workspace, arrow, whole = broken
    arrow.write_bytes(whole)
    replayed = workspace.of_run("replay", "--failed")
    assert replayed.returncode == 0
    assert replayed.stdout.startswith("1 shard published")
    assert workspace.enqueue("--wait").returncode == 0


@pytest.mark.parametrize("command", ["show", "drop", "requeue"])
def test_keys_that_are_not_dead(tmp_path: Path, command: str) -> None:
    """A key that is not a dead letter is wrong use; nothing is written."""
    workspace = make_small_workspace(tmp_path / "workspace")
    assert workspace.enqueue().returncode == 0
    ended = workspace.of_run("dead-letters", command, "s0/00")
    assert ended.returncode == 2, ended
    assert "s0/00" in ended.stderr
    assert "no dead letters" in workspace.of_run("dead-letters", "list").stdout


def test_replay_missing_after_the_queue_was_lost(tmp_path: Path) -> None:
    """A queue that forgot everything: --missing publishes all that is ready, and the run ends."""
    workspace = make_small_workspace(tmp_path / "workspace")
    assert workspace.enqueue().returncode == 0
    for file in workspace.folder.glob("queue.db*"):
        file.unlink()
    replayed = workspace.of_run("replay", "--missing")
    assert replayed.stdout.startswith("12 shards published")
    assert workspace.enqueue("--wait").returncode == 0
    assert "0 shards published" in workspace.of_run("replay", "--missing").stdout


def test_replay_shards_with_redo(finished: Workspace) -> None:
    """A file that was lost is made again, byte for byte; without --redo nothing happens."""
    workspace = finished
    lost = workspace.shards()[0]
    whole = lost.read_bytes()
    lost.unlink()
    key = f"s0/{lost.stem}"
    workspace.of_run("replay", "--shards", key)
    assert workspace.shards()[0] != lost
    redone = workspace.of_run("replay", "--shards", key, "--redo")
    assert redone.returncode == 0
    assert workspace.enqueue("--wait").returncode == 0
    assert lost.read_bytes() == whole
    (receipt,) = (workspace.folder / "out.runs").glob(f"*/receipts/{key}.json")
    assert json.loads(receipt.read_text())["redo"] == 1


def test_replay_since(finished: Workspace) -> None:
    """Back to before the run: with --redo all that is ready is made again."""
    replayed = finished.of_run("replay", "--since", "2020-01-01T00:00", "--redo")
    assert replayed.returncode == 0, replayed
    assert replayed.stdout.startswith("12 shards published")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which shards?"),
        (["--failed", "--missing"], "which shards?"),
        (["--missing", "--redo"], "--redo goes with"),
        (["--since", "yesterday"], "is not a time"),
        (["--since", "2999-01-01"], "lies in the future"),
        (["--shards", ""], "which shards?"),
        (["--shards", " ,"], "which shards?"),
        (["--shards", "s0/00", "--tier", "3gi"], "3gi"),
        (["--shards", "s9/00"], "s9/00"),
    ],
)
def test_replay_wrong_use(workspace: Workspace, arguments: list[str], said: str) -> None:
    """Each is one line that says what is wrong, and exit code 2."""
    ended = workspace.of_run("replay", *arguments)
    assert ended.returncode == 2, ended
    assert said in ended.stderr


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run that waits for workers."""
    workspace = make_small_workspace(tmp_path_factory.mktemp("wrong") / "workspace")
    assert workspace.enqueue().returncode == 0
    return workspace
