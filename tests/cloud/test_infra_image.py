"""`infra up` builds the image of the workers where it is missing, and pins its digest."""

import io
import os
import tarfile
from collections.abc import Callable

import pytest

from infra.image_registry import KEPT, ImageName, own_name, resolve
from infra.image_step import NO_BUCKET, NO_SOURCES, ImageStep
from infra.source_archive import ROOT, SourceArchive, read_sources
from runtime.storage import open_storage
from tests.support.commands import CommandResult, run_in_process
from tests.support.emulator import new_queue_url
from tests.support.gcs_server import GcsServer
from tests.support.google_api.calls import Call
from tests.support.google_server import GoogleServer

PROJECT, REGION = "shardlift-tests", "us-central1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
REPOSITORY = f"{PARENT}/repositories/shardlift"
PLACE = f"{REGION}-docker.pkg.dev/{PROJECT}/shardlift/shardlift"


class Cloud:
    """The command `infra up` for one queue, with a bucket, against Google's services."""

    def __init__(self, google: GoogleServer, gcs: GcsServer, bucket: str) -> None:
        self.google, self.gcs, self.bucket = google, gcs, bucket
        self.settings = {
            "QUEUE_URL": new_queue_url(),
            "REGION": REGION,
            "STATE_PATH": f"gs://{bucket}/runs",
            "STORAGE_RETRY_S": "5",
        }

    def run(self, *arguments: str, code: int = 0) -> CommandResult:
        """A command of which the exit code is known."""
        unset = {"PROJECT_ID", "DEST_PATH", "SOURCE_PATH", "WORKER_IMAGE"}
        known = {name: value for name, value in os.environ.items() if name not in unset}
        environment = known | self.settings
        done = run_in_process("infra", *arguments, folder=ROOT, environment=environment)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def actions(self, *arguments: str, code: int = 0) -> dict[str, str]:
        """Actions by kind; all of a kind have the same here."""
        changes = self.run(*arguments, "--json", code=code).document["changes"]
        wanted = {"image", "repository", "pool"}
        return {one["kind"]: one["action"] for one in changes if one["kind"] in wanted}

    @property
    def images(self) -> set[str]:
        """Images of all pools."""
        pools = self.google.worker_pools.found
        return {pools.get(name)["template"]["containers"][0]["image"] for name in pools}

    @property
    def digest(self) -> str:
        """Digest of the one image that was pushed."""
        (digest,) = self.google.repositories.tags.values()
        return digest


@pytest.fixture
def cloud(pubsub_emulator: str, google_server: GoogleServer, gcs: GcsServer, bucket: str) -> Cloud:
    """A queue, a bucket, and a project in which nothing was built."""
    del pubsub_emulator
    return Cloud(google_server, gcs, bucket)


def sources() -> SourceArchive:
    """Of this project."""
    found = read_sources()
    assert found is not None
    return found


def test_up_builds_the_image_and_pins_its_digest(cloud: Cloud) -> None:
    """Once; the second time nothing is written, and the check is content."""
    cloud.google.builds.polls = 2
    made = {"repository": "create", "image": "create", "pool": "create"}
    assert cloud.actions("up", "--only", "image,pools", "--dry-run") == made
    assert not cloud.google.writes()
    assert cloud.actions("up", "--only", "image,pools") == made
    assert cloud.images == {f"{PLACE}@{cloud.digest}"}
    (submitted,) = cloud.google.builds.submitted
    assert submitted["imageUri"] == f"{PLACE}:{sources().sha256}"
    policies = cloud.google.repositories.found.get(REPOSITORY)["cleanupPolicies"]
    assert policies["keep-newest"]["mostRecentVersions"] == {"keepCount": KEPT}
    written = len(cloud.google.writes())
    assert set(cloud.actions("up", "--only", "image,pools").values()) == {"ok"}
    assert set(cloud.actions("check", "--only", "image,pools").values()) == {"ok"}
    assert len(cloud.google.writes()) == written


def test_the_build_reads_the_sources_in_our_bucket(cloud: Cloud) -> None:
    """They lie there while it runs, and no longer."""
    seen: list[bytes] = []

    def read(call: Call) -> None:
        source = call.body["storageSource"]
        seen.append(open_storage(f"gs://{source['bucket']}").read(source["object"]))

    cloud.google.before("builds.submit", read)
    cloud.run("up", "--only", "image")
    with tarfile.open(fileobj=io.BytesIO(seen[0])) as archive:
        assert archive.getnames() == list(sources().files)
    assert not list(open_storage(f"gs://{cloud.bucket}").list(""))


def test_a_changed_source_is_built_and_the_pools_follow(cloud: Cloud) -> None:
    """Another tag; the pools get its digest in one change of their template each."""
    changed = SourceArchive({**sources().files, "infra/notes.py": b""})
    apply(image_step(cloud, sources))
    apply(image_step(cloud, lambda: changed))
    tags = cloud.google.repositories.tags
    assert len(set(tags.values())) == len(tags) == 2
    assert cloud.actions("up", "--only", "image,pools")["image"] == "ok"
    assert cloud.images == {f"{PLACE}@{tags[tag_of(sources())]}"}


