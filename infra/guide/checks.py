"""Checks of the answers of a guided session, each as the answer is typed."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import typer

from braid.exceptions import BraidError
from infra.bucket_client import BucketClient, BucketDeniedError
from infra.guide.regions import check_region
from infra.rest_service import DeniedError, MissingError, RestService
from memmodel.spec_file import read_spec
from runtime import settings
from runtime.common_options import parse_scales
from runtime.errors import ShardliftError, UsageError
from runtime.google_endpoints import GoogleService
from runtime.storage import open_storage
from runtime.text import counted
from runtime.urls import GS, is_remote, split_bucket

Answers = Mapping[str, str]
"""Answers so far, by the name of the setting."""

_PROJECT: Final = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_SCALE: Final = re.compile(r"s(\d{1,3})")
_ARROW: Final = ".arrow"
_MOST_LOOKED_AT: Final = 2000  # objects of a scale, until one is an Arrow file


def project(text: str, _: Answers) -> str:
    """The project exists, and the caller may see it."""
    if not _PROJECT.fullmatch(text):
        raise UsageError(
            f"{text!r} is not a project id", hint="6 to 30 lower-case letters, digits, hyphens"
        )
    if _emulated(GoogleService.CLOUDRESOURCEMANAGER):
        return "not checked: the queue is on an emulator"
    service = RestService(GoogleService.CLOUDRESOURCEMANAGER)
    try:
        found = service.call("GET", f"v1/projects/{text}")
    except (DeniedError, MissingError) as error:
        if "has not been used" in str(error) or "disabled" in str(error):
            return "cannot be checked until the Resource Manager API is on"
        raise UsageError(
            f"project {text} does not exist, or these credentials may not see it",
            hint="gcloud projects list",
        ) from error
    if found.get("lifecycleState", "ACTIVE") != "ACTIVE":
        raise UsageError(f"project {text} is being deleted")
    return f"number {found['projectNumber']}"


def region(text: str, _: Answers) -> str:
    """The region is one."""
    check_region(text)
    return "workers and new buckets are there"


def source(text: str, _: Answers) -> str:
    """The source holds an export."""
    _remote(text, "the export", f"gcloud storage cp -r {text} {GS}BUCKET/")
    return f"an export of scale{_listed(export_scales(text))}"


def export_scales(place: str) -> list[int]:
    """Scales that an export holds, by its folders.

    Raises:
        ShardliftError: it cannot be listed, or holds none.
    """
    storage = open_storage(place)
    scales = sorted(int(m[1]) for name in storage.folders() if (m := _SCALE.fullmatch(name)))
    if not scales:
        raise UsageError(
            f"{place} holds no export: no folder s0 or s1, ...",
            hint="the place into which DVID's export-shards wrote",
        )
    entries = zip(storage.list(f"s{scales[0]}/"), range(_MOST_LOOKED_AT), strict=False)
    if not any(entry.path.endswith(_ARROW) for entry, _ in entries):
        raise UsageError(f"{place}/s{scales[0]} holds no {_ARROW} file")
    return scales


def dest(text: str, answers: Answers) -> str:
    """The destination can be written, or its bucket is to be made."""
    _remote(text, "the volume", f"such as {GS}BUCKET/volume")
    bucket, prefix = split_bucket(text.rstrip("/"))
    if not prefix and settings.get(settings.STATE_PATH) is None:
        raise UsageError(
            f"{text} is a whole bucket, and runs are kept beside the volume",
            hint=f"name a folder in it, such as {text.rstrip('/')}/volume",
        )
    _apart(text, answers.get(settings.SOURCE_PATH))
    if not _exists(bucket, answers[settings.PROJECT_ID]):
        return f"bucket {bucket} does not exist: to be made in {answers[settings.REGION]}"
    open_storage(text).check_writable()
    return "can be written"


def spec(text: str, _: Answers) -> str:
    """The spec can be served."""
    try:
        volume = read_spec(text)
    except BraidError as error:
        raise UsageError(str(error)) from error
    size = " x ".join(f"{edge:,}" for edge in volume.scales[0].size)
    return f"{counted(len(volume.scales), 'scale')}, {size} voxels"


def scales(text: str, answers: Answers) -> str:
    """Scales to convert are in the export and in the spec."""
    chosen = _parsed(text)
    missing = [one for one in chosen if one >= _count(answers)]
    if missing:
        raise UsageError(f"the spec has no scale{_listed(missing)}")
    held = export_scales(answers[settings.SOURCE_PATH])
    if missing := [one for one in chosen if one not in held]:
        raise UsageError(f"the export has no scale{_listed(missing)}, but{_listed(held)}")
    return "from the export"


def downres(text: str, answers: Answers) -> str:
    """Scales to make each have one before that is there, or is made."""
    if text == "none":
        return "no other scale is made"
    chosen = _parsed(text)
    converted = _parsed(answers[settings.SCALES])
    if missing := [one for one in chosen if one >= _count(answers)]:
        raise UsageError(f"the spec has no scale{_listed(missing)}")
    if both := [one for one in chosen if one in converted]:
        raise UsageError(f"scale{_listed(both)} would be both converted and downsampled")
    return "each from the scale before"


def other_scales(answers: Answers) -> str:
    """The scales of the spec, coarser than a converted one, that are not converted; or `none`."""
    converted = _parsed(answers[settings.SCALES])
    others = [one for one in range(min(converted), _count(answers)) if one not in converted]
    return ",".join(map(str, others)) or "none"


def only_spec(folder: Path) -> str | None:
    """The one file of a folder that is a spec, to be offered; None if there are several."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            read_spec(str(path))
        except (BraidError, ShardliftError, OSError):
            continue
        found.append(path.name)
    return found[0] if len(found) == 1 else None


def _count(answers: Answers) -> int:
    return len(read_spec(answers[settings.NG_SPEC_PATH]).scales)


def _parsed(text: str) -> Sequence[int]:
    try:
        return parse_scales(text)
    except typer.BadParameter as error:
        raise UsageError(error.message) from error


def _listed(numbers: Sequence[int]) -> str:
    """` 3`, or `s 0-4`, or `s 0, 2`; to be written behind `scale`."""
    if len(numbers) == 1:
        return f" {numbers[0]}"
    run = list(range(numbers[0], numbers[-1] + 1))
    return f"s {run[0]}-{run[-1]}" if run == list(numbers) else f"s {', '.join(map(str, numbers))}"


def _remote(text: str, what: str, hint: str) -> None:
    if not is_remote(text):
        raise UsageError(f"{text}: workers in the cloud need {what} in a bucket", hint=hint)


def _apart(one: str, other: str | None) -> None:
    """Raise an error if a place lies in the other one."""
    if other is None:
        return
    places = [f"{place.rstrip('/')}/" for place in (one, other)]
    if any(places[i].startswith(places[1 - i]) for i in (0, 1)):
        raise UsageError(
            f"{one} and the export {other} lie in one another", hint="name another folder"
        )


def _exists(bucket: str, project: str) -> bool:
    """Whether a bucket exists, also where its properties are not shown."""
    try:
        return BucketClient(project).get(bucket) is not None
    except BucketDeniedError:
        return True


def _emulated(service: GoogleService) -> bool:
    emulated = settings.get(settings.PUBSUB_EMULATOR_HOST) is not None
    return emulated and settings.get(service.variable) is None
