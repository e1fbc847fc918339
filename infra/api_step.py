"""APIs of a project that the cloud resources need: named where they are off, and switched on."""

from collections.abc import Collection, Sequence
from typing import ClassVar, Final

from infra.changes import Action, Change
from infra.defaults import APIS
from infra.rest_service import DeniedError, RestService
from infra.rights import API_ADMIN, Need
from infra.steps import UNSEEN, Step
from runtime.google_endpoints import GoogleService

KIND: Final = "api"
_ENABLED: Final = "ENABLED"
_VERSION: Final = "v1"


class ApisStep(Step):
    """APIs of a project.

    Args:
        project: id.
        wanted: names of the APIs that the other steps and the workers call.
    """

    part = APIS
    title = "APIs"
    apis: ClassVar = frozenset({"serviceusage.googleapis.com"})

    def __init__(self, project: str, wanted: Collection[str]) -> None:
        self._project = project
        self._wanted = sorted(wanted)
        self._service = RestService(GoogleService.SERVICEUSAGE)

    def compare(self) -> list[Change]:
        """APIs that are off, with the command that switches them on."""
        parent = f"projects/{self._project}"
        names = [f"{parent}/services/{api}" for api in self._wanted]
        try:
            answer = self._service.call(
                "GET", f"{_VERSION}/{parent}/services:batchGet", names=names
            )
        except DeniedError as error:
            return [Change(Action.SKIP, KIND, "all", f"{UNSEEN}; {error}")]
        on = {
            one["name"].rpartition("/")[2]
            for one in answer.get("services", ())
            if one.get("state") == _ENABLED
        }
        return [self._change(api, on) for api in self._wanted]

    def apply(self, changes: Sequence[Change]) -> None:
        """Switch on what is off, and wait until it is."""
        off = [one.name for one in changes if one.action is Action.CREATE]
        if off:
            path = f"{_VERSION}/projects/{self._project}/services:batchEnable"
            begun = self._service.call("POST", path, {"serviceIds": off})
            self._service.wait(begun, _VERSION)

    def needs(self, changes: Sequence[Change]) -> list[Need]:
        """The right to switch APIs on."""
        if all(one.action is not Action.CREATE for one in changes):
            return []
        return [Need("serviceusage.services.enable", API_ADMIN, f"projects/{self._project}")]

    def _change(self, api: str, on: Collection[str]) -> Change:
        if api in on:
            return Change(Action.OK, KIND, api)
        note = f"gcloud services enable {api} --project={self._project}"
        return Change(Action.CREATE, KIND, api, note)
