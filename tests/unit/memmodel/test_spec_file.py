"""Spec files that are none: refused by name, as wrong use."""

import os
from pathlib import Path

import pytest

from memmodel.spec_file import read_spec
from runtime.errors import UnreachableError, UsageError


def test_folders_and_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a pipe would wait for its writer, and could be done only once."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for path in (".", "..", "", str(tmp_path) + "/"):
        with pytest.raises(UsageError, match="is a folder"):
            read_spec(path)
    with pytest.raises(UsageError, match="pipe is not a regular file"):
        read_spec("pipe")
    with pytest.raises(UnreachableError, match="no such spec file"):
        read_spec("nothing.json")


def test_the_document_that_holds_a_spec(tmp_path: Path) -> None:
    """`spec --json` is for scripts: the file that --spec takes is its field `spec`."""
    file = tmp_path / "spec.json"
    file.write_text('{"schema": 1, "spec": {"scales": []}, "notes": []}')
    with pytest.raises(UsageError, match="the document of spec --json") as refused:
        read_spec(str(file))
    assert "without --json" in str(refused.value.hint)
