"""Places of a queue's runs, and which parts of the cloud are an emulator's."""

from collections.abc import Mapping
from typing import Final

from infra.bucket_findings import Use
from infra.defaults import ACCOUNTS, APIS, BUCKETS
from runtime import settings
from runtime.google_endpoints import GoogleService, endpoint

_SERVICES: Final = {
    APIS: GoogleService.SERVICEUSAGE,
    ACCOUNTS: GoogleService.IAM,
}


def places(source: str | None, dest: str | None, state: str | None) -> Mapping[Use, str | None]:
    """Where runs read, write and keep their ledgers; None is not known.

    Args:
        source: of the export.
        dest: of the volume.
        state: root of the runs; None for the default beside the volume.
    """
    if state is None and dest is not None:
        state = settings.default_state_url(dest)
    return {Use.SOURCE: source, Use.DEST: dest, Use.STATE: state}


def emulated(part: str) -> bool:
    """Whether a part is left out because the queue is an emulator's, and the part is not.

    Else a test on this machine would change a real project.
    """
    if not settings.get(settings.PUBSUB_EMULATOR_HOST):
        return False
    if part == BUCKETS:
        return not settings.get(settings.STORAGE_EMULATOR_HOST)
    service = _SERVICES.get(part)
    return service is not None and not endpoint(service).overridden
