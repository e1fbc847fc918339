"""Artifact Registry: the repository of our images, and the digests that tags stand for."""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from infra.rest_service import ConflictError, DeniedError, MissingError, RestService
from runtime.errors import UnreachableError
from runtime.google_endpoints import GoogleService

REPOSITORY: Final = "shardlift"
IMAGE: Final = "shardlift"
KEPT: Final = 5
# A policy that keeps deletes nothing: what it does not keep needs one that deletes.
CLEANUP: Final[dict[str, Any]] = {
    "keep-newest": {
        "id": "keep-newest",
        "action": "KEEP",
        "mostRecentVersions": {"keepCount": KEPT},
    },
    "delete-older": {
        "id": "delete-older",
        "action": "DELETE",
        "condition": {"olderThan": "2592000s"},  # pools may still use it
    },
}
_REFERENCE: Final = re.compile(
    r"(?P<region>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>([^/@]+\.[^/@]+/)?[^/@]+)/(?P<repository>[^/@:]+)"
    r"/(?P<package>[^@:]+)(:(?P<tag>[\w][\w.-]*))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image in Artifact Registry.

    Attributes:
        region: of its repository.
        project: id.
        repository: within the project.
        package: the image's name.
        tag: of the version.
    """

    region: str
    project: str
    repository: str
    package: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "ImageName | None":
        """The image that a reference without a digest names; None where it is elsewhere."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            return None
        project = found["project"].replace("/", ":")  # `example.com:project`, in references with /
        tag = found["tag"] or "latest"
        return cls(found["region"], project, found["repository"], found["package"], tag)

    @property
    def untagged(self) -> str:
        """The reference without its tag."""
        project = self.project.replace(":", "/")
        place = f"{self.region}-docker.pkg.dev/{project}/{self.repository}"
        return f"{place}/{self.package}"

    @property
    def tagged(self) -> str:
        """The reference with its tag."""
        return f"{self.untagged}:{self.tag}"

    def pinned(self, digest: str) -> str:
        """The reference with a digest."""
        return f"{self.untagged}@{digest}"

    @property
    def parent(self) -> str:
        """Its repository, as Artifact Registry names it."""
        return f"projects/{self.project}/locations/{self.region}/repositories/{self.repository}"


class ImageRegistry:
    """Repositories and tags."""

    def __init__(self) -> None:
        self._service = RestService(GoogleService.ARTIFACTREGISTRY)

    def repository(self, name: ImageName) -> dict[str, Any] | None:
        """The repository of an image; None if it does not exist."""
        try:
            return self._service.call("GET", f"v1/{name.parent}")
        except MissingError:
            return None

    def create_repository(self, name: ImageName) -> None:
        """Make a repository that keeps the newest images, so that they do not pile up."""
        parent, _, own = name.parent.rpartition("/repositories/")
        body = {
            "format": "DOCKER",
            "description": "Images of shardlift, made by `infra up`",
            "labels": {"app": "shardlift"},
            "cleanupPolicies": CLEANUP,
        }
        try:
            begun = self._service.call("POST", f"v1/{parent}/repositories", body, repositoryId=own)
        except ConflictError:  # made by another `up`, or by this one before an answer was lost
            return
        self._service.wait(begun, "v1")

    def digest(self, name: ImageName) -> str | None:
        """The digest that a tag stands for now; None where there is no such image.

        Raises:
            DeniedError: the caller may not see it, or the API is off.
        """
        package = quote(name.package, safe="")
        path = f"v1/{name.parent}/packages/{package}/tags/{name.tag}"
        try:
            version: str = self._service.call("GET", path)["version"]
        except MissingError:
            return None
        return version.rpartition("/")[2]


def own_name(project: str, region: str, tag: str) -> ImageName:
    """The image that is built from sources of this tag."""
    return ImageName(region, project, REPOSITORY, IMAGE, tag)


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image that was given, with the digest of its tag where that is known.

    Attributes:
        reference: for the pools.
        note: why it has no digest; empty if it has one.
        missing: whether Artifact Registry says that there is no such image.
    """

    reference: str
    note: str = ""
    missing: bool = False


def resolve(image: str) -> ResolvedImage:
    """The digest of a given image; else pools run what the tag stands for at each start."""
    if "@sha256:" in image:
        return ResolvedImage(image)
    note = f"image {image} has no digest: if its tag moves, pools do not follow it"
    name = ImageName.parse(image)
    if name is None:
        return ResolvedImage(image, note)
    try:
        digest = ImageRegistry().digest(name)
    except (DeniedError, UnreachableError) as error:
        return ResolvedImage(image, f"{note}; Artifact Registry cannot be asked: {error}")
    if digest is None:
        return ResolvedImage(image, f"image {image} is not in Artifact Registry", missing=True)
    return ResolvedImage(name.pinned(digest))
