"""Broken messages are kept byte for byte, whatever lies in the way."""

from pathlib import Path

from delivery.ledger import quarantine
from delivery.ledger.run import list_runs
from runtime.storage import open_storage


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """The bytes are kept beside it, so that the message need not stay in its queue."""
    state = open_storage(str(tmp_path))
    assert quarantine.store(state, b"{", "why").startswith("unreadable/")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "unreadable").write_text("a note")
    state = open_storage(str(tmp_path / "other"))
    path = quarantine.store(state, b"{", "why")
    assert state.read(path) == b"{"
    assert list(list_runs(str(tmp_path / "other"))) == []
