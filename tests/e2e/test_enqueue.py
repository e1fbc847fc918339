"""`enqueue`: one command that does the whole job, and what it prints."""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from delivery.ledger.run import find_run
from producer.tensorstore_reader import Volume, vote
from tests.support.emulator import make_topology, new_queue_url
from tests.support.terminal_screen import run_on_terminal
from tests.support.waiting import wait_for
from tests.support.workspace import Workspace, error_line, make_workspace

PYRAMID = ("--scales", "0", "--downres", "1,2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export converted with all its scales; tests only look."""
    workspace = make_workspace(tmp_path_factory.mktemp("made"))
    done = workspace.run_subprocess(*workspace.enqueue_command(*PYRAMID, "--wait"))
    assert done.returncode == 0, done.stderr
    (workspace.folder / "stdout").write_text(done.stdout)
    (workspace.folder / "stderr").write_text(done.stderr)
    return workspace


@pytest.fixture
def workspace(made: Workspace, tmp_path: Path) -> Workspace:
    """The same export with nothing made of it."""
    shutil.copytree(made.export, tmp_path / "export")
    shutil.copy(made.folder / "spec.json", tmp_path)
    return Workspace(tmp_path, made.sample, made.spec)


def test_one_command_makes_every_voxel_of_every_scale(made: Workspace) -> None:
    """Scale 0 equals the sample, each further one the plain vote on the one before."""
    volume = Volume(str(made.folder / "out"))
    truth = made.sample.labels((0, 0, 0), made.sample.size)
    for index, scale in enumerate(made.spec.scales):
        if index:
            truth = vote(truth, (2, 2, 2), "mode")
        assert np.array_equal(volume.read(index, (0, 0, 0), scale.size), truth)


def test_it_says_what_it_did(made: Workspace) -> None:
    """Tier table, run id and time table on stdout, none wider than 80; progress on stderr."""
    said = (made.folder / "stdout").read_text()
    run = find_run(str(made.folder / "out.runs"))
    assert f"run {run.run_id}\n" in said
    assert "512mi" in said
    times = [line for line in said.splitlines() if line[:2] in {"s0", "s1", "s2"}]
    assert len(times) == 3
    assert max(len(line) for line in said.splitlines() if str(made.folder) not in line) <= 80
    lines = (made.folder / "stderr").read_text().splitlines()
    assert lines[-1].startswith("27 of 27 shards done · 100 % · ")
    assert lines[-1].endswith(" · 0 dead · s0 22/22  s1 4/4  s2 1/1")
    assert "starting workers" in lines[0]
    assert all(" of 27 shards done · " in line for line in lines)  # no log between them


def test_its_log_can_be_switched_on(workspace: Workspace) -> None:
    """JSON lines, because stderr is not a terminal."""
    (workspace.folder / ".env").write_text("LOG_LEVEL=info")
    done = workspace.run(*workspace.enqueue_command("--scales", "0"))
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["run_created"]


def test_nothing_else_lies_in_the_volume(made: Workspace) -> None:
    """Info and shard files, no temporary ones, no state."""
    paths = set(made.files())
    assert "info" in paths
    assert all(path.endswith(".shard") for path in paths - {"info"})


@pytest.mark.parametrize(
    ("more", "shards"),
    [
        ((*PYRAMID, "--wait"), 27),
        ((*PYRAMID, "--dry-run"), 27),
        (("--scales", "0", "--new-run", "--run-id", "another"), 22),
        (("--scales", "none", "--downres", "1,2"), 5),  # another fingerprint: it has no source
    ],
)
def test_what_is_done_needs_no_run(made: Workspace, more: tuple[str, ...], shards: int) -> None:
    """It says so at once, names the run that did it, ends well, and starts no other run."""
    run = find_run(str(made.folder / "out.runs"))
    before = made.files("out.runs")
    done = made.run(*made.enqueue_command(*more))
    assert (done.returncode, done.stderr) == (0, "")
    expected = f"nothing to do: {shards} shards are all done in run {run.run_id}; --overwrite"
    assert done.stdout.startswith(expected)
    assert made.files("out.runs") == before


def test_what_others_made_is_taken_only_on_request(made: Workspace, tmp_path: Path) -> None:
    """A copy of a volume without its runs may be anything; a run that adopts it makes nothing."""
    shutil.copytree(made.folder / "out", tmp_path / "copy")
    (tmp_path / "copy" / "info").unlink()
    command = made.enqueue_command(*PYRAMID, dest=str(tmp_path / "copy"))
    refused = made.run(*command)
    assert refused.returncode == 2
    assert "27 shards at" in error_line(refused)
    assert "made by no known run: s0/00" in error_line(refused)
    assert [path.name for path in (tmp_path / "copy").glob("info")] == []
    done = made.run(*command, "--adopt")
    assert done.returncode == 0, done.stderr
    assert "27 shards of unknown make are adopted" in done.stdout
    assert (tmp_path / "copy" / "info").is_file()
    again = made.run(*command)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("nothing to do: 27 shards are all done in run")


def test_status_errors_and_runs_report_it(made: Workspace) -> None:
    """One JSON document each; all done, nothing queued, no errors."""
    status = made.run("status", "--dest", "out", "--json").document
    assert status["ended"]
    assert status["succeeded"]
    assert [scale["done"] for scale in status["scales"]] == [22, 4, 1]
    assert {backlog["waiting"] for backlog in status["backlogs"].values()} == {0}
    assert made.run("errors", "--dest", "out", "--json").document == {
        "schema": 1,
        "run": status["run"],
        "run_id": status["run_id"],
        "groups": [],
        "failed": [],
        "blocked": [],
        "incomplete": {},
        "trouble": None,
    }
    runs = made.run("runs", "--dest", "out", "--json").document
    assert [(run["state"], run["done"], run["lost"]) for run in runs] == [("done", 27, 0)]
    text = made.run("status", "--dest", "out")
    assert "done, 27 of 27 shards" in text.stdout
    assert "(the newest)" in text.stderr


def test_a_dry_run_of_what_would_be_continued_tells_the_rest(workspace: Workspace) -> None:
    """Tiers, time and dollars of the shards that are left, as text and as a document."""
    command = workspace.enqueue_command(*PYRAMID)
    assert workspace.run(*command).returncode == 0
    before = workspace.files("out.runs")
    text = workspace.run(*command, "--dry-run").stdout
    assert re.match(r"would continue \S+, 27 to go\n\ntier +shards +worker time", text)
    assert re.search(r"^all +27 ", text, re.MULTILINE)
    assert text.endswith("nothing was written or published\n")
    found = workspace.run(*command, "--dry-run", "--json").document
    assert found["outcome"] == "dry run"
    assert found["run_id"] in text
    assert sum(tier["shards"] for tier in found["tiers"]) == len(found["shards"]) == 27
    assert found["bill"]["total"]["worker_pool"] > 0
    assert workspace.files("out.runs") == before


def test_a_dry_run_writes_and_publishes_nothing(workspace: Workspace) -> None:
    """It prints shards, time, requests and dollars per tier and in all."""
    before = workspace.files(".")
    done = workspace.run(*workspace.enqueue_command(*PYRAMID, "--dry-run"))
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert rows["512mi"].split()[1] == "27"
    assert "$" in rows["all"]
    assert "s0 palette, s1 palette, s2 palette" in done.stdout
    assert workspace.files(".") == before


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_enqueue_without_wait_returns_and_a_fleet_finishes(workspace: Workspace) -> None:
    """The printed command is the one that makes the shards."""
    done = workspace.run(*workspace.enqueue_command(*PYRAMID))
    assert done.returncode == 0, done.stderr
    (next_line,) = [line for line in done.stdout.splitlines() if line.startswith("next: ")]
    waiting = workspace.run("status", "--dest", "out", "--json").document
    assert [scale["ready"] for scale in waiting["scales"]] == [22, 0, 0]
    assert waiting["backlogs"]["512mi"]["waiting"] == 22
    fleet = next_line.removeprefix("next: python -m consumer ").split()
    worked = workspace.run_subprocess(*fleet, program="consumer")
    assert worked.returncode == 0, worked.stderr
    assert workspace.run("status", "--dest", "out", "--json").document["succeeded"]


def test_the_same_command_continues_after_an_interruption(
    workspace: Workspace, made: Workspace
) -> None:
    """Ctrl-C ends with 130 and says how to go on; what was made stays; the bytes are the same."""
    command = workspace.enqueue_command(*PYRAMID, "--wait")
    process = workspace.start(*command, WORK_PAUSE_S="0.5")
    root = workspace.folder / "out.runs"
    wait_for(lambda: list(root.glob("*/receipts/s0/*.json")), "a first shard")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues run" in said
    assert "Traceback" not in said
    (run,) = workspace.run("runs", "--dest", "out", "--json").document
    assert run["state"] == "unfinished"
    assert 0 < run["done"] < 27
    done = workspace.run(*command)
    assert done.returncode == 0, done.stderr
    assert f"continuing {run['run']}, {27 - run['done']} to go" in done.stdout
    assert workspace.files() == made.files()


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_other_settings_over_the_same_outputs_are_refused(workspace: Workspace) -> None:
    """Exit 2, both runs' fingerprints and the difference named; --overwrite replaces the shards."""
    assert workspace.run(*workspace.enqueue_command("--scales", "0", "--wait")).returncode == 0
    labels = workspace.files()
    done = workspace.run(*workspace.enqueue_command("--scales", "0", "--supervoxels", "--wait"))
    assert done.returncode == 2
    said = error_line(done)
    run = find_run(str(workspace.folder / "out.runs"))
    assert run.run_id in said
    assert run.info.fingerprint in said
    assert said.count("fingerprint") == 2
    assert "label_type labels there, supervoxels here" in said
    assert workspace.files() == labels
    again = workspace.run(
        *workspace.enqueue_command("--scales", "0", "--supervoxels", "--wait", "--overwrite")
    )
    assert again.returncode == 0, again.stderr
    truth = workspace.sample.supervoxels((0, 0, 0), workspace.sample.size)
    found = Volume(str(workspace.folder / "out")).read(0, (0, 0, 0), workspace.sample.size)
    assert np.array_equal(found, truth)


def test_other_settings_over_an_unfinished_run_are_refused(workspace: Workspace) -> None:
    """--overwrite cancels the other run; workers ack its messages unworked."""
    assert workspace.run(*workspace.enqueue_command("--scales", "0")).returncode == 0
    other = workspace.enqueue_command("--scales", "0", "--label-type", "supervoxels", "--wait")
    refused = workspace.run(*other)
    assert refused.returncode == 2
    assert "is not finished" in error_line(refused)
    assert workspace.run(*other[:-1], "--overwrite").returncode == 0
    states = [run["state"] for run in workspace.run("runs", "--dest", "out", "--json").document]
    assert states == ["cancelled", "unfinished"]


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_only_missing_shards_are_made_again(workspace: Workspace) -> None:
    """Files that were removed come back; those that are there are not touched."""
    command = workspace.enqueue_command("--scales", "0", "--wait")
    assert workspace.run(*command).returncode == 0
    before = workspace.files()
    files = sorted((workspace.folder / "out/8x8x8").glob("*.shard"))
    kept = files[0].stat().st_mtime_ns
    for file in files[1:3]:
        file.unlink()
    done = workspace.run(*command)
    assert done.returncode == 0, done.stderr
    assert f"{len(files) - 2} shards exist already" in done.stdout
    assert workspace.files() == before
    assert files[0].stat().st_mtime_ns == kept


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_scales_are_made_from_those_that_exist(workspace: Workspace, made: Workspace) -> None:
    """`--downres 1,2` later, without the export, gives the same bytes as all at once."""
    assert workspace.run(*workspace.enqueue_command("--scales", "0", "--wait")).returncode == 0
    later = ["enqueue", "--dest", "out", "--downres", "1,2", "--tiers", "0.5,1", "--wait"]
    done = workspace.run(*later)
    assert done.returncode == 0, done.stderr
    assert workspace.files() == made.files()


def test_what_a_run_takes_as_it_is_cannot_be_redone(workspace: Workspace) -> None:
    """A shard that a run only downsamples from has nothing to be made from: it must stay."""
    shard = workspace.folder / "out/8x8x8/00.shard"
    assert workspace.run("init", "--spec", "spec.json", "--dest", "out").returncode == 0
    shard.parent.mkdir()
    shard.write_bytes(b"made elsewhere")
    both = workspace.enqueue_command("--scales", "2", "--downres", "1", "--adopt")
    (workspace.export / "s2").mkdir()
    for ending in ("arrow", "csv"):
        shutil.copy(workspace.export / f"s0/0_0_0.{ending}", workspace.export / "s2")
    done = workspace.run(*both)
    assert done.returncode == 0, done.stderr
    assert "1 shard of unknown make is adopted" in done.stdout
    refused = workspace.run("replay", "--dest", "out", "--shards", "s0/00", "--redo")
    assert refused.returncode == 2
    assert "does not make scale 0" in error_line(refused)
    assert shard.read_bytes() == b"made elsewhere"


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_a_hole_below_is_not_taken_as_zeros(workspace: Workspace) -> None:
    """A scale whose run left a shard undone cannot be made from until that one is done."""
    assert workspace.run(*workspace.enqueue_command("--scales", "0", "--wait")).returncode == 0
    min((workspace.folder / "out/8x8x8").glob("*.shard")).unlink()
    done = workspace.run("enqueue", "--dest", "out", "--downres", "1", "--wait")
    assert done.returncode == 2
    assert "scale 0 has holes" in error_line(done)


def test_a_shard_that_no_tier_holds_is_dead_at_once(workspace: Workspace) -> None:
    """Both numbers are in the reason; enqueue ends with 1 and the ledger has the record."""
    done = workspace.run(*workspace.enqueue_command("--scales", "0"), "--tiers", "0.1")
    assert done.returncode == 1
    status = workspace.run("status", "--dest", "out", "--json").document
    assert status["scales"][0]["failed"] == 22
    (letter, *_) = workspace.run("errors", "--dest", "out", "--json").document["failed"]
    assert "needs about 0.1" in letter["reason"]
    assert "102mi" in letter["reason"]


def test_run_ids_and_new_runs(workspace: Workspace) -> None:
    """--run-id names a run; --new-run starts another next to an unfinished one."""
    assert workspace.run(*workspace.enqueue_command("--run-id", "first")).returncode == 0
    again = workspace.run(*workspace.enqueue_command("--run-id", "first"))
    assert "continuing first, 22 to go" in again.stdout
    assert (
        workspace.run(*workspace.enqueue_command("--new-run", "--run-id", "second")).returncode == 0
    )
    assert [run["run"] for run in workspace.run("runs", "--dest", "out", "--json").document] == [
        "first",
        "second",
    ]
    taken = workspace.run(*workspace.enqueue_command("--new-run", "--run-id", "second"))
    assert taken.returncode == 2
    assert "there is a run second already" in error_line(taken)
    # What is queued already is not published twice.
    assert (
        workspace.run("status", "--dest", "out", "--json").document["backlogs"]["512mi"]["waiting"]
        == 44
    )


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_cancelled_runs_make_nothing(workspace: Workspace) -> None:
    """Workers drop the messages; the same command starts another run for the rest."""
    assert workspace.run(*workspace.enqueue_command()).returncode == 0
    assert "is cancelled" in workspace.run("cancel", "--dest", "out").stdout
    assert "cancelled" in workspace.run("status", "--dest", "out").stdout
    worked = workspace.run_subprocess(
        "fleet", "--until-drained", "--dest", "out", program="consumer"
    )
    assert worked.returncode == 0, worked.stderr
    assert set(workspace.files()) == {"info"}
    again = workspace.run(*workspace.enqueue_command())
    assert "22 shards published" in again.stdout
    states = [run["state"] for run in workspace.run("runs", "--dest", "out", "--json").document]
    assert states == ["cancelled", "unfinished"]


def test_settings_may_come_from_a_file(workspace: Workspace) -> None:
    """`.env` names everything; a flag wins over it."""
    lines = ["SOURCE_PATH=export", "DEST_PATH=elsewhere", "NG_SPEC_PATH=spec.json", "SCALES=0"]
    (workspace.folder / ".env").write_text("\n".join([*lines, "TIERS=0.5,1"]))
    done = workspace.run("enqueue", "--dest", "out")
    assert done.returncode == 0, done.stderr
    assert (workspace.folder / "out/info").is_file()
    assert not (workspace.folder / "elsewhere").exists()


def test_init_keeps_foreign_keys(workspace: Workspace) -> None:
    """Also with --force, which alone replaces an info that disagrees."""
    assert workspace.run("init", "--spec", "spec.json", "--dest", "out").returncode == 0
    info = workspace.folder / "out/info"
    document = json.loads(info.read_text()) | {"mesh": "mesh_dir"}
    info.write_text(json.dumps(document))
    assert workspace.run("init", "--spec", "spec.json", "--dest", "out").returncode == 0
    assert json.loads(info.read_text())["mesh"] == "mesh_dir"
    other = json.loads((workspace.folder / "spec.json").read_text())
    other["scales"][0]["size"] = [199, 150, 100]
    (workspace.folder / "other.json").write_text(json.dumps(other))
    refused = workspace.run("init", "--spec", "other.json", "--dest", "out")
    assert refused.returncode == 2
    assert "scale 0 size" in error_line(refused)
    forced = workspace.run("init", "--spec", "other.json", "--dest", "out", "--force")
    assert forced.returncode == 0
    written = json.loads(info.read_text())
    assert (written["mesh"], written["scales"][0]["size"]) == ("mesh_dir", [199, 150, 100])


def test_a_designed_spec_can_be_used(workspace: Workspace) -> None:
    """`spec` prints JSON that `init` takes."""
    done = workspace.run("spec", "--size", "4096,3000,2000", "--resolution", "8,8,20")
    (workspace.folder / "designed.json").write_text(done.stdout)
    made = workspace.run("init", "--spec", "designed.json", "--dest", "new")
    assert made.returncode == 0, made.stderr
    assert "palette" in made.stdout


def test_the_real_shard(tmp_path: Path, shared: Path) -> None:
    """Exit 0, 258 chunks in 16x16x16/0fe9.shard, the same bytes from both dialects."""
    workspace = Workspace(tmp_path, None, None)  # type: ignore[arg-type]  # the export is another
    for source in ("mcns-edge", "mcns-edge-old"):
        done = workspace.run(
            *("enqueue", "--source", str(shared / "data" / source), "--dest", source),
            *("--spec", str(shared / "specs/mcns-export-specs.json"), "--scales", "1", "--wait"),
        )
        assert done.returncode == 0, done.stderr
        assert (
            workspace.run("status", "--dest", source, "--json").document["scales"][0]["chunks"]
            == 258
        )
    assert workspace.files("mcns-edge").keys() == {"info", "16x16x16/0fe9.shard"}
    assert workspace.files("mcns-edge") == workspace.files("mcns-edge-old")


@pytest.mark.slow  # Google's emulator
def test_waiting_for_workers_elsewhere(workspace: Workspace, pubsub_emulator: str) -> None:
    """On Pub/Sub `--wait` starts no fleet; it reports missing workers and follows other fleets."""
    assert pubsub_emulator
    queue = new_queue_url()
    make_topology(queue, ("512mi", "1gi"))
    command = workspace.enqueue_command(*PYRAMID, "--wait", "--queue", queue)
    alone = workspace.run(*command)
    assert alone.returncode == 1
    assert "no workers: start some with python -m consumer fleet" in alone.stderr
    assert "nothing was heard" in error_line(alone)
    process = workspace.start(*command)
    run = find_run(str(workspace.folder / "out.runs"))
    worked = workspace.run_subprocess(
        *("fleet", "--queue", queue, "--run", run.uri, "--until-drained"), program="consumer"
    )
    assert worked.returncode == 0, worked.stderr
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"run {run.run_id} is done: 27 shards" in said


def test_no_second_fleet_on_one_queue(workspace: Workspace) -> None:
    """`--wait` starts none while another lives, which may have other tiers; then it takes over."""
    queue = f"sqlite:{workspace.folder}/queue.db"
    other = workspace.start("fleet", "--queue", queue, "--tiers", "0.25", program="consumer")
    assert other.stderr is not None
    assert any("fleet_started" in line for line in other.stderr)
    waiting = workspace.start(
        *workspace.enqueue_command("--scales", "0", "--wait", "--queue", queue)
    )
    assert waiting.stderr is not None
    assert any(f"a fleet works on {queue} already" in line for line in waiting.stderr)
    assert not list(workspace.folder.glob("fleet-*.log"))
    other.terminate()
    other.communicate(timeout=60)
    _, said = waiting.communicate(timeout=120)
    assert "the other fleet has ended: started one" in said
    assert waiting.returncode == 0
    assert workspace.run("status", "--dest", "out", "--json").document["succeeded"]


@pytest.mark.slow  # starts a fleet; `make test` has five minutes for all
def test_progress_on_a_terminal(workspace: Workspace) -> None:
    """A line for the whole and a bar per scale, each once; before, what is under way."""
    command = [sys.executable, "-m", "producer", *workspace.enqueue_command(*PYRAMID, "--wait")]
    shown = run_on_terminal(command, workspace.folder, columns=80)
    assert shown.exit_code == 0
    assert "starting workers" in shown.seen
    lines = shown.lines
    (total,) = [number for number, line in enumerate(lines) if "27 of 27 shards done" in line]
    assert "100 %" in lines[total]
    assert lines[total + 1].endswith("0 dead") or "0 dead" in lines[total]
    bars = [line for line in lines if "━" in line]
    assert [line.split()[0] for line in bars] == ["s0", "s1", "s2"]
    assert bars[0].split()[2:] == ["22", "of", "22", bars[0].split()[-1]]
