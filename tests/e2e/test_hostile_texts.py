"""Every command over an export, ledger, queue and volume whose every text is hostile.

Whatever others write into names, contents, reasons and messages, a terminal, a log, a JSON reader
and a browser get printable text, and no line that we did not write.
"""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import consumer.__main__
import infra.__main__
import memmodel.__main__
import producer.__main__
from delivery.broker import open_broker
from delivery.ledger.failures import Failure
from delivery.ledger.run import Run, list_runs
from delivery.messages import Hop, ShardMessage, now
from producer.report.coverage_script import POLICY, SCRIPT
from producer.synthetic_export import sample_spec
from tests.support.commands import CommandResult, run_in_process
from tests.support.gcs_server import GcsServer, refused
from tests.support.workspace import Workspace, clean_environment, converted_workspace

EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\u202e\x7f[red]:bomb:</td><script>\nerror: forged\u2028x"
)
NAME = EVIL.replace("/", "|")  # of a file
RUN_ID = "evil\x1b[31m\u202e"
PROGRAMS = {
    "producer": producer.__main__,
    "consumer": consumer.__main__,
    "memmodel": memmodel.__main__,
    "infra": infra.__main__,
}
OF_RUN = ("--dest", "out", "--queue", "sqlite:queue.db")
OTHER = ("--source", "export", "--dest", "other", "--spec", "evil.json")
OURS = ("--source", "export", "--dest", "other", "--spec", "spec.json")
COMMANDS = (
    "producer spec --size {evil}",
    "producer init --spec evil.json --dest other",
    "producer init --spec spec.json --dest other",
    "producer init --spec {evil} --dest other",
    "producer validate --source export --spec spec.json",
    "producer validate --source export --spec spec.json --json",
    "producer validate --source export --spec evil.json",
    "producer offsets --source export --dry-run",
    "producer offsets --source {evil}",
    "producer enqueue {ours} --dry-run",
    "producer enqueue {ours} --dry-run --partial",
    "producer enqueue {ours}",
    "producer enqueue {other}",
    "producer enqueue --source export --spec spec.json {of_run} --dry-run",
    "producer enqueue {evil}",
    "producer runs --dest out",
    "producer runs --dest out --json",
    "producer status {of_run}",
    "producer status {of_run} --json",
    "producer status {of_run} --run {evil}",
    "producer status --run {evil_run} --dest out",
    "producer errors --dest out",
    "producer errors --dest out --details",
    "producer errors --dest out --json",
    "producer dead-letters list {of_run}",
    "producer dead-letters list {of_run} --json",
    "producer dead-letters show {key} {of_run}",
    "producer dead-letters show {key} {of_run} --json",
    "producer dead-letters show {evil} {of_run}",
    "producer dead-letters requeue {evil} {of_run}",
    "producer dead-letters requeue {key} --tier {evil} {of_run}",
    "producer dead-letters drop {evil} {of_run}",
    "producer replay --shards {evil} {of_run}",
    "producer verify --dest out",
    "producer verify --dest out --json --deep",
    "producer verify --dest out --values 20",
    "producer verify --dest evil-volume --source export",
    "producer report --dest out --out report.html",
    "producer view --dest evil-volume --no-browser",
    "producer view --dest {evil} --no-browser",
    "producer thumb --dest evil-volume --out pictures",
    "producer thumb --dest {evil} --out {evil_file}",
    "producer demo --dir {evil_file}",
    "memmodel estimate export/s0/{evil_name} --spec spec.json",
    "memmodel estimate {evil} --spec evil.json",
    "memmodel labels --target-scale 1 --dest out",
    "memmodel fit --dest out",
    "memmodel fit --run {evil}",
    "infra up --queue {evil}",
    "infra check --queue pubsub://{evil}/x",
    "infra down --queue pubsub://{evil}/x --state {evil}",
    "infra stop --queue pubsub://{evil}/x --region {evil}",
    "infra start --queue pubsub://{evil}/x --state {evil}",
    "infra autoscale --queue pubsub://{evil}/x --state {evil} --once",
    "infra instances --queue pubsub://{evil}/x",
    "infra render kubernetes --queue pubsub://{evil}/x --state {evil} --image {evil}",
    "infra render slurm --queue {evil} --state {evil}",
    "shardlift doctor --source {evil} --dest {evil} --queue {evil}",
    "shardlift settings --dest {evil} --queue {evil}",
    "shardlift settings --dest {evil} --json",
    "consumer work --tier {evil} --dest out",
    "consumer work --tier 512mi --run {evil}",
    "consumer fleet --memory {evil} --dest out",
    "consumer fleet --queue {evil} --until-drained",
    "producer cancel --dest out",
    "producer cancel --dest out --run {evil}",
    "producer status {of_run}",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run, and everything around it written by an attacker."""
    made = converted_workspace(tmp_path_factory.mktemp("hostile") / "workspace")
    (run,) = list_runs(str(made.folder / "out.runs"))
    _poison_ledger(run)
    _poison_queue(run, made.folder)
    _poison_export(made.export)
    (made.volume / made.spec.scales[0].key / NAME).write_bytes(b"x")
    spec = sample_spec((256, 256, 256))
    spec["scales"][0]["key"] = spec[EVIL] = EVIL
    (made.folder / "evil.json").write_text(json.dumps(spec | {"data_type": EVIL}))
    (made.folder / "evil-volume").mkdir()
    (made.folder / "evil-volume" / "info").write_text(json.dumps(spec))
    (made.folder / NAME).write_text("a file")
    return made


def _poison_ledger(run: Run) -> None:
    """Write into every text of the ledger that is nobody's key."""
    folder = Path(run.uri)
    _change(folder / "run.json", partial=[EVIL, EVIL], version=EVIL)
    lost, spoilt, *_ = sorted((folder / "receipts" / "s0").iterdir())
    for receipt in (folder / "receipts").rglob("*.json"):
        _change(receipt, worker=EVIL)
    bad = {"chunk": [0, 0, 0], "file": EVIL, "row": 1, "reason": EVIL}
    _change(spoilt, bad_chunks=[bad], bad_chunk_count=1)
    key = f"s0/{lost.stem}"
    lost.unlink()
    hop = Hop(tier=EVIL, reason=EVIL, at=now(), worker=EVIL)
    run.failures.put(
        Failure(
            key=key,
            kind="convert",
            tier=EVIL,
            at=now(),
            reason=EVIL,
            history=(hop,),
            worker=EVIL,
        )
    )
    beat = {"worker": EVIL, "tier": EVIL, "key": EVIL, "at": now().isoformat()}
    (folder / "workers").mkdir(exist_ok=True)
    (folder / "workers" / "x.json").write_text(json.dumps(beat))
    (folder.parents[1] / "key").write_text(key)
    copy = folder.parent / RUN_ID
    shutil.copytree(folder, copy)
    _change(copy / "run.json", run_id=EVIL, created="2020-01-01T00:00:00Z")
    (copy / "cancelled.json").write_text(json.dumps({"at": now().isoformat(), "why": EVIL}))


def _change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))


