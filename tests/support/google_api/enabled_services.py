"""Service Usage: which services a project has enabled."""

import re
from typing import Final

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.operations import Operations
from tests.support.google_api.refusals import Refusal
from tests.support.google_api.resources import Resource, page

_NAME: Final = re.compile(r"[a-z][a-z0-9.-]*\.googleapis\.com")
_MOST_AT_ONCE: Final = 20
_METADATA: Final = {"@type": "type.googleapis.com/google.api.serviceusage.v1.OperationMetadata"}
_BATCH: Final = "google.api.serviceusage.v1.BatchEnableServicesResponse"
_ONE: Final = "google.api.serviceusage.v1.EnableServiceResponse"


class EnabledServices:
    """Enabled services of each project, which requests name by its id or number."""

    def __init__(self, operations: Operations) -> None:
        self.enabled: dict[str, set[str]] = {}
        self._operations = operations

    def handlers(self) -> Handlers:
        """By method id."""
        return {
            "serviceusage.services.batchEnable": self._batch_enable,
            "serviceusage.services.enable": self._enable,
            "serviceusage.services.get": self._get,
            "serviceusage.services.list": self._list,
            "serviceusage.services.batchGet": self._batch_get,
        }

    def _batch_enable(self, call: Call) -> Resource:
        names = call.body.get("serviceIds", [])
        if not 0 < len(names) <= _MOST_AT_ONCE:
            raise Refusal(400, f"serviceIds: {len(names)} of them")
        services = [self._turned_on(f"{call.name}/services/{name}") for name in names]
        return self._operations.start("", _BATCH, {"services": services}, _METADATA)

    def _enable(self, call: Call) -> Resource:
        service = self._turned_on(call.name)
        return self._operations.start("", _ONE, {"service": service}, _METADATA)

    def _get(self, call: Call) -> Resource:
        return self._service(call.name)

    def _list(self, call: Call) -> Resource:
        if call.query.get("filter") not in {"state:ENABLED", None}:
            raise Refusal(400, f"filter {call.query['filter']!r} is not served")
        names = sorted(self.enabled.get(call.name, ()))
        found = [self._service(f"{call.name}/services/{name}") for name in names]
        return page(call, "services", found)

    def _batch_get(self, call: Call) -> Resource:
        names = call.query.get("names", [])
        if any(not name.startswith(f"{call.name}/services/") for name in names) or not names:
            raise Refusal(400, f"names {names} are not services of {call.name}")
        return {"services": [self._service(name) for name in names]}

    def _turned_on(self, name: str) -> Resource:
        parent, _, service = name.partition("/services/")
        self._service(name)
        self.enabled.setdefault(parent, set()).add(service)
        return self._service(name)

    def _service(self, name: str) -> Resource:
        parent, _, service = name.partition("/services/")
        if not _NAME.fullmatch(service):
            raise Refusal(404, f"service {service!r} does not exist")
        on = service in self.enabled.get(parent, ())
        return {"name": name, "parent": parent, "state": "ENABLED" if on else "DISABLED"}
