"""Every command with --json on a real run: one document on stdout, which is its model's."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from producer.actions import demo
from shardlift.json_documents import DOCUMENTS
from tests.support.cloud_project import CloudProject
from tests.support.commands import CommandResult, run_in_process
from tests.support.gcs_server import GcsServer
from tests.support.google_server import GoogleServer
from tests.support.workspace import (
    Workspace,
    clean_environment,
    corrupt_zstd,
    make_small_workspace,
)

MODELS = {one.command: one for one in DOCUMENTS}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ENQUEUE = ("--scales", "0", "--downres", "1", "--queue", "sqlite:queue.db")
RUN, EXPORT, SPEC = ("--dest", "out"), ("--source", "export"), ("--spec", "spec.json")
PARTS = ("--only", "apis,buckets,topics,accounts,pools")

Run = Callable[..., CommandResult]
"""Runs `shardlift` with these arguments at a place."""


class Case(NamedTuple):
    """One run of a command.

    Attributes:
        command: as it is typed after `shardlift`; empty: one that fails.
        words: its arguments.
        codes: exit codes that it may have, which are those without --json.
        place: fixture that runs it.
    """

    command: str
    words: tuple[str, ...] = ()
    codes: frozenset[int] = frozenset([0])
    place: str = "in_run"


FINDINGS: Final = frozenset([1])
CASES = (  # those that change the run come last
    Case("", ("status", "--dest", "nowhere"), frozenset([2])),
    Case("demo", (), place="in_small_demo"),
    Case("spec", ("--size", "512,512,512")),
    Case("init", (*SPEC, "--dest", "fresh")),
    Case("validate", (*EXPORT, *SPEC), FINDINGS),
    Case("offsets", (*EXPORT, "--dry-run")),
    Case("memory estimate", ("export/s0/64_0_0.arrow", *SPEC)),
    Case("enqueue", (*EXPORT, *SPEC, *ENQUEUE, "--tiers", "0.5", "--dest", "another")),
    Case("status", RUN),
    Case("runs", RUN),
    Case("errors", RUN, FINDINGS),
    Case("report", ("--out", "report.html", *RUN)),
    Case("verify", ("--values", "3", "--deep", *RUN), FINDINGS),
    Case("view", ("--link", "--dest", "https://example.org/brain")),
    Case("thumb", ("--out", "pictures", *RUN)),
    Case("memory labels", ("--target-scale", "1", *RUN)),
    Case("memory fit", ("--out", "coefficients.json", *RUN)),
    Case("doctor", RUN, frozenset([0, 1])),  # a machine may have problems
    Case("settings", RUN),
    Case("infra up", PARTS, place="in_cloud"),
    Case("infra check", PARTS, place="in_cloud"),
    Case("infra start", ("--dry-run",), place="in_cloud"),
    Case("infra instances", place="in_cloud"),
    Case("infra autoscale", ("--once",), place="in_cloud"),
    Case("infra render", ("kubernetes",), place="in_cloud"),
    Case("infra stop", ("--dry-run",), place="in_cloud"),
    Case("infra down", ("--dry-run",), place="in_cloud"),
    Case("dead-letters list", RUN),
    Case("dead-letters show", ("s0/0", *RUN)),
    Case("cancel", RUN),
    Case("replay", ("--shards", "s0/1", *RUN)),
    Case("dead-letters requeue", ("s0/0", *RUN)),
    Case("dead-letters drop", ("s0/0", *RUN), place="in_other_run"),
)


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


def runner(folder: Path, environment: Mapping[str, str]) -> Run:
    """Runs `shardlift` in a folder."""

    def run(*words: str) -> CommandResult:
        return run_in_process("shardlift", *words, folder=folder, environment=environment)

    return run


@pytest.fixture
def in_run(broken: Workspace) -> Run:
    """Beside the run with a dead shard."""
    return runner(broken.folder, clean_environment())


@pytest.fixture
def in_other_run(tmp_path: Path) -> Run:
    """Beside such a run of its own."""
    workspace = make_small_workspace(tmp_path / "other")
    corrupt_zstd(workspace.arrow())
    assert workspace.run(*workspace.enqueue_command(*ENQUEUE, "--wait")).returncode == 1
    return runner(workspace.folder, clean_environment())


@pytest.fixture
def in_small_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """In an empty folder; the demo's volume is smaller than usual."""
    monkeypatch.setattr(demo, "SIZE", (130, 70, 66))
    return runner(tmp_path, clean_environment())


@pytest.fixture(scope="module")
def cloud(pubsub_emulator: str, gcs_process: GcsServer) -> Iterator[CloudProject]:
    """A project in which `infra up` has made everything."""
    del pubsub_emulator
    with GoogleServer() as google, pytest.MonkeyPatch.context() as patch:
        for server in (google, gcs_process):
            for name, value in server.environment().items():
                patch.setenv(name, value)
        gcs_process.heal()
        found = CloudProject(google, gcs_process)
        gcs_process.make_bucket(found.source, location="US-CENTRAL1")
        checked("infra up", found.run("up", "--only", "pools", "--home", "jobs", "--json"))
        checked("infra up", found.run("up", *PARTS, "--json"))
        yield found


@pytest.fixture
def in_cloud(cloud: CloudProject, tmp_path: Path) -> Run:
    """With the settings of that project."""
    return runner(tmp_path, cloud.environment)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.command or "failing")
def test_each_document_is_its_models(case: Case, request: pytest.FixtureRequest) -> None:
    """Of each command, on a run of it; a document about a run names it."""
    run: Run = request.getfixturevalue(case.place)
    done = run(*case.command.split(), *case.words, "--json")
    assert done.returncode in case.codes, done.stderr
    found = checked(case.command, done)
    one = found[0] if MODELS[case.command].is_list else found
    if case.words[-2:] == RUN and "run_id" in one:
        assert one["run_id"]
        assert (one.get("uri") or one["run"]).endswith(f"/out.runs/{one['run_id']}")
    if not case.command:
        assert one["exit_code"] == done.returncode


def test_every_document_is_checked() -> None:
    """The table names each command of the page once."""
    assert sorted(case.command for case in CASES) == sorted(MODELS)


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
