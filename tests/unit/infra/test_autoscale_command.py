"""`python -m infra autoscale` and `instances`: what is missing is said, what runs is shown."""

import os
from pathlib import Path

import pytest

from infra.queue_pools import AUTOSCALER
from tests.support.commands import CommandResult, run_in_process
from tests.support.google_server import GoogleServer
from tests.support.scaled_pools import REGION, make_pools, pool_name

QUEUE = "pubsub://some-project/brain"


def run(folder: Path, *arguments: str, **environment: str) -> CommandResult:
    """A command without the settings of this machine."""
    unknown = {"QUEUE_URL", "PROJECT_ID", "REGION", "STATE_PATH", "DEST_PATH"}
    known = {name: value for name, value in os.environ.items() if name not in unknown}
    return run_in_process("infra", *arguments, folder=folder, environment=known | environment)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "which queue? Worker pools serve queues on Pub/Sub"),
        ({"QUEUE_URL": "sqlite:queue.db"}, "is not a Pub/Sub queue"),
        ({"QUEUE_URL": QUEUE}, "No state root is given"),
        ({"QUEUE_URL": QUEUE, "STATE_PATH": "runs"}, "in which region are the worker pools?"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    """With the way on, and before anything is looked at."""
    done = run(tmp_path, "autoscale", "--once", **environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint: " in done.stderr or "Pass --" in done.stderr


def test_instances_and_their_price_are_shown(tmp_path: Path, google_server: GoogleServer) -> None:
    """Of this queue's pools alone."""
    make_pools(QUEUE, ("2gi", "4gi"))
    make_pools("pubsub://some-project/brain-2", ("2gi",))
    google_server.worker_pools.set_count(pool_name("pubsub://some-project/brain-2", "2gi"), 9)
    google_server.worker_pools.set_count(pool_name(QUEUE, "4gi"), 12)
    google_server.worker_pools.set_count(pool_name(QUEUE, AUTOSCALER), 1)
    known = {"QUEUE_URL": QUEUE, "REGION": REGION}
    shown = run(tmp_path, "instances", "--json", **known).document
    assert shown["counts"] == {"2gi": 0, "4gi": 12}
    assert shown["autoscaler"] == 1
    text = run(tmp_path, "instances", **known).stdout
    assert (
        text == f"12 instances (4gi 12), ${shown['dollars_per_hour']:.2f}/h, the autoscaler runs\n"
    )
