"""What `status`, `errors`, `runs` and `cancel` say of runs that failed or are over."""

import re
from pathlib import Path

import pytest

from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import read_status
from delivery.messages import now
from delivery.progress import read_progress
from producer.wait import NO_WORKERS_S, NoWorkersNotice
from tests.support.commands import CommandResult, run_in_process
from tests.support.ledgers import at, fail, finish, made_run, row
from tests.support.workspace import clean_environment


def producer(folder: Path, *arguments: str) -> CommandResult:
    """Run `python -m producer ...`."""
    return run_in_process("producer", *arguments, folder=folder, environment=clean_environment())


def eight_dead(folder: Path) -> Run:
    """A run of ten shards, of which seven files are cut and one has a second stream."""
    run = made_run(folder / "state", [row(f"s0/{n:02x}") for n in range(10)], downres=())
    for number in range(7):
        file = f"/my export/s0/{number}_0_0.arrow"
        reason = f"{file}: cut short: batches reach to byte {number + 900}, the file has {number}"
        fail(run, f"s0/{number:02x}", reason=f"{reason}. Export this shard again")
    reason = (
        "/my export/s0/7_0_0.arrow: a second stream begins here. Re-export into an empty folder"
    )
    fail(run, "s0/07", reason=reason)
    for key in ("s0/08", "s0/09"):
        finish(run, key)
    return run


def test_one_table_accounts_for_every_failure(tmp_path: Path) -> None:
    """`errors` and `status` print the same lines; none is hidden, no advice cut off."""
    run = eight_dead(tmp_path)
    errors = producer(tmp_path, "errors", "--run", run.uri)
    assert errors.returncode == 1
    lines = errors.stdout.splitlines()
    assert lines[:2] == [
        "7 shards: cut short: batches reach to byte …, the file has …",
        "  Export this shard again",
    ]
    assert "s0/00, s0/01, s0/02 and 4 more; such as s0/00: /my export/s0/0_0_0.arrow" in lines[2]
    assert lines[3].startswith("1 shard: s0/07: /my export/s0/7_0_0.arrow: a second stream")
    assert lines[4] == "  Re-export into an empty folder"
    assert lines[5].endswith(f"errors --details --run {run.uri}")
    assert lines[6].endswith(f"dead-letters requeue --all --run {run.uri}")
    assert errors.stdout in producer(tmp_path, "status", "--run", run.uri).stdout


def test_details_are_a_table_and_json_one_document(tmp_path: Path) -> None:
    """Every shard with its whole reason."""
    run = eight_dead(tmp_path)
    details = producer(tmp_path, "errors", "--details", "--run", run.uri)
    assert details.stdout.splitlines()[0].split() == ["shard", "tier", "tries", "when", "(UTC)"]
    for number in range(7):
        assert f"/my export/s0/{number}_0_0.arrow: cut short" in details.stdout
    for options in (["--json"], ["--json", "--details"]):
        document = producer(tmp_path, "errors", *options, "--run", run.uri).document
        assert [len(group["keys"]) for group in document["groups"]] == [7, 1]
        assert document["groups"][0]["advice"] == "Export this shard again"
        assert len(document["failed"]) == 8


def test_a_run_that_is_over_tells_its_times(tmp_path: Path) -> None:
    """Began, ended, took; the rate stays what it was; report and status count alike."""
    run = eight_dead(tmp_path)
    shown = producer(tmp_path, "status", "--run", run.uri).stdout.splitlines()
    assert shown[1] == "began 2024-05-06 07:00:00, ended 2024-05-06 07:00:09 UTC, took 9.0 s"
    document = producer(tmp_path, "status", "--json", "--run", run.uri).document
    assert (document["chunks_per_s"], document["took_s"]) == (20 / 5, 9.0)
    assert document["scales"][0]["chunks_per_s"] == 20 / 5
    out = tmp_path / "report.html"
    assert producer(tmp_path, "report", "--out", str(out), "--run", run.uri).returncode == 0
    assert "<b>2</b><span>shards done</span>" in out.read_text()
    assert re.search(r"7</th><td[^>]*>cut short: batches reach", out.read_text())


def test_the_report_counts_shards_that_are_done(tmp_path: Path) -> None:
    """A receipt that is out of date is not a finished shard."""
    run = made_run(tmp_path / "state", [row("s0/00"), row("s0/01")], downres=())
    finish(run, "s0/00")
    finish(run, "s0/01")
    run.raise_redo(["s0/01"])
    out = tmp_path / "report.html"
    assert producer(tmp_path, "report", "--out", str(out), "--run", run.uri).returncode == 0
    assert "<b>1</b><span>shards done</span>" in out.read_text()


def test_cancel_leaves_a_finished_run(tmp_path: Path) -> None:
    """It says so; an unfinished one is cancelled, once."""
    run = made_run(tmp_path / "state", [row("s0/00")], downres=())
    open_run = made_run(tmp_path / "state", [row("s0/00")], downres=(), run_id="open")
    finish(run, "s0/00")
    done = producer(tmp_path, "cancel", "--run", run.uri)
    assert (done.returncode, done.stdout) == (
        0,
        f"run {run.run_id} has ended (done): it stays as it is\n",
    )
    assert run.cancelled() is None
    assert "run open is cancelled" in producer(tmp_path, "cancel", "--run", open_run.uri).stdout
    assert "was cancelled before" in producer(tmp_path, "cancel", "--run", open_run.uri).stdout


def test_no_runs_names_the_root(tmp_path: Path) -> None:
    """So that a mistyped destination is seen."""
    done = producer(tmp_path, "runs", "--dest", "typo")
    assert (done.returncode, done.stdout) == (0, f"no runs below {tmp_path}/typo.runs\n")


@pytest.mark.parametrize(("workers", "said"), [(0, "no workers\n"), (1, "1 worker, unknown left")])
def test_workers_are_counted_in_words(tmp_path: Path, workers: int, said: str) -> None:
    """Without workers no time left is told; a shard just begun is not 0 chunks."""
    run = made_run(tmp_path / "state", [row("s0/00")], downres=())
    for number in range(workers):
        beat = Heartbeat(worker=f"w{number}", tier="2gi", key="s0/00", at=now())
        run.write_heartbeat(beat)
    shown = producer(tmp_path, "status", "--run", run.uri).stdout
    assert said in shown
    assert ("begun" in shown) == bool(workers)


def test_missing_workers_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After some seconds without any heartbeat, with the command that starts some."""
    run = made_run(tmp_path / "state", [row("s0/00")], downres=())
    clock = [0.0]
    notice = NoWorkersNotice(run, wanted=True, clock=lambda: clock[0])
    seen = NoWorkersNotice(run, wanted=True, clock=lambda: clock[0])
    unwanted = NoWorkersNotice(run, wanted=False, clock=lambda: clock[0])
    without = read_progress(run, None, read_status(run), at(0))
    for one in (notice, seen, unwanted):
        one.tick(without)
    run.write_heartbeat(Heartbeat(worker="w", tier="2gi", at=at(0)))
    seen.tick(read_progress(run, None, read_status(run), at(1)))
    assert capsys.readouterr().err == ""
    clock[0] = NO_WORKERS_S
    for one in (notice, seen, unwanted, notice):
        one.tick(without)
    said = capsys.readouterr().err
    assert said == (
        f"no workers yet: start some: python -m consumer fleet --run {run.uri} --until-drained\n"
    )
