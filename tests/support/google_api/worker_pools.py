"""Worker pools of Cloud Run: counts, revisions, etags."""

from collections.abc import Callable
from typing import Any, Final

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.containers import container_problems, id_problem, label_problems
from tests.support.google_api.iam_policies import IamPolicies
from tests.support.google_api.operations import Operations
from tests.support.google_api.refusals import Refusal, exists
from tests.support.google_api.resources import Collection, Resource, identity, masked, now, page

PREFIX: Final = "run.projects.locations.workerPools"
_MESSAGE: Final = "google.cloud.run.v2.WorkerPool"
_SCHEMA: Final = "GoogleCloudRunV2WorkerPool"
_MOST_TEXT: Final = 512
_DEFAULT_COUNT: Final = 1  # a pool that is made without `scaling` runs an instance at once

OnScaled = Callable[[str, int], None]


class WorkerPools:
    """Worker pools, and what their counts were set to.

    Attributes:
        found: the pools, by full name.
        on_scaled: called with a pool's name and count after each change of the count.
    """

    def __init__(self, operations: Operations, policies: IamPolicies) -> None:
        self.found = Collection()
        self.on_scaled: OnScaled = lambda _name, _count: None
        self._operations = operations
        self._policies = policies

    def count(self, name: str) -> int:
        """Instances that a pool shall have."""
        return int(self.found.get(name)["scaling"]["manualInstanceCount"])

    def set_count(self, name: str, count: int) -> None:
        """Set a pool's count behind the API, as another caller would; its etag changes."""
        with self.found.lock:
            pool = self.found.get(name)
            self.found.put(name, {**pool, "scaling": {"manualInstanceCount": count}})
        self.on_scaled(name, count)

    def fail(self, name: str, message: str) -> None:
        """Let a pool say that it cannot run."""
        failed = {"type": "Ready", "state": "CONDITION_FAILED", "message": message}
        with self.found.lock:
            pool = self.found.get(name)
            if pool["terminalCondition"].get("message") != message:
                self.found.put(name, {**pool, "terminalCondition": failed})

    def handlers(self) -> Handlers:
        """By method id."""
        return {
            f"{PREFIX}.create": self._create,
            f"{PREFIX}.get": lambda call: self.found.get(call.name),
            f"{PREFIX}.list": self._list,
            f"{PREFIX}.patch": self._patch,
            f"{PREFIX}.delete": self._delete,
            **self._policies.handlers(PREFIX, self.found.__contains__),
        }

    def _list(self, call: Call) -> Resource:
        return page(call, "workerPools", self.found.below(call.name, "workerPools"))

    def _create(self, call: Call) -> Resource:
        pool_id = call.query.get("workerPoolId", "")
        if wrong := id_problem(pool_id):
            raise Refusal(400, f"worker_pool_id: {wrong}")
        name = f"{call.name}/workerPools/{pool_id}"
        if name in self.found:
            raise exists(name)
        return self._make(call, name)

    def _make(self, call: Call, name: str) -> Resource:
        pool = {**identity(), **self._settled(call.body, name), "generation": "1"}
        pool["latestCreatedRevision"] = pool["latestReadyRevision"] = f"{name}/revisions/1"
        if not call.flag("validateOnly"):
            with self.found.lock:
                pool = self.found.add(name, pool)
            self.on_scaled(name, self.count(name))
        return self._started(name, pool)

    def _patch(self, call: Call) -> Resource:
        name = call.name
        with self.found.lock:
            if name not in self.found and call.flag("allowMissing"):
                return self._make(call, name)
            before = self.found.get(name)
            self.found.check_etag(name, call.body.get("etag"))
            after = self._settled(self._changed(call, before), name)
            if after["template"] != before["template"] or call.flag("forceNewRevision"):
                revision = f"{name}/revisions/{int(before['generation']) + 1}"
                after["latestCreatedRevision"] = after["latestReadyRevision"] = revision
            after |= {"generation": str(int(before["generation"]) + 1), "updateTime": now()}
            if not call.flag("validateOnly"):
                after = self.found.put(name, after)
        if after["scaling"] != before["scaling"] and not call.flag("validateOnly"):
            self.on_scaled(name, self.count(name))
        return self._started(name, after)

    def _changed(self, call: Call, before: Resource) -> Resource:
        fields = call.method.schemas[_SCHEMA]["properties"]

        def output(key: str) -> bool:
            return bool(fields[key].get("readOnly")) or key in {"name", "etag"}

        return masked(before, call.body, call.query.get("updateMask"), output)

    def _delete(self, call: Call) -> Resource:
        with self.found.lock:
            pool = self.found.get(call.name)
            self.found.check_etag(call.name, call.query.get("etag"))
            if not call.flag("validateOnly"):
                self.found.remove(call.name)
        if not call.flag("validateOnly"):
            self.on_scaled(call.name, 0)
        return self._started(call.name, {**pool, "deleteTime": now()})

    def _started(self, name: str, pool: Resource) -> Resource:
        return self._operations.start(name.partition("/workerPools/")[0], _MESSAGE, pool)

    def _settled(self, body: Resource, name: str) -> Resource:
        """The pool with defaults filled in, judged by rules that the schema does not hold."""
        scaling: dict[str, Any] = {"manualInstanceCount": _DEFAULT_COUNT, **body.get("scaling", {})}
        wrong = [
            *container_problems(body["template"].get("containers", [])),
            *label_problems(body.get("labels", {})),
            *label_problems(body["template"].get("labels", {})),
        ]
        if scaling["manualInstanceCount"] < 0:
            wrong.append("scaling.manual_instance_count: must not be negative")
        if len(body.get("description", "")) > _MOST_TEXT:
            wrong.append("description: has more than 512 characters")
        if wrong:
            raise Refusal(400, "; ".join(wrong))
        kept = {"launchStage": "GA", **body, "scaling": scaling, "name": name}
        return {**kept, "reconciling": False, "terminalCondition": _ready()}


def _ready() -> Resource:
    return {"type": "Ready", "state": "CONDITION_SUCCEEDED", "lastTransitionTime": now()}
