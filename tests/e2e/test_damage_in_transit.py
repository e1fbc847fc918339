"""A whole job on a bucket over a bad network: the right bytes, or a plain word."""

import gzip
from uuid import uuid4

import pytest

from tests.support.commands import CommandResult
from tests.support.export_listings import export_log_text
from tests.support.gcs_server import GcsServer
from tests.support.workspace import Workspace, error_line, make_small_workspace

EXPORT, VOLUME = "export", "out"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export on the disk, of 12 + 2 shards."""
    return make_small_workspace(tmp_path_factory.mktemp("transit") / "workspace")


class Job:
    """The same export in a bucket of its own."""

    def __init__(self, workspace: Workspace, server: GcsServer) -> None:
        self.workspace = workspace
        self.server = server
        self.bucket = f"bucket-{uuid4().hex[:12]}"
        server.make_bucket(self.bucket)
        log = {"export.log": export_log_text({0: (12, 12)}).encode()}
        for path, data in (workspace.files("export") | log).items():
            server.state.put(self.bucket, f"{EXPORT}/{path}", data, {}, {})

    def pack(self, ending: str) -> None:
        """Store files as `gcloud storage cp -Z` does."""
        for name in self.server.names(self.bucket):
            if name.startswith(EXPORT) and name.endswith(ending):
                data = gzip.compress(self.server.object(self.bucket, name).data)
                self.server.state.put(self.bucket, name, data, {"contentEncoding": "gzip"}, {})

    def enqueue(self, *more: str) -> CommandResult:
        """Convert and downsample."""
        places = ("--source", f"gs://{self.bucket}/{EXPORT}", "--dest", self.dest)
        queue = ("--queue", f"sqlite:{self.bucket}.db")
        return self.workspace.enqueue(*places, *queue, *more)

    @property
    def dest(self) -> str:
        """The volume."""
        return f"gs://{self.bucket}/{VOLUME}"

    def shards(self) -> dict[str, bytes]:
        """Every shard file, by its path in the volume."""
        names = self.server.names(self.bucket)
        found = [name for name in names if name.startswith(f"{VOLUME}/") and ".shard" in name]
        return {
            name.removeprefix(f"{VOLUME}/"): self.server.object(self.bucket, name).data
            for name in found
        }


@pytest.fixture
def job(workspace: Workspace, gcs: GcsServer) -> Job:
    """The export in a new bucket."""
    return Job(workspace, gcs)


@pytest.fixture(scope="module")
def expected(workspace: Workspace) -> dict[str, bytes]:
    """The shards that the export makes on a disk."""
    assert workspace.enqueue("--wait").returncode == 0
    return {name: data for name, data in workspace.files("out").items() if ".shard" in name}


def order(server: GcsServer, how: int | str, *patterns: str) -> None:
    """Let some requests go wrong, not only the first ones."""
    for pattern in patterns:
        for after in (0, 2, 5):
            server.fail(pattern, how=how, after=after)


@pytest.mark.parametrize(("how", "sent"), [("short", 404), ("flip", "flip-sent"), ("cut", 410)])
def test_a_job_over_a_bad_network(
    job: Job, expected: dict[str, bytes], how: str, sent: int | str
) -> None:
    """The same bytes as on a disk, no dead letter, exit 0."""
    order(job.server, sent, "upload_id=")
    order(job.server, how, r"\.arrow.*alt=media", r"\.csv.*alt=media", r"\.shard.*alt=media")
    done = job.enqueue("--wait")
    assert done.returncode == 0, done.stderr
    assert job.shards() == expected
    assert not [name for name in job.server.names(job.bucket) if "/failed/" in name]
    order(job.server, how, r"\.shard.*alt=media", r"\.arrow.*alt=media")
    checked = job.workspace.run("verify", "--dest", job.dest, "--deep", "--values", "20")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("ending", [".arrow", ".csv", ""])
def test_an_export_stored_as_gzip_is_refused_before_any_work(job: Job, ending: str) -> None:
    """The listing tells; the error names the file, the encoding and the way on."""
    job.pack(ending)
    done = job.enqueue("--wait")
    assert done.returncode == 2
    said = done.stderr.replace("\n", " ")
    assert f"{ending or '.arrow'}: stored with Content-Encoding gzip" in said
    assert "upload it again without gcloud's --gzip-local" in said
    assert not job.shards()
    assert not [name for name in job.server.names(job.bucket) if ".runs/" in name]
    source = f"gs://{job.bucket}/{EXPORT}"
    checked = job.workspace.run("validate", "--source", source, "--spec", "spec.json")
    assert "Content-Encoding gzip" in checked.stdout + checked.stderr
    assert checked.returncode != 0


def test_a_bucket_whose_requesters_pay_says_who_pays(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 with the setting's name; with it, the job is done."""
    job.server.state.bucket_properties[job.bucket] = {"billing": {"requesterPays": True}}
    done = job.enqueue("--wait")
    assert done.returncode == 2
    assert "requester-pays" in error_line(done)
    assert "hint: set USER_PROJECT" in done.stderr
    monkeypatch.setenv("USER_PROJECT", "payer")
    assert job.enqueue("--wait").returncode == 0
    assert job.workspace.run("verify", "--dest", job.dest, "--values", "5").returncode == 0


@pytest.mark.parametrize("how", [408, 429, 500, "short", "other", "loop", "reset"])
def test_storage_that_stays_broken_ends_with_3(
    job: Job, monkeypatch: pytest.MonkeyPatch, how: int | str
) -> None:
    """It is out of reach, and neither the command nor the export is to blame."""
    monkeypatch.setenv("STORAGE_RETRY_S", "0.5")
    job.server.fail(job.bucket, times=10_000, how=how)
    done = job.enqueue()
    assert done.returncode == 3, done.stderr
    assert error_line(done)
