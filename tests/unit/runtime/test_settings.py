"""Settings: defaults, precedence and invalid values."""

import ast
import os
from pathlib import Path

import pytest

from runtime import settings
from runtime.errors import EXIT_USAGE, UsageError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (settings.QUEUE_URL, settings.STATE_PATH, settings.LEASE_S, settings.GZIP_LEVEL):
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    """What a fresh machine uses."""
    assert settings.default_queue_url() == "sqlite:.braid/queue.db"
    assert settings.tiers() == "2,4,8,16,24,32"
    assert (settings.lease_s(), settings.gzip_level()) == (60, 6)
    assert settings.log_level() == "info"


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` fills what the environment leaves open, and nothing else."""
    (tmp_path / ".env").write_text("LEASE_S=30\nGZIP_LEVEL=9\nQUEUE_URL='sqlite:a b.db'\n")
    monkeypatch.setenv("LEASE_S", "45")
    monkeypatch.setenv("GZIP_LEVEL", "")  # a fixture undoes what the file sets
    monkeypatch.setenv("QUEUE_URL", "x")
    monkeypatch.delenv("QUEUE_URL")
    settings.load_dotenv(tmp_path)
    assert settings.lease_s() == 45
    assert settings.gzip_level() == 9  # an empty variable counts as unset
    assert settings.default_queue_url() == "sqlite:a b.db"


def test_dotenv_is_optional(tmp_path: Path) -> None:
    """Without a `.env` the environment stays as it is."""
    before = dict(os.environ)
    settings.load_dotenv(tmp_path)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("dest", "state"),
    [
        ("gs://bucket/volume", "gs://bucket/volume.runs"),
        ("gs://bucket/a/b/", "gs://bucket/a/b.runs"),
        ("/data/out", "/data/out.runs"),
        ("/data/out/", "/data/out.runs"),
    ],
)
def test_default_state_root_follows_the_destination(dest: str, state: str) -> None:
    """Never inside, where viewers look."""
    assert settings.default_state_url(dest) == state


def test_a_relative_destination_gives_an_absolute_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages carry it to processes that run elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert settings.default_state_url("out") == f"{tmp_path}/out.runs"
    assert settings.default_state_url(".") == f"{tmp_path}.runs"


@pytest.mark.parametrize("dest", ["gs://bucket", "gs://bucket/", "/"])
def test_a_bare_bucket_needs_a_state_path(dest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no last name to append to; the hint names the setting."""
    with pytest.raises(UsageError, match="no last name") as caught:
        settings.default_state_url(dest)
    assert "STATE_PATH" in (caught.value.hint or "")
    assert caught.value.exit_code == EXIT_USAGE
    monkeypatch.setenv("STATE_PATH", "gs://other/runs")
    assert settings.default_state_url(dest) == "gs://other/runs"


@pytest.mark.parametrize(
    ("name", "value", "ask"),
    [
        ("LEASE_S", "0", settings.lease_s),
        ("LEASE_S", "601", settings.lease_s),
        ("LEASE_S", "1.5", settings.lease_s),
        ("LEASE_S", "-5", settings.lease_s),
        ("GZIP_LEVEL", "thirteen", settings.gzip_level),
        ("GZIP_LEVEL", "13", settings.gzip_level),
        ("LOG_LEVEL", "loud", settings.log_level),
        ("LOG_FORMAT", "xml", settings.log_format),
        ("STORAGE_RETRY_S", "soon", settings.storage_retry_s),
        ("STORAGE_RETRY_S", "-1", settings.storage_retry_s),
        ("STORAGE_RETRY_S", "inf", settings.storage_retry_s),
        ("STORAGE_RETRY_S", "nan", settings.storage_retry_s),
    ],
)
def test_an_invalid_value_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, ask: object
) -> None:
    """With the setting and what was found."""
    monkeypatch.setenv(name, value)
    assert callable(ask)
    with pytest.raises(UsageError, match=name) as caught:
        ask()
    assert value in str(caught.value)


# From one process of ours to those that it starts: not a setting.
HANDED_ON = "runtime/interpreter.py: os.environ.get(_OWN_COMMAND)"


def test_no_other_module_reads_the_environment() -> None:
    """One place to look for a setting: `runtime/settings.py`."""
    rooms = (
        "braid",
        "runtime",
        "delivery",
        "memmodel",
        "producer",
        "consumer",
        "infra",
        "shardlift",
    )
    offenders = [
        f"{file.relative_to(ROOT)}: {ast.unparse(node)}"
        for room in rooms
        for file in (ROOT / room).rglob("*.py")
        if file != ROOT / "runtime" / "settings.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if _reads_environment(node)
    ]
    assert [one for one in offenders if one != HANDED_ON] == []


def _reads_environment(node: ast.AST) -> bool:
    """Asks for one variable; handing the whole environment to a child process is fine."""
    if isinstance(node, ast.Subscript):
        return _is_environ(node.value) and isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        asked = node.func.attr in {"get", "pop", "setdefault"} and _is_environ(node.func.value)
        return asked or node.func.attr == "getenv"
    return False


def _is_environ(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def test_a_state_by_a_link_is_found_where_an_earlier_version_kept_it(tmp_path: Path) -> None:
    """Version 0.1.0 resolved no links: its runs count where there are none by the true name."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert settings.default_state_url(str(tmp_path / "link")) == f"{tmp_path}/real.runs"
    (tmp_path / "link.runs").mkdir()
    assert settings.default_state_url(str(tmp_path / "link")) == f"{tmp_path}/link.runs"
    (tmp_path / "real.runs").mkdir()
    assert settings.default_state_url(str(tmp_path / "link")) == f"{tmp_path}/real.runs"
