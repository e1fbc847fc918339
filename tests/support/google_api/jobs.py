"""Jobs of Cloud Run and their executions."""

from collections.abc import Callable
from typing import Final
from uuid import uuid4

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.containers import container_problems, id_problem, label_problems
from tests.support.google_api.iam_policies import IamPolicies
from tests.support.google_api.operations import Operations
from tests.support.google_api.refusals import Refusal, exists
from tests.support.google_api.resources import Collection, Resource, identity, masked, now, page

PREFIX: Final = "run.projects.locations.jobs"
_EXECUTIONS: Final = f"{PREFIX}.executions"
_JOB: Final = "google.cloud.run.v2.Job"
_EXECUTION: Final = "google.cloud.run.v2.Execution"

OnRun = Callable[[Resource], None]


class Jobs:
    """Jobs and executions.

    Attributes:
        found: the jobs, by full name.
        executions: likewise.
        on_run: called with each new execution; it runs until `end` is called.
    """

    def __init__(self, operations: Operations, policies: IamPolicies) -> None:
        self.found = Collection()
        self.executions = Collection()
        self.on_run: OnRun = lambda _execution: None
        self._operations = operations
        self._policies = policies

    def end(self, name: str, *, failed: int = 0) -> None:
        """Let an execution end, with so many failed tasks."""
        execution = self.executions.get(name)
        execution |= {
            "runningCount": 0,
            "failedCount": failed,
            "succeededCount": execution["taskCount"] - failed,
            "completionTime": now(),
            "reconciling": False,
        }
        self.executions.put(name, execution)

    def handlers(self) -> Handlers:
        """By method id."""
        return {
            f"{PREFIX}.create": self._create,
            f"{PREFIX}.get": lambda call: self.found.get(call.name),
            f"{PREFIX}.list": lambda call: page(call, "jobs", self.found.below(call.name, "jobs")),
            f"{PREFIX}.patch": self._patch,
            f"{PREFIX}.delete": self._delete,
            f"{PREFIX}.run": self._run,
            f"{_EXECUTIONS}.get": lambda call: self.executions.get(call.name),
            f"{_EXECUTIONS}.list": self._list_executions,
            f"{_EXECUTIONS}.cancel": self._cancel,
            f"{_EXECUTIONS}.delete": self._delete_execution,
            **self._policies.handlers(PREFIX, self.found.__contains__),
        }

    def _create(self, call: Call) -> Resource:
        if wrong := id_problem(call.query.get("jobId", "")):
            raise Refusal(400, f"job_id: {wrong}")
        name = f"{call.name}/jobs/{call.query['jobId']}"
        if name in self.found:
            raise exists(name)
        job = {**identity(), **_settled(call.body), "name": name, "generation": "1"}
        if not call.flag("validateOnly"):
            job = self.found.add(name, job)
        return self._started(name, _JOB, job)

    def _patch(self, call: Call) -> Resource:
        name, fields = call.name, call.method.schemas["GoogleCloudRunV2Job"]["properties"]

        def output(key: str) -> bool:
            return bool(fields[key].get("readOnly")) or key in {"name", "etag"}

        with self.found.lock:
            before = self.found.get(name)
            self.found.check_etag(name, call.body.get("etag"))
            # The method has no mask: all fields of the body are taken.
            after = _settled(masked(before, call.body, None, output))
            after |= {"generation": str(int(before["generation"]) + 1), "updateTime": now()}
            if not call.flag("validateOnly"):
                after = self.found.put(name, after)
        return self._started(name, _JOB, after)

    def _delete(self, call: Call) -> Resource:
        self.found.check_etag(call.name, call.query.get("etag"))
        job = self.found.get(call.name)
        if not call.flag("validateOnly"):
            self.found.remove(call.name)
        return self._started(call.name, _JOB, {**job, "deleteTime": now()})

    def _run(self, call: Call) -> Resource:
        job = self.found.get(call.name)
        self.found.check_etag(call.name, call.body.get("etag"))
        overrides = call.body.get("overrides", {})
        template = job["template"]
        tasks = overrides.get("taskCount", template.get("taskCount", 1))
        if tasks < 1:
            raise Refusal(400, "task_count: must be positive")
        name = f"{call.name}/executions/{job['name'].rpartition('/')[2]}-{uuid4().hex[:5]}"
        execution = {
            **identity(),
            "job": call.name,
            "taskCount": tasks,
            "parallelism": template.get("parallelism", tasks),
            "runningCount": tasks,
            "template": _overridden(template["template"], overrides),
            "reconciling": True,
            "startTime": now(),
        }
        if not call.body.get("validateOnly"):
            execution = self.executions.add(name, execution)
            self.on_run(execution)
        return self._started(call.name, _EXECUTION, execution)

    def _list_executions(self, call: Call) -> Resource:
        return page(call, "executions", self.executions.below(call.name, "executions"))

    def _cancel(self, call: Call) -> Resource:
        self.executions.check_etag(call.name, call.body.get("etag"))
        execution = self.executions.get(call.name)
        execution |= {"cancelledCount": execution["runningCount"], "runningCount": 0}
        execution |= {"completionTime": now(), "reconciling": False}
        execution = self.executions.put(call.name, execution)
        return self._started(call.name, _EXECUTION, execution)

    def _delete_execution(self, call: Call) -> Resource:
        self.executions.check_etag(call.name, call.query.get("etag"))
        execution = self.executions.remove(call.name)
        return self._started(call.name, _EXECUTION, execution)

    def _started(self, name: str, kind: str, response: Resource) -> Resource:
        return self._operations.start(name.partition("/jobs/")[0], kind, response)


def _settled(body: Resource) -> Resource:
    task = body["template"]["template"]
    wrong = [
        *container_problems(task.get("containers", [])),
        *label_problems(body.get("labels", {})),
    ]
    if wrong:
        raise Refusal(400, "; ".join(wrong))
    return {"launchStage": "GA", **body, "reconciling": False}


def _overridden(task: Resource, overrides: Resource) -> Resource:
    """The task template with the arguments and environment of one execution."""
    containers = [dict(container) for container in task["containers"]]
    for change in overrides.get("containerOverrides", []):
        wanted = change.get("name", containers[0].get("name"))
        container = next((c for c in containers if c.get("name") == wanted), None)
        if container is None:
            raise Refusal(400, f"no container is named {wanted!r}")
        if "args" in change or change.get("clearArgs"):
            container["args"] = change.get("args", [])
        env = {one["name"]: one for one in [*container.get("env", []), *change.get("env", [])]}
        container["env"] = list(env.values())
    return {**task, "containers": containers}
