"""Spec file of the command line, read here for every program."""

import json

from braid.precomputed.volume_spec import VolumeSpec
from runtime.errors import ObjectNotFound, PermanentError, UnreachableError, UsageError
from runtime.storage import Storage, open_storage


def read_spec(path: str) -> VolumeSpec:
    """Read a spec file (local or gs://).

    Raises:
        UnreachableError: the file does not exist.
        UsageError: it is a folder, a pipe or a device, or the document of `spec --json`.
        SpecError: the spec cannot be served.
    """
    folder, name = folder_of(path)
    if name in {"", ".", ".."}:
        raise UsageError(f"the spec {path or '(empty)'} is a folder", hint="name the JSON file")
    try:
        data = folder.read(name)
    except ObjectNotFound:
        raise UnreachableError(
            f"no such spec file: {path}", hint="`python -m producer spec` designs one"
        ) from None
    except PermanentError as error:
        raise UsageError(
            f"the spec {error}", hint="write it to a file first; commands read it more than once"
        ) from None
    if _is_document(data):
        raise UsageError(
            f"{path} is the document of spec --json, which holds a spec and is not one",
            hint="without --json `spec` prints the file; in the document it is the field `spec`",
        )
    return VolumeSpec.parse(data, path)


def _is_document(data: bytes) -> bool:
    """Whether a file holds a document with a spec in it."""
    try:
        found = json.loads(data)
    except ValueError:  # judged by the parser of specs
        return False
    return isinstance(found, dict) and "schema" in found and isinstance(found.get("spec"), dict)


def folder_of(path: str) -> tuple[Storage, str]:
    """Folder of a file, and the file's name in it."""
    folder, slash, name = path.rpartition("/")
    return open_storage(folder or slash or "."), name
