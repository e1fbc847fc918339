"""Commands at the same time, and writers that come late: one volume holds one run's bytes."""

import json
import os
import shutil
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from delivery.ledger.output_revision import OUTPUT_REVISION
from delivery.ledger.run import list_runs
from runtime.storage.base import temporary_name
from tests.support.gcs_server import Answer, GcsServer, Request, refused
from tests.support.waiting import wait_for
from tests.support.workspace import Workspace, make_workspace

DAYS_AGO = time.time() - 3 * 86_400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export and its spec."""
    return make_workspace(tmp_path_factory.mktemp("racing"))


@pytest.fixture
def work(made: Workspace, tmp_path: Path) -> Workspace:
    """Room for one volume."""
    shutil.copytree(made.folder, tmp_path / "w")
    return replace(made, folder=tmp_path / "w")


def job(work: Workspace, *more: str) -> list[str]:
    """Arguments of an enqueue of scale 0."""
    places = ("--source", "export", "--dest", "out", "--spec", "spec.json")
    rest = ("--scales", "0", "--queue", "sqlite:q.db", "--tiers", work.tiers)
    return ["enqueue", *places, *more, *rest]


def test_equal_commands_at_once_are_one_run(work: Workspace) -> None:
    """Every one of them ends well; one made the run, the others went on with it."""
    started = [work.start(*job(work, "--wait")) for _ in range(4)]
    texts = [process.communicate(timeout=240) for process in started]
    assert [process.returncode for process in started] == [0] * 4, texts
    assert len(list_runs(str(work.folder / "out.runs"))) == 1


def test_of_different_commands_at_once_one_is_refused(work: Workspace) -> None:
    """Neither knew of the other when it began to look."""
    started = [work.start(*job(work)), work.start(*job(work, "--supervoxels"))]
    texts = [process.communicate(timeout=240)[1] for process in started]
    assert sorted(process.returncode for process in started) == [0, 2], texts
    (run,) = list_runs(str(work.folder / "out.runs"))
    assert any(f"run {run.run_id} " in text and "label_type" in text for text in texts)


def test_a_fleet_of_another_revision_makes_nothing(work: Workspace) -> None:
    """It ends with 2 and says who can; so does a worker."""
    assert work.run(*job(work)).returncode == 0
    (run,) = list_runs(str(work.folder / "out.runs"))
    path = Path(run.uri, "run.json")
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"output_revision": OUTPUT_REVISION + 1}))
    options = ("--dest", "out", "--queue", "sqlite:q.db", "--until-drained")
    for command in (("fleet", "--memory", "2GiB"), ("work", "--tier", "512mi")):
        done = work.run_subprocess(*command, *options, program="consumer")
        assert done.returncode == 2
        assert f"for output revision {OUTPUT_REVISION + 1}" in done.stderr
    assert not list(work.volume.glob("*/*.shard"))


def test_only_our_own_leftovers_are_swept(work: Workspace) -> None:
    """Those of runs that are over go; those of others, and of runs that go on, stay."""
    assert work.run(*job(work, "--run-id", "over")).returncode == 0
    assert work.run("cancel", "--dest", "out").returncode == 0
    folder = work.volume / work.spec.scales[0].key
    over, later = (folder / temporary_name("4.shard", name) for name in ("over", "later"))
    theirs = [
        folder / ".tmp-4.shard-0123456789abcdef0123456789abcdef.body",
        folder / ".tmp-notes",
        folder / temporary_name("4.shard", "a-run-of-another-state-root"),
    ]
    young = folder / temporary_name("5.shard", "over")
    leave([over, *theirs], DAYS_AGO)
    leave([young], time.time())
    assert work.run(*job(work, "--run-id", "later")).returncode == 0
    assert not over.exists()
    leave([later], DAYS_AGO)
    assert work.run(*job(work, "--new-run", "--run-id", "beside")).returncode == 0
    assert later.exists()  # its run goes on
    assert all(path.exists() for path in (young, *theirs))
    assert work.run(*job(work, "--run-id", "later")).returncode == 0  # its own writers are dead
    assert not later.exists()


def leave(paths: list[Path], at: float) -> None:
    """Files as writers left them at this time."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (at, at))


@pytest.fixture
def server() -> Iterator[GcsServer]:
    """A storage service with three buckets."""
    with GcsServer() as server:
        for bucket in ("source", "volume", "state"):
            server.make_bucket(bucket)
        yield server


def test_a_cancelled_run_writes_nothing_after_the_next_one(
    work: Workspace, server: GcsServer
) -> None:
    """Its compose was answered with errors; when one succeeds at last, the next run has written."""
    for file in (work.export / "s0").iterdir():
        url = f"{server.url}/upload/storage/v1/b/source/o?uploadType=media&name=s0%2F{file.name}"
        urllib.request.urlopen(  # noqa: S310 - our own server
            urllib.request.Request(url, file.read_bytes(), method="POST")  # noqa: S310 - as above
        ).close()
    late = LateCompose(server)
    environment = server.environment() | {"LEASE_S": "30"}
    places = ["--source", "gs://source", "--dest", "gs://volume/v", "--spec", "spec.json"]
    places += ["--scales", "0", "--state", "gs://state/runs", "--tiers", work.tiers]

    def start(program: str, queue: str, *arguments: str) -> int:
        process = work.start(
            *arguments, program=program, QUEUE_URL=f"sqlite:{queue}.db", **environment
        )
        process.communicate(timeout=240)
        return process.returncode

    assert start("producer", "a", "enqueue", *places, "--run-id", "A") == 0
    options = ("fleet", "--memory", "3GiB", "--run")
    old = work.start(
        *(*options, "gs://state/runs/A"), program="consumer", QUEUE_URL="sqlite:a.db", **environment
    )
    try:
        wait_for(late.first.is_set, "a compose of A", 60)
        again = ("enqueue", *places, "--supervoxels", "--overwrite", "--run-id", "B")
        assert start("producer", "b", *again) == 0
        assert start("consumer", "b", *options, "gs://state/runs/B", "--until-drained") == 0
        before = server.object("volume", late.name).generation
        late.go.set()
        wait_for(late.landed.is_set, "the late compose", 60)
        assert server.object("volume", late.name).generation == before
    finally:
        late.go.set()
        old.terminate()
        old.communicate(timeout=60)


class LateCompose:
    """Answers the first shard's compose with 503 until told, then lets it through.

    Attributes:
        name: of the object that it makes.
        first: it was requested.
        go: let it through.
        landed: it was let through.
    """

    def __init__(self, server: GcsServer) -> None:
        self.first, self.go, self.landed = (threading.Event() for _ in range(3))
        self.name = ""
        self._source = ""
        self._answer = server.service.answer
        server.service.answer = self._delayed  # type: ignore[method-assign] # for this test's server

    def _delayed(self, request: Request) -> Answer:
        if not request.path.endswith("/compose"):
            return self._answer(request)
        source = json.loads(request.body)["sourceObjects"][0]["name"]
        if not self.first.is_set():
            name = urllib.parse.unquote(request.path.split("/o/")[1])
            self.name, self._source = name.removesuffix("/compose"), source
            self.first.set()
        if source != self._source:
            return self._answer(request)
        if not self.go.wait(0.2):
            return refused(503, "slow down")
        answer = self._answer(request)
        self.landed.set()
        return answer
