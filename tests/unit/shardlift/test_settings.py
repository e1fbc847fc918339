"""`shardlift settings`: values and where they came from; slips in `.env`."""

import json
import os
from pathlib import Path
from typing import Any

from runtime import settings
from tests.support.commands import CommandResult, run_in_process


def show(folder: Path, *arguments: str, **environment: str) -> CommandResult:
    """Run the command with no settings but these."""
    known = {k: v for k, v in os.environ.items() if k not in settings.NAMES}
    return run_in_process("shardlift", *arguments, folder=folder, environment=known | environment)


def entries(done: CommandResult) -> dict[str, dict[str, Any]]:
    """The settings of the document by name."""
    return {one["name"]: one for one in json.loads(done.stdout)["settings"]}


def test_each_has_its_origin(tmp_path: Path) -> None:
    """Flag, environment, .env, default, not set, in this order."""
    (tmp_path / ".env").write_text("DEST_PATH=file\nTIERS=1,2\nLEASE_S=30\nGZIP_LEVEL=\n")
    done = show(tmp_path, "settings", "--json", "--dest", "flag", LEASE_S="20", DEST_PATH="e")
    found = entries(done)
    assert done.returncode == 0
    assert {
        name: (found[name]["value"], found[name]["origin"])
        for name in ("DEST_PATH", "LEASE_S", "TIERS", "GZIP_LEVEL", "SOURCE_PATH", "STATE_PATH")
    } == {
        "DEST_PATH": ("flag", "flag"),
        "LEASE_S": ("20", "environment"),
        "TIERS": ("1,2", ".env"),
        "GZIP_LEVEL": ("6", "default"),
        "SOURCE_PATH": (None, "not set"),
        "STATE_PATH": (str(tmp_path / "flag.runs"), "default"),
    }
    assert found.keys() == settings.NAMES - settings.FOR_TESTS


def test_a_table_for_people(tmp_path: Path) -> None:
    """A line for each, without passwords."""
    done = show(tmp_path, "settings", STORAGE_EMULATOR_HOST="http://me:secret@host:1")
    line = next(one for one in done.stdout.splitlines() if "STORAGE_EMULATOR_HOST" in one)
    assert line.split() == ["STORAGE_EMULATOR_HOST", "environment", "http://***@host:1"]
    assert "secret" not in done.stdout


def test_slips_in_the_file(tmp_path: Path) -> None:
    """A name that is a setting's but for a slip is noted by every command, others by this one."""
    (tmp_path / ".env").write_text("DEST_PAHT=x\nMY_TOKEN=abc\n")
    done = show(tmp_path, "settings")
    slip = "note: .env: DEST_PAHT is not a setting; did you mean DEST_PATH?\n"
    assert done.stderr == f"{slip}note: .env: MY_TOKEN is not a setting of shardlift\n"
    assert "abc" not in done.stdout + done.stderr
    document = json.loads(show(tmp_path, "settings", "--json").stdout)
    assert document["unknown"] == {"DEST_PAHT": "DEST_PATH", "MY_TOKEN": None}
    size = ("spec", "--size", "64,64,64")
    assert slip in show(tmp_path, *size).stderr
    assert slip not in show(tmp_path, *size, "--quiet").stderr