@pytest.mark.parametrize("where", ["logging", "bucket"])
def test_a_failed_build_shows_its_last_lines(cloud: Cloud, where: str) -> None:
    """And the URL of the rest; no pool is made, and the exit code is 1."""
    cloud.google.builds.failure = "step 3 ended with 1"
    lines = [f"line {number}" for number in range(50)]

    def log(call: Call) -> None:
        (build,) = cloud.google.builds.found.values()
        if where == "bucket":
            build["logsBucket"] = cloud.bucket
            name = f"log-{build['id']}.txt"
            open_storage(f"gs://{cloud.bucket}").write(name, "\n".join(lines).encode())
        else:
            resource = {"type": "build", "labels": {"build_id": build["id"]}}
            for line in lines:
                cloud.google.logs.add(PROJECT, resource, textPayload=line)
        del call

    cloud.google.before("cloudbuild.*builds.get", log)
    done = cloud.run("up", "--only", "image,pools", code=1)
    assert "the image could not be built: FAILURE, step 3 ended with 1" in done.stderr
    assert "https://console.cloud.google.com/cloud-build/builds/" in done.stderr
    shown = [line.strip() for line in done.stderr.splitlines() if line.startswith("  | ")]
    assert shown == [f"| {line}" for line in lines[-20:]]
    assert not list(cloud.google.worker_pools.found)


def test_without_the_log_the_failure_is_told_all_the_same(cloud: Cloud) -> None:
    """The caller may lack the right to read logs; the next `up` builds again."""
    cloud.google.builds.failure = "step 3 ended with 1"
    cloud.google.fail("logging.entries.list", 9, 403)
    assert "step 3 ended with 1" in cloud.run("up", "--only", "image", code=1).stderr
    cloud.google.builds.failure = None
    assert cloud.actions("up", "--only", "image") == {"repository": "ok", "image": "create"}


@pytest.mark.parametrize("pattern", ["repositories.create", "builds.submit", "builds.get"])
@pytest.mark.parametrize("how", [503, "reset", "lost"])
def test_passing_trouble_is_retried(cloud: Cloud, pattern: str, how: int | str) -> None:
    """A lost answer to the submission costs a second build of the same sources, no more."""
    cloud.google.fail(pattern, 1, how)
    cloud.run("up", "--only", "image,pools")
    assert cloud.images == {f"{PLACE}@{cloud.digest}"}


def test_a_given_tag_is_pinned_where_it_can_be(cloud: Cloud) -> None:
    """By Artifact Registry; elsewhere there is a note, and what is not there is a finding."""
    cloud.run("up", "--only", "image")
    tag = next(iter(cloud.google.repositories.tags)).rpartition("/")[2]
    cloud.run("up", "--only", "image,pools", "--image", f"{PLACE}:{tag}")
    assert cloud.images == {f"{PLACE}@{cloud.digest}"}
    assert len(cloud.google.builds.submitted) == 1
    elsewhere = cloud.run(
        "up", "--only", "pools", "--image", "ghcr.io/lab/shardlift:2", "--dry-run"
    )
    assert "image ghcr.io/lab/shardlift:2 has no digest" in elsewhere.stderr
    missing = cloud.run("check", "--only", "image", "--image", f"{PLACE}:none", code=1)
    assert "is not in Artifact Registry" in missing.stdout


def test_without_the_right_to_see_images_a_check_goes_on(cloud: Cloud) -> None:
    """`up` is refused, for it cannot know what there is."""
    cloud.google.fail("repositories.get", 99, 403)
    assert cloud.actions("check", "--only", "image") == {"image": "skip"}
    assert "roles/artifactregistry.admin" in cloud.run("up", "--only", "image", code=2).stderr


def test_what_an_installed_wheel_can_do(cloud: Cloud) -> None:
    """It has no sources: it asks for an image. Nor is there a build without a bucket."""
    wheel = image_step(cloud, lambda: None)
    assert [one.note for one in wheel.compare()] == [NO_SOURCES]
    assert wheel.image() is None
    apply(wheel)
    without = ImageStep(PROJECT, REGION, None, None)
    assert [one.note for one in without.compare()] == [NO_BUCKET]
    assert without.image() is None
    assert not cloud.google.writes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{PLACE}:2", own_name(PROJECT, REGION, "2")),
        (PLACE, own_name(PROJECT, REGION, "latest")),
        (
            "eu-docker.pkg.dev/example.com/old/r/a/b:1",
            ImageName("eu", "example.com:old", "r", "a/b", "1"),
        ),
        ("docker.io/library/busybox", None),
        ("ghcr.io/lab/shardlift:2", None),
    ],
)
def test_names_of_images(text: str, expected: ImageName | None) -> None:
    """Those of Artifact Registry are told from others."""
    found = ImageName.parse(text)
    assert found == expected
    if found is not None and found.tag != "latest":
        assert found.tagged == text
    assert resolve(f"{PLACE}@sha256:{'0' * 64}").note == ""


def image_step(cloud: Cloud, read: Callable[[], SourceArchive | None]) -> ImageStep:
    """The step for other sources."""
    return ImageStep(PROJECT, REGION, None, cloud.bucket, sources=read)


def apply(step: ImageStep) -> None:
    """Compare, then make."""
    step.apply(step.compare())


def tag_of(archive: SourceArchive) -> str:
    """Full name of the tag of an archive's image."""
    return f"{REPOSITORY}/packages/shardlift/tags/{archive.sha256}"
