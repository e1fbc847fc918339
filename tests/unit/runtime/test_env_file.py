"""The `.env`: encodings, what is not text, empty variables."""

import os
from pathlib import Path

import pytest

from runtime import settings
from runtime.env_file import read_env_file
from runtime.errors import UsageError

TEXT = "# a comment\nSOURCE_PATH=/data/export\nexport TIERS='2,4'\n"
VALUES = {"SOURCE_PATH": "/data/export", "TIERS": "2,4"}


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),  # as PowerShell's `echo A=B > .env` writes it
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        b"# caf\xe9\n" + TEXT.encode(),
    ],
    ids=["utf-8", "crlf", "utf-8-sig", "utf-16", "utf-16-be", "le", "be", "utf-32", "latin-1"],
)
def test_encodings(tmp_path: Path, data: bytes) -> None:
    """Variables are the same in each encoding that editors and shells write."""
    (tmp_path / ".env").write_bytes(data)
    assert read_env_file(tmp_path / ".env") == VALUES


def test_a_value_keeps_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is bytes: a path in Latin-1 stays the path that it is."""
    monkeypatch.delenv("SOURCE_PATH", raising=False)
    (tmp_path / ".env").write_bytes(b"SOURCE_PATH=/caf\xe9\n")
    settings.load_dotenv(tmp_path)
    assert os.environb[b"SOURCE_PATH"] == b"/caf\xe9"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (bytes(range(256)), "is not text"),
        (b"\xff\xfeA", "is not text"),
        (bytes(5000), "is not text"),
        (b"A=b\n" * (1 << 20), "too large for settings"),
    ],
    ids=["binary", "half UTF-16", "NUL", "large"],
)
def test_what_is_not_a_settings_file_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    """Wrong configuration, in one line that names the file."""
    (tmp_path / ".env").write_bytes(data)
    with pytest.raises(UsageError, match=what) as caught:
        read_env_file(tmp_path / ".env")
    assert ".env" in str(caught.value)
    assert caught.value.hint


def test_a_folder_of_this_name_is_no_settings_file(tmp_path: Path) -> None:
    """Many a virtual environment is called `.env`."""
    (tmp_path / ".env").mkdir()
    assert read_env_file(tmp_path / ".env") == {}
    assert read_env_file(tmp_path / "file" / ".env") == {}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A named pipe without a writer would hold the command for good."""
    os.mkfifo(tmp_path / ".env")
    with pytest.raises(UsageError, match="is not a file"):
        read_env_file(tmp_path / ".env")


def test_an_empty_variable_of_ours_counts_as_unset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `docker compose` hands on what its host does not set; other programs' stay empty."""
    (tmp_path / ".env").write_text("QUEUE_URL=sqlite:mine.db\nHTTPS_PROXY=http://proxy\n")
    monkeypatch.setenv("QUEUE_URL", "")
    monkeypatch.setenv("HTTPS_PROXY", "")
    settings.load_dotenv(tmp_path)
    assert settings.default_queue_url() == "sqlite:mine.db"
    assert os.environ["HTTPS_PROXY"] == ""
