"""Build of the workers' image by Google: sources are uploaded, submitted, and awaited."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from infra.image_registry import ImageName
from infra.log_entries import LogEntries
from infra.rest_service import RestService
from infra.source_archive import SourceArchive
from runtime.errors import ShardliftError, UnreachableError
from runtime.google_endpoints import GoogleService
from runtime.storage import open_storage
from runtime.urls import GS

FOLDER: Final = "shardlift-build"  # of a bucket, for as long as a build reads its sources
MOST_S: Final = 1800.0
POLL_S: Final = (0.2, 5.0)  # pause before the second look, and the longest one
LINES: Final = 20  # of a failed build's log
_SUCCESS: Final = "SUCCESS"
_AT_WORK: Final = frozenset({"STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING"})

Json = dict[str, Any]


class BuildFailedError(ShardliftError):
    """The image could not be built.

    Attributes:
        lines: the last ones of the log.
    """

    def __init__(self, message: str, hint: str, lines: Sequence[str]) -> None:
        super().__init__(message, hint)
        self.lines = lines


class ImageBuild:
    """Builds images of one project and region.

    Args:
        parent: `projects/PROJECT/locations/REGION`.
        bucket: that takes the sources for as long as the build runs.
        account: address of the account that builds; None for the project's default.
    """

    def __init__(self, parent: str, bucket: str, account: str | None) -> None:
        self._parent = parent
        self._project = parent.split("/")[1]
        self._bucket = bucket
        self._account = account
        self._run = RestService(GoogleService.RUN)
        self._cloud_build = RestService(GoogleService.CLOUDBUILD)

    def build(
        self,
        sources: SourceArchive,
        image: ImageName,
        on_begun: Callable[[str], None] = lambda _url: None,
    ) -> str:
        """Build an image, which takes about three minutes; its digest.

        Args:
            sources: with the Dockerfile.
            image: with the tag that it gets.
            on_begun: called with the URL of the build's log.

        Raises:
            BuildFailedError: a step of the Dockerfile failed, or the build's account lacks a right.
            UsageError: the caller may not build.
            UnreachableError: no answer, or no end.
        """
        with self._uploaded(sources) as archive:
            begun = self._submit(archive, image)
            on_begun(begun.get("logUrl", ""))
            ended = self._await(begun)
        if ended["status"] != _SUCCESS:
            raise self._failure(ended)
        images = ended.get("results", {}).get("images", [])
        if not images:
            raise UnreachableError(f"build {ended['id']} ended without a digest of its image")
        digest: str = images[0]["digest"]
        return digest

    @contextmanager
    def _uploaded(self, sources: SourceArchive) -> Iterator[str]:
        """The archive in the bucket, which it leaves however the build ends."""
        storage, name = open_storage(f"{GS}{self._bucket}"), f"{FOLDER}/{sources.object_name}"
        storage.write(name, sources.tar_gz)
        try:
            yield name
        finally:
            storage.delete(name)

    def _submit(self, archive: str, image: ImageName) -> Json:
        """Submit a build; what Cloud Build says of it.

        In plain JSON: the answer's metadata is a message of Cloud Build, which the client of Cloud
        Run does not know and refuses over REST.
        """
        body: Json = {
            "storageSource": {"bucket": self._bucket, "object": archive},
            "imageUri": image.tagged,
            "dockerBuild": {},
            "client": "shardlift",
        }
        if self._account is not None:
            body["serviceAccount"] = f"projects/{self._project}/serviceAccounts/{self._account}"
        answer = self._run.call("POST", f"v2/{self._parent}/builds:submit", body)
        build: Json = answer.get("buildOperation", {}).get("metadata", {}).get("build", {})
        if not build.get("id"):
            raise UnreachableError(
                f"Cloud Run has begun a build in {self._parent} and does not name it",
                hint="run the same command again once the build has ended",
            )
        return {"name": f"{self._parent}/builds/{build['id']}", **build}

    def _await(self, build: Json) -> Json:
        """The build once it has ended."""
        begun_s, pause_s = time.monotonic(), POLL_S[0]
        found = build
        while found.get("status", _SUCCESS) in _AT_WORK or found is build:
            if time.monotonic() - begun_s > MOST_S:
                raise UnreachableError(
                    f"build {build['id']} has not ended after {MOST_S / 60:.0f} minutes",
                    hint=f"see {build.get('logUrl', 'its log')}; then run the same command again",
                )
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, POLL_S[1])
            found = self._cloud_build.call("GET", f"v1/{build['name']}")
        return found

    def _failure(self, build: Json) -> BuildFailedError:
        reason = build.get("failureInfo", {}).get("detail") or build.get("statusDetail") or ""
        return BuildFailedError(
            f"the image could not be built: {build['status']}{reason and f', {reason}'}",
            f"the whole log: {build.get('logUrl', 'in Cloud Build')} ; `--image IMAGE@DIGEST` "
            "takes an image that was built elsewhere",
            self._last_lines(build),
        )

    def _last_lines(self, build: Json) -> list[str]:
        """The end of the log, in Cloud Logging or in a bucket; empty where it cannot be read."""
        try:
            kept = build.get("logsBucket", "").removeprefix(GS)
            if kept:
                text = open_storage(f"{GS}{kept}").read(f"log-{build['id']}.txt").decode()
                return text.splitlines()[-LINES:]
            chosen = f'resource.type="build" AND resource.labels.build_id="{build["id"]}"'
            return LogEntries(self._project).last(LINES, chosen)
        except (ShardliftError, UnicodeDecodeError):  # the URL is told in any case
            return []
