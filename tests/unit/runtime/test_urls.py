"""Paths: one place has one name."""

from pathlib import Path

import pytest

from delivery.broker import absolute_queue_url
from runtime.errors import UsageError
from runtime.storage import absolute, open_storage
from runtime.urls import resolve_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and current directory with a folder and links to it and to its parent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    (tmp_path / "parent").symlink_to(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "spelled", ["out", "./out/", "x/../out", "link", "parent/out", "~/out", "~/link"]
)
def test_every_spelling_is_one_place(folder: Path, spelled: str) -> None:
    """For volumes, states and queues."""
    assert absolute(spelled) == str(folder / "out")
    assert open_storage(spelled).url == str(folder / "out")
    assert absolute_queue_url(f"sqlite:{spelled}/q.db") == f"sqlite:{folder}/out/q.db"


def test_what_does_not_exist_yet_is_resolved_by_its_parents(folder: Path) -> None:
    """A first run and the second agree."""
    assert absolute("link/new/volume") == str(folder / "out/new/volume")


@pytest.mark.parametrize("spelled", ["~nobody-of-this-name/x", "circle/x"])
def test_what_is_not_a_path_here_is_a_plain_error(folder: Path, spelled: str) -> None:
    """No traceback, and the path is named."""
    (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(UsageError, match="is not a path on this machine") as found:
        resolve_path(spelled)
    assert spelled in str(found.value)
    with pytest.raises(UsageError):
        absolute_queue_url(f"sqlite:{spelled}")
