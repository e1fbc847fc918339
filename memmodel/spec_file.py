"""Spec file of the command line, read here for every program."""

from braid.precomputed.volume_spec import VolumeSpec
from runtime.errors import ObjectNotFound, PermanentError, UnreachableError, UsageError
from runtime.storage import Storage, open_storage


def read_spec(path: str) -> VolumeSpec:
    """Read a spec file (local or gs://).

    Raises:
        UnreachableError: the file does not exist.
        UsageError: it is a folder, a pipe or a device.
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
    return VolumeSpec.parse(data, path)


def folder_of(path: str) -> tuple[Storage, str]:
    """Folder of a file, and the file's name in it."""
    folder, slash, name = path.rpartition("/")
    return open_storage(folder or slash or "."), name
