"""`shardlift doctor`: what is wrong, and what to do about it."""

import json
import os
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from delivery.broker import sqlite_file
from runtime import settings
from shardlift.doctor import machine, places
from shardlift.doctor.finding import Finding
from shardlift.doctor.places import Places
from tests.support.commands import CommandResult, run_in_process
from tests.support.gcs_server import GcsServer

QUEUE = settings.DEFAULT_QUEUE_URL


def doctor(folder: Path, *arguments: str, **environment: str) -> CommandResult:
    """Run the command with no settings but these."""
    known = {k: v for k, v in os.environ.items() if k not in settings.NAMES}
    return run_in_process(
        "shardlift", "doctor", *arguments, folder=folder, environment=known | environment
    )


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    """Each check has a line; nothing is left behind."""
    (tmp_path / "export").mkdir()
    done = doctor(tmp_path, "--source", "export", "--dest", "out")
    assert done.returncode == 0, done.stdout
    for check in ("python", "kernels", "kernels: zstd", "processors", "memory", "queue", "source"):
        assert any(line[10:].startswith(f"{check}: ") for line in done.stdout.splitlines()), check
    assert "out: writable" in done.stdout
    assert "not needed: no place in the cloud" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_problems_have_a_fix_and_a_code(tmp_path: Path) -> None:
    """A folder that is not there, a disk that cannot be written, a queue of an unknown kind."""
    done = doctor(
        tmp_path, "--source", "absent", "--dest", "/proc/x", "--queue", "redis://x", "--json"
    )
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["schema"], document["state"]) == (1, "problem")
    wrong = {one["check"]: one for one in document["findings"] if one["state"] == "problem"}
    assert set(wrong) == {"source", "dest", "queue"}
    assert all(one["fix"] for one in wrong.values())


def test_a_queue_on_a_network_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is a problem before a run finds it."""
    mount = SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4", device="host:/x")
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [mount])
    assert sqlite_file.on_network(tmp_path, [mount]) == "nfs4"
    found = places.queue(f"sqlite:{tmp_path}/sub/q.db")
    assert found.state == "problem"
    assert "network file system (nfs4)" in found.text
    assert not (tmp_path / "sub").exists()


def test_buckets(tmp_path: Path) -> None:
    """A bucket that exists is tried, and where it is; one that does not is a problem.

    Objects that a bucket keeps after they are deleted cost money: a warning with its fix.
    """
    with GcsServer() as server:
        server.make_bucket("keeps")
        kept = {"retentionDurationSeconds": "0"}
        server.make_bucket("bucket", location="US-EAST4", softDeletePolicy=kept)
        well = doctor(tmp_path, "--dest", "gs://bucket/v", STORAGE_EMULATOR_HOST=server.url)
        costly = doctor(tmp_path, "--dest", "gs://keeps/v", STORAGE_EMULATOR_HOST=server.url)
        wrong = doctor(tmp_path, "--source", "gs://absent/e", STORAGE_EMULATOR_HOST=server.url)
    assert well.returncode == 0, well.stdout
    assert "ok        dest: gs://bucket/v: writable, in us-east4\n" in well.stdout
    assert "warning   dest: gs://keeps/v: writable, in us; replaced" in costly.stdout
    assert "gcloud storage buckets update gs://keeps --clear-soft-delete" in costly.stdout
    assert "credentials: not needed: an emulator is set" in well.stdout
    assert wrong.returncode == 1
    assert "problem   source: " in wrong.stdout


def test_credentials_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named with the command that makes them."""
    for name in (settings.STORAGE_EMULATOR_HOST, settings.PUBSUB_EMULATOR_HOST):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    found = places.credentials(Places("gs://bucket/e", None, None, QUEUE))
    assert found.state == "problem"
    assert "gcloud auth" in (found.fix or "")


def test_little_memory_few_files_no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings, each with its fix."""
    monkeypatch.setattr(machine, "free_bytes", lambda: 100 << 20)
    monkeypatch.setattr(machine, "file_limit", lambda: 256)
    monkeypatch.setattr(machine, "_C_FUNCTIONS", {"zstandard": ("zstd", lambda: None)})
    monkeypatch.setattr(webbrowser, "get", _no_browser)
    found = [machine.memory(), machine.open_files(), *machine.c_functions(), machine.browser()]
    assert [one.state for one in found] == ["warning"] * 4
    assert all(one.fix for one in found)
    assert "TIERS" in (found[0].fix or "")


def _no_browser() -> Finding:
    raise webbrowser.Error
