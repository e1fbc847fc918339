"""Repositories of Artifact Registry."""

from typing import Final

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.containers import id_problem
from tests.support.google_api.iam_policies import IamPolicies
from tests.support.google_api.operations import Operations
from tests.support.google_api.refusals import Refusal, not_found
from tests.support.google_api.resources import Collection, Resource, masked, now, page

PREFIX: Final = "artifactregistry.projects.locations.repositories"
_MESSAGE: Final = "google.devtools.artifactregistry.v1.Repository"
_METADATA: Final = {
    "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata"
}


class Repositories:
    """Repositories, by full name.

    Attributes:
        tags: digest by full name of a tag.
    """

    def __init__(self, operations: Operations, policies: IamPolicies) -> None:
        self.found = Collection()
        self.tags: dict[str, str] = {}
        self._operations = operations
        self._policies = policies

    def handlers(self) -> Handlers:
        """By method id."""
        return {
            f"{PREFIX}.create": self._create,
            f"{PREFIX}.get": lambda call: _shown(self.found.get(call.name)),
            f"{PREFIX}.list": self._list,
            f"{PREFIX}.patch": self._patch,
            f"{PREFIX}.delete": self._delete,
            f"{PREFIX}.packages.tags.get": self._get_tag,
            **self._policies.handlers(PREFIX, self.found.__contains__),
        }

    def push(self, image: str, digest: str) -> bool:
        """Keep an image with its tag; whether its repository exists."""
        place, _, tag = image.rpartition(":")
        host, project, repository, package = place.split("/", 3)
        region = host.removesuffix("-docker.pkg.dev")
        name = f"projects/{project}/locations/{region}/repositories/{repository}"
        if name not in self.found:
            return False
        self.tags[f"{name}/packages/{package}/tags/{tag}"] = digest
        return True

    def _get_tag(self, call: Call) -> Resource:
        if call.name not in self.tags:
            raise not_found(call.name)
        package = call.name.partition("/tags/")[0]
        return {"name": call.name, "version": f"{package}/versions/{self.tags[call.name]}"}

    def _create(self, call: Call) -> Resource:
        if wrong := id_problem(call.query.get("repositoryId", "")):
            raise Refusal(400, f"repository_id: {wrong}")
        if call.body.get("format", "FORMAT_UNSPECIFIED") == "FORMAT_UNSPECIFIED":
            raise Refusal(400, "format: a repository needs one")
        name = f"{call.name}/repositories/{call.query['repositoryId']}"
        made = self.found.add(name, {**call.body, "createTime": now(), "updateTime": now()})
        return self._operations.start(call.name, _MESSAGE, _shown(made), _METADATA)

    def _list(self, call: Call) -> Resource:
        found = [_shown(one) for one in self.found.below(call.name, "repositories")]
        return page(call, "repositories", found)

    def _patch(self, call: Call) -> Resource:
        fields = call.method.schemas["Repository"]["properties"]
        with self.found.lock:
            before = self.found.get(call.name)
            mask = call.query.get("updateMask")
            after = masked(
                before, call.body, mask, lambda key: bool(fields.get(key, {}).get("readOnly"))
            )
            return _shown(self.found.put(call.name, {**after, "updateTime": now()}))

    def _delete(self, call: Call) -> Resource:
        self.found.remove(call.name)
        parent = call.name.partition("/repositories/")[0]
        return self._operations.start(parent, "google.protobuf.Empty", {}, _METADATA)


def _shown(repository: Resource) -> Resource:
    """A repository has no etag."""
    return {key: value for key, value in repository.items() if key != "etag"}
