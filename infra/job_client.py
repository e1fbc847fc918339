"""Client of the Cloud Run jobs of one project and region; their tasks end by themselves."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from google.api_core import exceptions as api

from infra import google_clients
from infra.cloud_run import CloudRun
from infra.pool_client import FoundPool, id_of

Untyped = Any  # Google publishes no types


class JobClient:
    """Jobs of a project and region, with the methods of `PoolClient`.

    A count is the number of running tasks, over all executions of a job. It is raised by another
    execution, and lowered only to 0, by cancelling all.

    Args:
        parent: `projects/PROJECT/locations/REGION`.
    """

    def __init__(self, parent: str) -> None:
        self.run = CloudRun(parent)
        self._parent = parent
        with self.run.translated():
            self._jobs = google_clients.jobs()
            self._executions = google_clients.executions()

    def get(self, name: str) -> FoundPool | None:
        """Read a job; None if it does not exist."""
        try:
            return self._found(self.run.call(self._jobs.get_job, {"name": name}))
        except api.NotFound:
            return None

    def list(self, prefix: str = "") -> Iterator[FoundPool]:
        """All jobs whose id begins so, of whomever; each needs a request for its executions."""
        with self.run.translated():
            try:
                for message in self.run.call(self._jobs.list_jobs, {"parent": self._parent}):
                    if id_of(message).startswith(prefix):
                        yield self._found(message)
            except api.NotFound as error:  # the region
                raise self.run.error(error) from error

    def create(self, pool_id: str, fields: Mapping[str, Any]) -> Untyped:
        """Begin to make a job.

        Raises:
            Conflict: of google.api_core; it exists already.
        """
        request = {"parent": self._parent, "job_id": pool_id, "job": fields}
        return self.run.call(self._jobs.create_job, request)

    def update(self, found: FoundPool, fields: Mapping[str, Any], mask: Collection[str]) -> Untyped:
        """Begin to set some fields of a job that has not changed since it was read.

        Running tasks keep what they were started with.

        Raises:
            Conflict: of google.api_core; it has changed.
        """
        message = type(found.message)(found.message)
        for key in mask:
            setattr(message, key, fields[key])
        return self.run.call(self._jobs.update_job, {"job": message})

    def set_count(self, found: FoundPool, count: int) -> Untyped | None:
        """Begin to run as many tasks more as are missing, or cancel all; else do nothing."""
        if count > found.count:
            overrides = {"task_count": count - found.count}
            request = {"name": found.name, "overrides": overrides}
            return self.run.call(self._jobs.run_job, request)
        if count == 0:
            for execution in self._running(found.name):
                self.run.call(self._executions.cancel_execution, {"name": execution.name})
        return None

    def delete(self, name: str) -> Untyped | None:
        """Cancel a job's tasks and begin to delete it; None if it does not exist."""
        try:
            for execution in self._running(name):
                self.run.call(self._executions.cancel_execution, {"name": execution.name})
            return self.run.call(self._jobs.delete_job, {"name": name})
        except api.NotFound:
            return None

    def close(self) -> None:
        """Close the connections."""
        self._jobs.transport.close()
        self._executions.transport.close()

    def _found(self, message: Untyped) -> FoundPool:
        count = sum(_unfinished(one) for one in self._running(message.name))
        return FoundPool(message.name, count, message.etag, type(message).to_dict(message), message)

    def _running(self, name: str) -> Iterator[Untyped]:
        """Executions that have not ended."""
        with self.run.translated():
            for execution in self.run.call(self._executions.list_executions, {"parent": name}):
                if not execution.completion_time:
                    yield execution


def _unfinished(execution: Untyped) -> int:
    """Tasks of an execution that run or are to start."""
    ended = execution.succeeded_count + execution.failed_count + execution.cancelled_count
    return max(0, int(execution.task_count - ended))