def _poison_queue(run: Run, folder: Path) -> None:
    """Publish a dead letter of another shard, one of no run, and bytes that are no message."""
    key = max(run.receipts.list())
    hop = Hop(tier=EVIL, reason=EVIL, at=now(), worker=EVIL)
    letter = ShardMessage(run=run.uri, key=key, kind="downsample", history=(hop,), reason=EVIL)
    stray = ShardMessage(run=f"/{EVIL}", key=key, kind="convert", reason=EVIL)
    with open_broker(f"sqlite:{folder}/queue.db", ["512mi"], 5) as broker:
        broker.publish("dead", [letter, stray])


def _poison_export(export: Path) -> None:
    """Write hostile names, indices, logs and truncated files into the export."""
    first, second, third, *_ = sorted((export / "s0").glob("*.arrow"))
    (export / "s0" / NAME).with_suffix(".arrow").write_bytes(EVIL.encode())
    (export / "s0" / f"{NAME}.csv").write_text(EVIL)
    (export / "s0" / f"{NAME}.part").write_text(EVIL)
    first.with_suffix(".csv").write_text(EVIL)
    index = second.with_suffix(".csv")
    index.write_text(f"{index.read_text()}{EVIL},{EVIL},{EVIL},{EVIL},{EVIL}\n")
    third.write_bytes(EVIL.encode() * 100)
    (export / "export.log").write_text(f"{EVIL}\n{json.dumps({'msg': EVIL})}\n")


def key_of(workspace: Workspace) -> str:
    """The shard whose failure record is hostile."""
    return (workspace.folder / "key").read_text()


def arguments(command: str, workspace: Workspace) -> list[str]:
    """The words of a command, with hostile ones in their places."""
    several = {"{of_run}": OF_RUN, "{ours}": OURS, "{other}": OTHER}
    one = {
        "{evil}": EVIL,
        "{evil_run}": RUN_ID,
        "{evil_name}": NAME,
        "{evil_file}": NAME,
        "{key}": key_of(workspace),
    }
    words: list[str] = []
    for word in command.split():
        if word in several:
            words += several[word]
        else:
            for name, text in one.items():
                word = word.replace(name, text)  # noqa: PLW2901 - the word it becomes
            words.append(word)
    return words


