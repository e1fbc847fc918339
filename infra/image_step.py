"""The image of the workers: built from the sources here where it is missing, or given."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar, Final

from infra.changes import Action, Change
from infra.defaults import IMAGE
from infra.image_build import BuildFailedError, ImageBuild
from infra.image_registry import (
    REPOSITORY,
    ImageName,
    ImageRegistry,
    ResolvedImage,
    own_name,
    resolve,
)
from infra.rest_service import DeniedError
from infra.rights import ACCOUNT_USER, ACT_AS, REGISTRY_ADMIN, SOURCE_DEVELOPER, Need
from infra.source_archive import SourceArchive, read_sources
from infra.steps import UNSEEN, Step

KIND: Final = "image"
REPOSITORY_KIND: Final = "repository"
NO_SOURCES: Final = "no sources here to build one of, as in a clone: pass --image IMAGE@DIGEST"
NO_BUCKET: Final = "to build one, set STATE_PATH=gs://BUCKET/PREFIX, or pass --image IMAGE@DIGEST"
_RIGHTS: Final = (
    f"to build the image grant {REGISTRY_ADMIN} and {SOURCE_DEVELOPER} on the project to the "
    "account that runs this, and roles/iam.serviceAccountUser on the account that builds; or pass "
    "--image IMAGE@DIGEST"
)
_SHOWN: Final = 12  # digits of a tag


class ImageStep(Step):
    """Image of the workers, with its digest.

    Args:
        project: id.
        region: of the repository and of the build.
        given: an image that needs no build; None to build one.
        bucket: that takes the sources during the build; None if it is not known.
        builder: address of the account that builds; None for the project's default.
        say: prints a line for people.
        sources: what is built; None where there are none.
    """

    part = IMAGE
    title = "image"
    apis: ClassVar = frozenset(
        {"artifactregistry.googleapis.com", "cloudbuild.googleapis.com", "run.googleapis.com"}
    )

    def __init__(
        self,
        project: str,
        region: str,
        given: str | None,
        bucket: str | None,
        *,
        builder: str | None = None,
        say: Callable[[str], None] = lambda _line: None,
        sources: Callable[[], SourceArchive | None] = read_sources,
    ) -> None:
        self._parent = f"projects/{project}/locations/{region}"
        self._project = project
        self._region = region
        self._given = given
        self._bucket = bucket
        self._builder = builder
        self._say = say
        self._read_sources = sources
        self._digest: str | None = None

    def image(self) -> str | None:
        """The image for the pools, with its digest once it is known; None if there is none."""
        if self._given:
            return self._resolved.reference
        if self._name is None or self._bucket is None:
            return None
        return self._name.pinned(self._digest) if self._digest else self._name.tagged

    def compare(self) -> list[Change]:
        """The repository and the image, if one of them is to be made."""
        if self._given:
            return self._given_changes()
        if self._name is None:
            return [Change(Action.SKIP, KIND, "none", NO_SOURCES)]
        if self._bucket is None:
            return [Change(Action.SKIP, KIND, "none", NO_BUCKET)]
        try:
            return self._compare(self._name)
        except DeniedError as error:  # also while an API is off that an earlier step switches on
            return [Change(Action.SKIP, KIND, _short(self._name), f"{UNSEEN}; {error}")]

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the repository and build the image.

        Raises:
            BuildFailedError: the last lines of its log are said before.
        """
        name, bucket = self._name, self._bucket
        if self._given or name is None or bucket is None:
            return
        try:
            if any(one.action is Action.SKIP for one in changes):
                changes = self._compare(name)
            self._make(name, bucket, changes)
        except DeniedError as error:
            raise DeniedError(str(error), hint=_RIGHTS) from error

    def _make(self, name: ImageName, bucket: str, changes: Sequence[Change]) -> None:
        missing = {one.kind for one in changes if one.action is Action.CREATE}
        if REPOSITORY_KIND in missing:
            ImageRegistry().create_repository(name)
        if KIND in missing:
            self._digest = self._build(name, bucket)

    def needs(self, changes: Sequence[Change]) -> list[Need]:
        """Rights to make the repository and to build."""
        rights = {
            REPOSITORY_KIND: ("artifactregistry.repositories.create", REGISTRY_ADMIN),
            KIND: ("cloudbuild.builds.create", SOURCE_DEVELOPER),
        }
        project = f"projects/{self._project}"
        made = [one.kind for one in changes if one.action is Action.CREATE and one.kind in rights]
        needs = [Need(*rights[kind], project) for kind in made]
        if KIND in made and self._builder:
            account = f"{project}/serviceAccounts/{self._builder}"
            needs.append(Need(ACT_AS, ACCOUNT_USER, account))
        return needs

    def notes(self) -> list[str]:
        """Why an image that was given has no digest."""
        return [self._resolved.note] if self._given and self._resolved.note else []

    @cached_property
    def _resolved(self) -> ResolvedImage:
        return resolve(self._given or "")

    @cached_property
    def _sources(self) -> SourceArchive | None:
        return self._read_sources()

    @cached_property
    def _name(self) -> ImageName | None:
        """The image of these sources; None where there are none."""
        found = self._sources
        return None if found is None else own_name(self._project, self._region, found.sha256)

    def _given_changes(self) -> list[Change]:
        found = self._resolved
        if found.missing:
            return [Change(Action.WARN, KIND, found.reference, "is not in Artifact Registry")]
        if found.reference != self._given:
            return [Change(Action.OK, KIND, found.reference)]
        return []

    def _compare(self, name: ImageName) -> list[Change]:
        registry = ImageRegistry()
        found = registry.repository(name)
        if found is None:
            making = Change(Action.CREATE, REPOSITORY_KIND, REPOSITORY, "keeps the newest 5 images")
            return [making, _to_build(name)]
        if found.get("format") != "DOCKER":
            note = "is not for container images: remove it, or pass --image IMAGE@DIGEST"
            return [Change(Action.CONFLICT, REPOSITORY_KIND, REPOSITORY, note)]
        self._digest = registry.digest(name)
        image = _to_build(name) if self._digest is None else Change(Action.OK, KIND, _short(name))
        return [Change(Action.OK, REPOSITORY_KIND, REPOSITORY), image]

    def _build(self, name: ImageName, bucket: str) -> str:
        sources = self._sources
        assert sources is not None  # noqa: S101 - there is a name
        try:
            return ImageBuild(self._parent, bucket, self._builder).build(
                sources, name, lambda url: self._say(f"building the image, see {url}")
            )
        except BuildFailedError as error:
            for line in error.lines:
                self._say(f"  | {line}")
            raise


def _to_build(name: ImageName) -> Change:
    return Change(Action.CREATE, KIND, _short(name), "from these sources, in 3 minutes")


def _short(name: ImageName) -> str:
    return f"{name.package}:{name.tag[:_SHOWN]}"
