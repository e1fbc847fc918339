"""Every command with --json on a real run: one document on stdout, which is its model's."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shardlift.json_documents import DOCUMENTS
from tests.support.commands import CommandResult
from tests.support.workspace import Workspace, corrupt_zstd, make_small_workspace

MODELS = {one.command: one for one in DOCUMENTS}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ENQUEUE = ("--scales", "0", "--downres", "1", "--queue", "sqlite:queue.db")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run with a dead shard, a blocked one, and ten that are done."""
    workspace = make_small_workspace(tmp_path_factory.mktemp("broken"))
    corrupt_zstd(workspace.arrow())
    done = workspace.run(*workspace.enqueue_command(*ENQUEUE, "--wait", "--json"))
    assert done.returncode == 1, done.stderr
    document = checked("enqueue", done)
    assert (document["outcome"], document["published"]) == ("created", 12)
    assert document["status"]["ended"]
    return workspace


def checked(command: str, done: CommandResult) -> Any:  # noqa: ANN401 - JSON
    """The one document on stdout, read by its model and equal to what the model prints."""
    found, kind = done.document, MODELS[command]
    for one in found if kind.is_list else [found]:
        assert next(iter(one.items())) == ("schema", 1)
        again = json.loads(kind.model.model_validate_json(json.dumps(one)).text())
        assert again == one
        check_times(one)
    return found


def check_times(value: object, name: str = "") -> None:
    """Every time is UTC and ends in Z."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_times(inner, key)
    elif isinstance(value, list):
        for inner in value:
            check_times(inner, name)
    elif name in {"at", "created", "started", "finished", "since"} and value is not None:
        assert TIME.fullmatch(str(value)), (name, value)


@pytest.mark.parametrize(
    ("command", "options", "code"),
    [
        ("status", (), 0),
        ("runs", (), 0),
        ("errors", (), 1),
        ("dead-letters list", (), 0),
        ("dead-letters show", ("s0/0",), 0),
        ("report", ("--out", "report.html"), 0),
        ("verify", ("--values", "3", "--deep"), 1),
        ("cancel", (), 0),
        ("memory labels", ("--target-scale", "1"), 0),
        ("memory fit", ("--out", "coefficients.json"), 0),
        ("replay", ("--shards", "s0/1"), 0),
        ("dead-letters requeue", ("s0/0",), 0),
    ],
)
def test_commands_about_a_run(
    broken: Workspace, command: str, options: tuple[str, ...], code: int
) -> None:
    """Each names the run; exit codes are those without --json."""
    program = "memmodel" if command.startswith("memory") else "producer"
    words = command.removeprefix("memory ").split()
    done = run(broken, program, *words, *options, "--dest", "out", "--json")
    assert done.returncode == code, done.stderr
    found = checked(command, done)
    if program == "producer":
        one = found[0] if command == "runs" else found
        assert one["run_id"] == (broken.volume.parent / "out.runs" / one["run_id"]).name


def test_commands_before_a_run(broken: Workspace) -> None:
    """They need no ledger."""
    spec, export = ("--spec", "spec.json"), ("--source", "export")
    arrow = str(broken.arrow(1).relative_to(broken.folder))
    for command, words in {
        "init": ("init", *spec, "--dest", "fresh"),
        "validate": ("validate", *export, *spec),
        "offsets": ("offsets", *export, "--dry-run"),
        "memory estimate": ("estimate", arrow, *spec),
    }.items():
        program = "memmodel" if command.startswith("memory") else "producer"
        done = run(broken, program, *words, "--json")
        assert done.returncode == (1 if command == "validate" else 0), done.stderr
        checked(command, done)


def test_a_dry_run_lists_each_shard(broken: Workspace) -> None:
    """With its tier, why it is made, and the bill of all; nothing is written."""
    command = broken.enqueue_command(*ENQUEUE, "--dry-run", "--json", dest="other")
    found = checked("enqueue", broken.run(*command))
    assert found["outcome"] == "dry run"
    assert len(found["shards"]) == sum(tier["shards"] for tier in found["tiers"]) == 14
    assert {shard["reason"] for shard in found["shards"]} == {"not made yet"}
    assert found["bill"]["total"]["worker_pool"] > 0
    assert not (broken.folder / "other").exists()


def test_an_error_is_a_document_too(broken: Workspace) -> None:
    """On stdout as JSON, on stderr in words, with the same exit code."""
    for words, code in {
        ("status", "--dest", "nowhere"): 2,
        ("status", "--no-such-option"): 2,
        ("dead-letters", "show", "s0/9", "--dest", "out"): 2,
        ("validate", "--source", "nowhere", "--spec", "spec.json"): 3,
    }.items():
        done = broken.run(*words, "--json")
        found = checked("", done)
        assert found["exit_code"] == done.returncode == code
        assert f"error: {found['error']}" in done.stderr


def test_dropped_shards_are_named(tmp_path: Path) -> None:
    """`dead-letters drop` of a run of its own."""
    workspace = make_small_workspace(tmp_path / "dropped")
    corrupt_zstd(workspace.arrow())
    assert workspace.run(*workspace.enqueue_command(*ENQUEUE, "--wait")).returncode == 1
    done = workspace.of_run("dead-letters", "drop", "--all", "--yes", "--json")
    assert checked("dead-letters drop", done)["dropped"] == ["s0/0"]


def test_a_sample_tells_of_the_whole(tmp_path: Path) -> None:
    """The three densest shards are made, by bytes of their sources; then the rest, without them."""
    workspace = make_small_workspace(tmp_path / "sampled")
    sizes = {path.stem: path.stat().st_size for path in (workspace.export / "s0").glob("*.arrow")}
    command = workspace.enqueue_command(*ENQUEUE)
    found = checked("enqueue", workspace.run(*command, "--sample", "--json"))
    sample, status = found["sample"], found["status"]
    made = [shard["bytes_in"] for shard in sample["shards"]]
    assert status["shards"] == dict.fromkeys(found["selection"]["shards"], "done")
    assert len(made) == 3
    assert min(made) >= sorted(sizes.values())[-3]
    assert (sample["of_shards"], sample["all_shards"]) == (12, 14)
    for name in ("worker_seconds", "seconds_here", "largest_bytes", *sample["dollars"]):
        one = sample["dollars"].get(name) or sample[name]
        assert 0 < one["low"] <= one["likely"] <= one["high"]
    text = workspace.run(*command, "--sample")
    assert text.stdout.startswith("nothing to do: 3 shards are all done in run ")
    assert re.search(r"the whole, 14 shards +low +likely +high", text.stdout)
    assert workspace.run(*command, "--wait").returncode == 0
    entries = checked("runs", workspace.of_run("runs", "--json"))
    assert [(one["done"], one["selection"] is None) for one in entries] == [(3, False), (11, True)]


@pytest.mark.parametrize(
    "other", [("--dry-run",), ("--overwrite",), ("--limit", "1"), ("--shards", "s0/0")]
)
def test_what_contradicts_a_sample_is_refused(broken: Workspace, other: tuple[str, ...]) -> None:
    """Nothing is written."""
    done = broken.run(*broken.enqueue_command(*ENQUEUE, "--sample", *other, dest="third"))
    assert done.returncode == 2
    assert "error: --sample and --" in done.stderr
    assert not (broken.folder / "third").exists()


def run(workspace: Workspace, program: str, *words: str) -> CommandResult:
    """Run a command of any program in the workspace."""
    if program == "producer":
        return workspace.run(*words)
    return workspace.run_subprocess(*words, program=program)
