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
