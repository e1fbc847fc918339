"""Checks of the places of a job: disks, queue, credentials, buckets."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from delivery.broker import PUBSUB, open_broker, queue_path
from delivery.broker.sqlite_errors import OTHER_PLACE
from delivery.broker.sqlite_file import on_network
from memmodel.tiers import parse_tiers
from runtime import settings
from runtime.amounts import size
from runtime.errors import ShardliftError, UsageError
from runtime.storage import absolute, open_storage
from runtime.storage.bucket_look import look_at_bucket
from runtime.text import counted
from runtime.urls import GS, is_remote
from shardlift.doctor.finding import Finding, ok, problem, warning

_FEW_BYTES: Final = 10 << 30
_DAY_S: Final = 86_400
_NAMES: Final = {
    "source": (settings.SOURCE_PATH, "--source"),
    "dest": (settings.DEST_PATH, "--dest"),
    "state": (settings.STATE_PATH, "--state"),
}


@dataclass(frozen=True, slots=True)
class Places:
    """Places of a job, as far as they are known; None for the others."""

    source: str | None
    dest: str | None
    state: str | None
    queue: str

    @property
    def given(self) -> Mapping[str, str]:
        """Folders and prefixes by their role."""
        own = {"source": self.source, "dest": self.dest, "state": self.state}
        return {role: place for role, place in own.items() if place}

    @property
    def in_the_cloud(self) -> bool:
        """Whether a service of Google is needed."""
        return self.queue.startswith(PUBSUB) or any(map(is_remote, self.given.values()))


def check_places(places: Places) -> Iterator[Finding]:
    """Everything that a job with these places would need."""
    yield credentials(places)
    for role, (variable, option) in _NAMES.items():
        place = places.given.get(role)
        if place is None:
            if role != "state":
                yield ok(role, f"not set ({variable} or {option})")
        elif is_remote(place):
            yield bucket(role, place)
        else:
            yield folder(role, place)
    yield queue(places.queue)


def credentials(places: Places) -> Finding:
    """Google's credentials, where a place needs them."""
    if settings.get(settings.STORAGE_EMULATOR_HOST) or settings.get(settings.PUBSUB_EMULATOR_HOST):
        return ok("credentials", "not needed: an emulator is set")
    if not places.in_the_cloud:
        return ok("credentials", "not needed: no place in the cloud is set")
    from runtime.storage.gcs_client import find_credentials  # noqa: PLC0415 - for the cloud only

    try:
        account, project = find_credentials()
    except UsageError as error:
        return problem("credentials", str(error), error.hint)
    named = settings.get(settings.PROJECT_ID) or project or "none"
    return ok("credentials", f"{account or 'of a user'}, project {named}")


def folder(role: str, place: str) -> Finding:
    """A local folder: readable, or writable with enough space."""
    try:
        name = absolute(place)
        storage = open_storage(name)
        if role == "source":
            storage.check_readable()
            return ok(role, f"{name}: readable")
        storage.check_writable()
    except ShardliftError as error:
        return problem(role, str(error), error.hint)
    above = _existing(Path(name))
    free = shutil.disk_usage(above).free
    text = f"{name}: writable, {size(free)} free on {_file_system(above)}"
    if free < _FEW_BYTES:
        return warning(role, text, "free some space: a shard is written whole before it appears")
    return ok(role, text)


def bucket(role: str, place: str) -> Finding:
    """A prefix in a bucket: readable, or writable, which writes an empty object and removes it."""
    try:
        storage = open_storage(place)
        if role == "source":
            storage.check_readable()
        else:
            storage.check_writable()
    except ShardliftError as error:
        return problem(role, str(error), error.hint)
    text = f"{place}: {'readable' if role == 'source' else 'writable'}"
    try:
        seen = look_at_bucket(place)
    except ShardliftError:  # a right of its own, which a job does not need
        return ok(role, text)
    text += f", in {seen.location}" if seen.location else ""
    if role == "dest" and seen.soft_delete_s:
        days = counted(round(seen.soft_delete_s / _DAY_S), "day")
        fix = f"gcloud storage buckets update {GS}{seen.name} --clear-soft-delete"
        text += f"; replaced and temporary objects are kept and billed for {days}"
        return warning(role, text, fix)
    return ok(role, text)


def queue(url: str) -> Finding:
    """The queue: the topics, or the file system that its file is on. Nothing is made."""
    try:
        if not url.startswith(PUBSUB):
            return _queue_file(queue_path(url))
        names = [tier.name for tier in parse_tiers(settings.tiers())]
        with open_broker(url, names, settings.lease_s()):
            return ok("queue", f"{url}: its topics are there")
    except ShardliftError as error:
        return problem("queue", str(error), error.hint)


def _queue_file(path: Path) -> Finding:
    above = _existing(path)
    network = on_network(above.resolve(), psutil.disk_partitions(all=True))
    if network is not None:
        return problem("queue", f"{path} lies on a network file system ({network})", OTHER_PLACE)
    there = "" if path.exists() else ", made by the first run"
    return ok("queue", f"{path}, on {_file_system(above)}{there}")


def _existing(path: Path) -> Path:
    """The path itself, or the first folder above that exists."""
    return next(one for one in (path, *path.parents) if one.exists())


def _file_system(path: Path) -> str:
    """Type of the file system that holds a path."""
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if path.resolve().is_relative_to(mount.mountpoint)
    ]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"
