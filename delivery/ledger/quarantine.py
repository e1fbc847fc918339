"""Quarantine: unreadable messages, byte for byte, at `<state>/unreadable/<sha256>.json`."""

import hashlib
from typing import Final

from delivery.ledger.run import UNREADABLE
from delivery.messages import shortened
from runtime import log, log_events
from runtime.errors import ObjectNotFound
from runtime.storage import Storage

_WHY_CHARS: Final = 300
_OTHER_FOLDER: Final = f".{UNREADABLE}"  # cannot be a run's id


def store(state: Storage, data: bytes, why: str) -> str:
    """Store the bytes and return their path; idempotent for equal bytes."""
    path = f"{_folder(state)}/{hashlib.sha256(data).hexdigest()}.json"
    ascii_why = why.encode("ascii", "replace").decode()  # metadata travel as headers
    state.create(path, data, {"why": shortened(ascii_why, _WHY_CHARS).replace("…", "")})
    log.get().warning(log_events.MESSAGE_QUARANTINED, object=f"{state.url}/{path}", reason=why)
    return path


def _folder(state: Storage) -> str:
    """Folder of the messages; another one where a file lies in its place, so that none is lost."""
    try:
        state.stat(UNREADABLE)
    except ObjectNotFound:
        return UNREADABLE
    return _OTHER_FOLDER
