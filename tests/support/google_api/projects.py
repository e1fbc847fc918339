"""Projects of Resource Manager and their policies."""

from dataclasses import replace
from typing import Final

from tests.support.google_api.calls import Call, Handler, Handlers
from tests.support.google_api.iam_policies import IamPolicies
from tests.support.google_api.refusals import Refusal
from tests.support.google_api.resources import Resource, now

PREFIX: Final = "cloudresourcemanager.projects"


class Projects:
    """Projects by id, with their numbers.

    A project that does not exist, or is not the caller's, is answered 403, as Google does.
    """

    def __init__(self, policies: IamPolicies) -> None:
        self.numbers: dict[str, int] = {}
        self._policies = policies

    def add(self, project: str, number: int) -> None:
        """Let a project exist."""
        self.numbers[project] = number

    def handlers(self) -> Handlers:
        """By method id; both versions of the service have the same ids."""
        policies = self._policies.handlers(PREFIX, lambda _name: True)
        guarded = {name: self._guarded(handler) for name, handler in policies.items()}
        return {f"{PREFIX}.get": self._get, **guarded}

    def _guarded(self, handler: Handler) -> Handler:
        """The handler, for known projects; their policies are kept by id."""

        def handle(call: Call) -> Resource:
            return handler(replace(call, names={"resource": self._known(call)}))

        return handle

    def _get(self, call: Call) -> Resource:
        project = self._known(call)
        number = str(self.numbers[project])
        if "projectId" in call.names:  # version 1
            return {
                "projectId": project,
                "projectNumber": number,
                "name": project,
                "lifecycleState": "ACTIVE",
                "createTime": now(),
            }
        return {"name": f"projects/{number}", "projectId": project, "state": "ACTIVE"}

    def _known(self, call: Call) -> str:
        project = call.name.removeprefix("projects/")
        if project not in self.numbers:
            raise Refusal(403, f"The caller does not have permission on project {project}")
        return project
