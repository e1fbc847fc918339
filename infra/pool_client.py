"""Client of the worker pools of one project and region: read, make, change, count, delete."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.api_core import exceptions as api

from infra import google_clients
from infra.cloud_run import CloudRun

COUNT: Final = "scaling.manual_instance_count"
STAMP: Final = "shardlift/started"  # annotation: when a command published work last, or a canary
CANARY: Final = "canary-"  # begin of a canary's stamp
_DEFAULT_COUNT: Final = 1  # instances of a pool without `scaling`

Untyped = Any  # Google publishes no types


@dataclass(frozen=True, slots=True)
class FoundPool:
    """A pool, or a job, as it was read.

    Attributes:
        name: full.
        count: instances that it is to have; of a job, tasks that run.
        etag: of this version.
        fields: by the names of Google's client.
        message: of Google's client.
    """

    name: str
    count: int
    etag: str
    fields: Mapping[str, Any]
    message: Untyped

    @property
    def pool_id(self) -> str:
        """Name within project and region."""
        return self.name.rpartition("/")[2]

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the pool."""
        labels: Mapping[str, str] = self.fields["labels"]
        return labels

    @property
    def stamp(self) -> str:
        """What the last program left that started instances and stamps; empty before."""
        return str(self.fields.get("annotations", {}).get(STAMP, ""))

    @property
    def left_by_canary(self) -> bool:
        """Whether it has an instance of a canary, which could not stop it if none runs now."""
        return self.count > 0 and self.stamp.startswith(CANARY)

    @property
    def set_fields(self) -> dict[str, Any]:
        """Fields without those that have their default."""
        found: dict[str, Any] = type(self.message).to_dict(
            self.message, always_print_fields_with_no_presence=False
        )
        return found

    @property
    def container(self) -> Mapping[str, Any]:
        """The container of the workers; empty if there is none."""
        template = self.fields.get("template") or {}
        containers = (template.get("template") or template).get("containers") or [{}]
        first: Mapping[str, Any] = containers[0]
        return first


class PoolClient:
    """Worker pools of a project and region.

    Changes return operations, to be awaited by `run.wait`, which the caller may leave out.

    Args:
        parent: `projects/PROJECT/locations/REGION`.
    """

    def __init__(self, parent: str) -> None:
        self.run = CloudRun(parent)
        self._parent = parent
        with self.run.translated():
            self._client = google_clients.worker_pools()

    def get(self, name: str) -> FoundPool | None:
        """Read a pool; None if it does not exist."""
        try:
            return _found(self.run.call(self._client.get_worker_pool, {"name": name}))
        except api.NotFound:
            return None

    def list(self, prefix: str = "") -> Iterator[FoundPool]:
        """All pools whose id begins so, of whomever."""
        with self.run.translated():
            try:
                for message in self.run.call(
                    self._client.list_worker_pools, {"parent": self._parent}
                ):
                    if id_of(message).startswith(prefix):
                        yield _found(message)
            except api.NotFound as error:  # the region
                raise self.run.error(error) from error

    def create(self, pool_id: str, fields: Mapping[str, Any]) -> Untyped:
        """Begin to make a pool.

        Raises:
            Conflict: of google.api_core; it exists already.
        """
        request = {"parent": self._parent, "worker_pool_id": pool_id, "worker_pool": fields}
        return self.run.call(self._client.create_worker_pool, request)

    def update(self, found: FoundPool, fields: Mapping[str, Any], mask: Collection[str]) -> Untyped:
        """Begin to set some fields of a pool; its count stays, whoever sets it.

        The etag stays out of it: only the count is written by others, and it is not in the mask.

        Args:
            found: the pool as it was read.
            fields: their new values.
            mask: names of the top-level fields that are written.
        """
        body = {"name": found.name, **{key: fields[key] for key in mask}}
        request = {"worker_pool": body, "update_mask": {"paths": sorted(mask)}}
        return self.run.call(self._client.update_worker_pool, request)

    def set_count(self, found: FoundPool, count: int, stamp: str | None = None) -> Untyped:
        """Begin to set the number of instances of a pool that has not changed since it was read.

        Args:
            found: the pool as it was read.
            count: of instances.
            stamp: differs each time, so that the pool has another etag after it in any case.

        Raises:
            Conflict: of google.api_core; it has changed, also by this call if its answer was lost.
        """
        message = type(found.message)(found.message)
        message.scaling.manual_instance_count = count
        paths = [COUNT]
        if stamp is not None:
            message.annotations[STAMP] = stamp
            paths.append("annotations")
        request = {"worker_pool": message, "update_mask": {"paths": paths}}
        return self.run.call(self._client.update_worker_pool, request)

    def delete(self, name: str) -> Untyped | None:
        """Begin to delete a pool; None if it does not exist."""
        try:
            return self.run.call(self._client.delete_worker_pool, {"name": name})
        except api.NotFound:
            return None

    def close(self) -> None:
        """Close the connections."""
        self._client.transport.close()


def id_of(message: Untyped) -> str:
    """Id of a pool or job within project and region."""
    return str(message.name).rpartition("/")[2]


def _found(message: Untyped) -> FoundPool:
    fields = type(message).to_dict(message)
    count = message.scaling.manual_instance_count if _has_count(message) else _DEFAULT_COUNT
    return FoundPool(message.name, count, message.etag, fields, message)


def _has_count(message: Untyped) -> bool:
    scaling = type(message).pb(message).scaling
    return bool(scaling.HasField("manual_instance_count"))
