"""A mistyped place: every command that looks says that nothing exists there, and the way on."""

from pathlib import Path

import pytest

from producer.missing_runs import look
from runtime.storage import open_storage
from tests.support.commands import CommandResult, run_in_process
from tests.support.ledgers import made_run
from tests.support.workspace import clean_environment

LOOKING = {
    "status": (),
    "errors": (),
    "report": ("--out", "page.html"),
    "dead-letters": ("list",),
    "cancel": (),
    "verify": (),
}


def producer(folder: Path, *words: str) -> CommandResult:
    """Run a command in a folder."""
    return run_in_process("producer", *words, folder=folder, environment=clean_environment())


def test_runs_of_a_slip_are_an_empty_list_and_a_note(tmp_path: Path) -> None:
    """Exit code 0, as for a destination before its first run; the note names both places."""
    made_run(tmp_path / "brain.runs")
    text = producer(tmp_path, "runs", "--dest", "brian")
    assert (text.returncode, text.stdout) == (0, f"no runs below {tmp_path}/brian.runs\n")
    assert text.stderr == (
        f"note: nothing exists at {tmp_path}/brian, nor at {tmp_path}/brian.runs; check --dest "
        f"and DEST_PATH for a slip; did you mean {tmp_path}/brain?\n"
    )
    as_json = producer(tmp_path, "runs", "--dest", "brian", "--json")
    assert (as_json.returncode, as_json.document, as_json.stderr) == (0, [], text.stderr)


@pytest.mark.parametrize("command", LOOKING)
def test_what_needs_a_run_names_the_slip(tmp_path: Path, command: str) -> None:
    """In the error or in a note before it; exit code 2."""
    words = (command, *LOOKING[command])
    by_dest = producer(tmp_path, *words, "--dest", "typo")
    assert by_dest.returncode == 2
    assert f"nothing exists at {tmp_path}/typo, nor at {tmp_path}/typo.runs" in by_dest.stderr
    assert "check --dest and DEST_PATH" in by_dest.stderr
    by_state = producer(tmp_path, *words, "--state", "typo")
    assert by_state.returncode == 2
    assert f"nothing exists at {tmp_path}/typo" in by_state.stderr
    assert "check --state and STATE_PATH" in by_state.stderr
    assert not list(tmp_path.iterdir())


def test_what_exists_is_no_slip(tmp_path: Path) -> None:
    """An empty root has no runs yet; a volume without a ledger is another program's, perhaps."""
    (tmp_path / "empty.runs").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/info").write_text("{}")
    (tmp_path / "begun").mkdir()
    assert producer(tmp_path, "runs", "--dest", "empty").stderr == ""
    theirs = look(f"{tmp_path}/theirs.runs", None, f"{tmp_path}/theirs")
    assert theirs.what == (
        f"there is a volume at {tmp_path}/theirs, but nothing at {tmp_path}/theirs.runs"
    )
    assert "--state" in theirs.hint
    begun = look(f"{tmp_path}/begun.runs", None, f"{tmp_path}/begun")
    assert "enqueue" in begun.hint


def test_a_slip_in_a_bucket(bucket: str) -> None:
    """By one listing of each prefix; the similar one is found beside it."""
    storage = open_storage(f"gs://{bucket}")
    storage.write("brain.runs/r1/run.json", b"{}")
    storage.write("fly.runs2/x", b"")
    found = look(f"gs://{bucket}/brian.runs", None, f"gs://{bucket}/brian")
    assert found.what == (f"nothing exists at gs://{bucket}/brian, nor at gs://{bucket}/brian.runs")
    assert found.hint.endswith(f"did you mean gs://{bucket}/brain?")
    assert look(f"gs://{bucket}/brain.runs", None, f"gs://{bucket}/brain").what == ""
    assert look(f"gs://{bucket}/fly.runs", "given", None).what == (
        f"nothing exists at gs://{bucket}/fly.runs"
    )
