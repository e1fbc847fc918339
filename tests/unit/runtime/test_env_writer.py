"""Settings kept in `.env`: in place, other lines stay, whole or not at all."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.env_file import read_env_file
from runtime.env_writer import keep_setting
from runtime.errors import UsageError

FOREIGN = """# ours since 2024
export AWS_REGION=eu-west-1   # not ours
PROJECT_ID = old-lab  # the old one

  SCALES="0,1"
PROJECT_ID='newer'
TEXT="two
lines"
"""


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """A `.env` with lines of others."""
    path = tmp_path / ".env"
    path.write_text(FOREIGN)
    return path


def test_the_last_line_of_a_variable_changes_and_no_other(env: Path) -> None:
    """It is the one that counts; comments and quotes of other lines stay as they are."""
    keep_setting(env, "PROJECT_ID", "my-lab")
    assert env.read_text() == FOREIGN.replace("PROJECT_ID='newer'", "PROJECT_ID=my-lab")
    keep_setting(env, "SCALES", "0")
    assert "  SCALES=0\n" in env.read_text()
    keep_setting(env, "AWS_REGION", "us-east-1")
    assert "export AWS_REGION=us-east-1   # not ours\n" in env.read_text()


def test_a_new_variable_gets_a_line_at_the_end(env: Path) -> None:
    """Also where the last line has no end; the file ends with a line break."""
    env.write_text("A=1")
    keep_setting(env, "REGION", "us-central1")
    assert env.read_text() == "A=1\nREGION=us-central1\n"
    env.write_bytes(b"A=1\r\n")
    keep_setting(env, "REGION", "us-central1")
    assert env.read_bytes() == b"A=1\r\nREGION=us-central1\r\n"


def test_a_value_of_several_lines_is_overruled_not_cut(env: Path) -> None:
    """Its own lines stay; the last assignment wins."""
    keep_setting(env, "TEXT", "one")
    assert env.read_text() == f"{FOREIGN}TEXT=one\n"
    assert read_env_file(env)["TEXT"] == "one"


def test_what_is_kept_already_writes_nothing(env: Path) -> None:
    """So a second session leaves the file alone."""
    before = env.stat().st_mtime_ns, env.stat().st_ino
    keep_setting(env, "PROJECT_ID", "newer")
    assert (env.stat().st_mtime_ns, env.stat().st_ino) == before


def test_the_file_keeps_its_mode_its_link_and_its_bytes(tmp_path: Path) -> None:
    """A link stays one; bytes that are not UTF-8, and a mark at the beginning, stay."""
    real = tmp_path / "settings"
    real.write_bytes("\ufeff# café\n".encode() + b"# caf\xe9\nA=1\n")
    real.chmod(0o600)
    link = tmp_path / ".env"
    link.symlink_to(real)
    keep_setting(link, "B", "2")
    assert link.is_symlink()
    assert real.read_bytes() == "\ufeff# café\n".encode() + b"# caf\xe9\nA=1\nB=2\n"
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "settings"]


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=30))
def test_any_value_comes_back_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    """Quotes, blanks, hashes, backslashes; what cannot be kept changes nothing."""
    path = tmp_path_factory.mktemp("env") / ".env"
    path.write_text("A=1\n")
    try:
        keep_setting(path, "SOURCE_PATH", value)
    except UsageError:
        assert path.read_text() == "A=1\n"
    else:
        assert read_env_file(path) == {"A": "1", "SOURCE_PATH": value}


def test_what_cannot_hold_settings_is_refused(tmp_path: Path) -> None:
    """A folder, which many a virtual environment is; UTF-16; a folder that is read-only."""
    folder = tmp_path / ".env"
    folder.mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        keep_setting(folder, "A", "1")
    utf16 = tmp_path / "other"
    utf16.write_text("A=1\n", "utf-16")
    with pytest.raises(UsageError, match="not UTF-8"):
        keep_setting(utf16, "A", "2")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(UsageError, match="cannot be written"):
            keep_setting(tmp_path / "new", "A", "1")
        tmp_path.chmod(0o700)
