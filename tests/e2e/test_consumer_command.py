"""`python -m consumer`: exit codes and one-line errors."""

import json
import os
from pathlib import Path

import pytest

from tests.support.commands import run_in_process
from tests.support.three_shard_run import three_shard_run, write_receipt


def consumer(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the program in a folder of its own; exit code and stderr."""
    known = {name: value for name, value in os.environ.items() if not name.endswith("_PATH")}
    done = run_in_process("consumer", *arguments, folder=folder, environment=known | environment)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["work"], "--tier"),
        (["work", "--tier", "huge"], "'huge' is not a tier"),
        (["work", "--tier", "2gi", "--queue", "kafka://x"], "is not a queue"),
        (["work", "--tier", "2gi", "--queue", "sqlite:/proc/q.db"], "/proc/q.db"),
        (["work", "--tier", "2gi", "--run", "r1"], "where is run r1?"),
        (["work", "--tier", "2gi", "--run", "r1", "--dest", "out"], "no run at"),
        (["fleet", "--memory", "much"], "not a memory size"),
        (["fleet", "--tiers", "0"], "not a size in GiB"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    """What is wrong, and where there is one, what to do."""
    code, stderr = consumer(tmp_path, *arguments)
    assert code == 2
    assert f"error: {said}" in stderr or said in stderr
    assert stderr.count("\n") <= 2


@pytest.mark.parametrize("command", [["work", "--tier", "2gi"], ["fleet"]])
def test_with_nothing_to_do_and_no_run_known_it_ends_after_a_lease(
    tmp_path: Path, command: list[str]
) -> None:
    """Every tier stayed empty for longer than a lease."""
    code, _ = consumer(tmp_path, *command, "--until-drained", LEASE_S="1")
    assert code == 0


@pytest.mark.parametrize("command", [["work", "--tier", "512mi"], ["fleet"]])
def test_a_run_that_has_ended_needs_no_worker(tmp_path: Path, command: list[str]) -> None:
    """Worker and fleet exit at once; the destination alone leads to the run."""
    run = three_shard_run(tmp_path)
    for key in ("s0/0", "s0/1"):
        write_receipt(run, key)
    write_receipt(run, "s1/0", inputs=dict.fromkeys(("s0/0", "s0/1"), "AAAAAA=="))
    options = ["--until-drained", "--dest", "dest", "--queue", run.info.queue]
    code, _ = consumer(tmp_path, *command, *options)
    assert code == 0


def test_a_stalled_run_is_given_up_by_name(tmp_path: Path) -> None:
    """Its shards need another tier's worker; exit 1 names them and says what to do."""
    run = three_shard_run(tmp_path)
    options = ["--run", run.uri, "--queue", run.info.queue, "--until-drained"]
    code, stderr = consumer(tmp_path, "work", "--tier", "1gi", *options, LEASE_S="1")
    assert code == 1
    assert "nothing was heard" in stderr
    assert "open: s0/0, s0/1, s1/0" in stderr
    assert "hint: start workers for their tiers: python -m consumer fleet" in stderr


@pytest.mark.parametrize("command", [["work", "--tier", "512mi"], ["fleet"]])
def test_what_is_served_is_logged_at_the_start(tmp_path: Path, command: list[str]) -> None:
    """With a warning where no run is found, such as below a mistyped destination."""
    run = three_shard_run(tmp_path)
    run.cancel("enough")
    options = ["--until-drained", "--queue", run.info.queue]
    for dest, missing in (("dest", False), ("nowhere", True)):
        done = consumer(tmp_path, *command, *options, "--dest", dest, LEASE_S="1")
        assert done[0] == 0
        events = [json.loads(line) for line in done[1].splitlines()]
        (started,) = [one for one in events if one["event"] == f"{_program(command)}_started"]
        assert started["queue"] == run.info.queue
        assert started["roots"] == [f"{tmp_path}/{dest}.runs"]
        reasons = [one["reason"] for one in events if one["event"] == "run_missing"]
        expected = f"no run of the queue {run.info.queue} below {tmp_path}/{dest}.runs"
        assert reasons == [expected] * missing


def _program(command: list[str]) -> str:
    return "worker" if command[0] == "work" else command[0]
