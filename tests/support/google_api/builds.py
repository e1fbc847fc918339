"""Builds: submitted through Cloud Run, looked up at Cloud Build."""

import hashlib
import re
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.refusals import Refusal, not_found
from tests.support.google_api.resources import Resource, now

_IMAGE: Final = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev/[^/\s]+/[^/\s]+/[^\s@]+")
_METADATA: Final = "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata"


class Builds:
    """Builds by full name.

    Args:
        push: called with the image and digest of each build that succeeds; whether there is a
            repository for it.

    Attributes:
        found: as Cloud Build has them.
        submitted: requests as they came.
        polls: how often a new build is found at work before it ends.
        failure: detail of a failed build; None lets builds succeed.
        typed_metadata: whether the operation has metadata, whose type `google-cloud-run` does not
            know.
    """

    def __init__(self, push: Callable[[str, str], bool]) -> None:
        self._push = push
        self.found: dict[str, Resource] = {}
        self.submitted: list[Resource] = []
        self.polls = 0
        self.failure: str | None = None
        self.typed_metadata = True
        self._left: dict[str, int] = {}

    def handlers(self) -> Handlers:
        """By method id."""
        return {
            "run.projects.locations.builds.submit": self._submit,
            "cloudbuild.projects.locations.builds.get": self._get,
        }

    def _submit(self, call: Call) -> Resource:
        body = call.body
        if not _IMAGE.fullmatch(body["imageUri"]):
            raise Refusal(400, f"image_uri: {body['imageUri']!r} is not in Artifact Registry")
        if ("dockerBuild" in body) == ("buildpackBuild" in body):
            raise Refusal(400, "one of docker_build and buildpack_build is required")
        if not body["storageSource"]["object"].endswith((".tar.gz", ".tgz", ".zip")):
            raise Refusal(400, "storage_source.object: neither a .tar.gz nor a .zip")
        self.submitted.append(body)
        number = str(uuid4())
        name = f"{call.name}/builds/{number}"
        digest = hashlib.sha256(repr(sorted(body.items())).encode()).hexdigest()
        self.found[name] = {
            "id": number,
            "name": name,
            "projectId": call.name.split("/")[1],
            "status": "QUEUED",
            "createTime": now(),
            "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{number}",
            "results": {"images": [{"name": body["imageUri"], "digest": f"sha256:{digest}"}]},
        }
        self._left[name] = self.polls
        operation: Resource = {"name": f"{call.name}/operations/{number}"}
        if self.typed_metadata:
            operation["metadata"] = {"@type": _METADATA, "build": self._shown(name, "QUEUED")}
        return {"buildOperation": operation}

    def _get(self, call: Call) -> Resource:
        name = call.name
        if name not in self.found:
            raise not_found(name)
        if self._left[name]:
            self._left[name] -= 1
            return self._shown(name, "WORKING")
        if self.failure is None and not self._is_pushed(name):
            self.failure = "push: the repository was not found"
        if self.failure is None:
            return {**self.found[name], "status": "SUCCESS", "finishTime": now()}
        failed = {**self._shown(name, "FAILURE"), "statusDetail": self.failure}
        return {**failed, "failureInfo": {"type": "USER_BUILD_STEP", "detail": self.failure}}

    def _is_pushed(self, name: str) -> bool:
        (image,) = self.found[name]["results"]["images"]
        return self._push(image["name"], image["digest"])

    def _shown(self, name: str, status: str) -> Resource:
        """A build without results, which only one that succeeded has."""
        return {k: v for k, v in self.found[name].items() if k != "results"} | {"status": status}