def check_lines(text: str, *, what: str) -> None:
    """Text is printable but for line feeds, and holds no line of the attacker's."""
    for line in text.split("\n"):
        assert line.isprintable(), f"{what}: {line!r}"
        assert not line.startswith("error: forged"), f"{what}: {text!r}"


@pytest.mark.parametrize("command", COMMANDS)
def test_what_others_wrote_is_printed_escaped(workspace: Workspace, command: str) -> None:
    """Results, errors, hints, and logs at every level."""
    log_format = "json" if "--json" in command else "human"
    ended = run(workspace, command, LOG_FORMAT=log_format, LOG_LEVEL="debug")
    check_lines(ended.stdout, what="stdout")
    check_lines(ended.stderr, what="stderr")
    if "--json" in command and ended.stdout:
        assert ended.stdout.isascii()
        json.loads(ended.stdout)
    if log_format == "json":
        for line in ended.stderr.splitlines():
            if line.startswith("{"):
                assert json.loads(line)["event"]


def run(workspace: Workspace, command: str, **environment: str) -> CommandResult:
    """Run one command in the workspace; a run of a consumer is a process of its own."""
    program, *words = arguments(command, workspace)
    env = clean_environment() | environment
    if program != "consumer":
        return run_in_process(program, *words, folder=workspace.folder, environment=env)
    done = subprocess.run(
        [sys.executable, "-m", program, *words],
        cwd=workspace.folder,
        env=env,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return CommandResult(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_every_command_is_among_them() -> None:
    """A new command joins the list above."""
    walked = {" ".join(command.split()[:3]) for command in COMMANDS}
    for program, module in PROGRAMS.items():
        for name in _names(typer.main.get_command(module.app)):
            assert any(f"{one} ".startswith(f"{program} {name} ") for one in walked), name


def _names(group: Any) -> Iterator[str]:  # noqa: ANN401 - Typer's own, by version
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {})
        yield from (f"{name} {word}" for word in inner) if inner else (name,)


@pytest.mark.parametrize(
    "command",
    [
        "producer status {of_run}",
        "producer status {of_run} --watch",
        "producer errors --dest out --details",
        "producer dead-letters list {of_run}",
        "producer dead-letters show {key} {of_run}",
        "producer verify --dest out",
    ],
)
def test_a_terminal_is_not_moved(workspace: Workspace, command: str) -> None:
    """Where we colour and draw ourselves, none of the attacker's sequences are among ours."""
    program, *words = arguments(command, workspace)
    ours, theirs = pty.openpty()
    env = clean_environment() | {"LOG_FORMAT": "", "LOG_LEVEL": "debug", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", program, *words],
        cwd=workspace.folder,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b"".join(_read(ours))
    os.close(ours)
    process.wait(60)
    assert shown
    for sequence in (
        b"\x1b]",
        b"\x1b[2J",
        b"\x07",
        b"\x08",
        b"\x7f",
        "\x9b".encode(),
        "\u202e".encode(),
    ):
        assert sequence not in shown, sequence
    assert not re.search(rb"\r(?![\n\r\x1b])(?=.)", shown.replace(b"\r\n", b"\n"))


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the last writer is gone
            return
        if not data:
            return
        yield data


def test_the_report_is_text(workspace: Workspace) -> None:
    """A page of printable text, in which the attacker's tags are shown."""
    run(workspace, "producer report --dest out --out report.html")
    page = (workspace.folder / "report.html").read_text(encoding="utf-8")
    assert page.replace("\n", "").isprintable()
    assert "owned" in page
    assert "<script" not in page.replace(SCRIPT, "")  # its own, the only one that may run
    assert f'content="{POLICY}"' in page
    assert "&lt;script" in page


def test_a_services_text_is_escaped(
    workspace: Workspace, gcs: GcsServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a bucket answers is quoted in an error, and is a line of it."""
    environment = {name: os.environ[name] for name in os.environ if "STORAGE" in name}
    monkeypatch.setattr(gcs.service, "answer", lambda _: refused(403, EVIL))
    command = f"producer validate --source gs://{bucket}/x --spec spec.json"
    ended = run(workspace, command, **environment, LOG_LEVEL="debug")
    assert ended.returncode != 0
    check_lines(ended.stderr, what="stderr")
    assert "owned" in ended.stderr
