"""Fixtures that every test may use."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import settings

from tests.support.gcs_server import GcsServer

if TYPE_CHECKING:
    from tests.support.google_server import GoogleServer

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Machines are shared: a slow example is not a finding.
settings.register_profile("home", deadline=None)
# CI repeats itself, so that a red run is about the change; new examples are looked for at home.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")

# Tests start programs a hundred times, and each would compile all our modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# As in an active environment: commands in messages begin with `python`.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# A shell's background jobs ignore Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and specs in `../shared`; tests that need them skip where there are none."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (real data next to the clone)")
    return SHARED


# -- queues: Google's emulator, one per test process


@pytest.fixture(scope="session")
def pubsub_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of an emulator that clients find by themselves; see `tests.support.emulator`."""
    from tests.support.emulator import environment_of, running_emulator  # noqa: PLC0415 - Google's client

    log = tmp_path_factory.mktemp("emulator") / "emulator.log"
    with running_emulator(log) as host, environment_of(host):
        yield host


# -- Google's control planes: a strict server, a new one per test


@pytest.fixture
def google_server(monkeypatch: pytest.MonkeyPatch) -> Iterator["GoogleServer"]:
    """Services that new clients find by themselves; see `tests.support.google_server`."""
    from tests.support.google_server import GoogleServer  # noqa: PLC0415 - Google's documents

    with GoogleServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


# -- storage: a fake GCS, one per test process, a new bucket per test


@pytest.fixture(scope="session")
def gcs_process() -> Iterator[GcsServer]:
    """The fake GCS of this test process; tests use `gcs`."""
    with GcsServer() as server:
        yield server


@pytest.fixture
def gcs(gcs_process: GcsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """A fake GCS for Google's client and TensorStore, here and in processes started here."""
    for name, value in gcs_process.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_RETRY_S", "5")
    gcs_process.heal()
    yield gcs_process
    gcs_process.heal()


@pytest.fixture
def bucket(gcs: GcsServer) -> str:
    """The name of a new, empty bucket."""
    name = f"bucket-{uuid4().hex[:12]}"
    gcs.make_bucket(name)
    return name
