"""Spec file of the command line, read here for every program."""

from braid.precomputed.volume_spec import VolumeSpec
from runtime.errors import ObjectNotFound, UnreachableError
from runtime.storage import Storage, open_storage


def read_spec(path: str) -> VolumeSpec:
    """Read a spec file (local or gs://).

    Raises:
        UnreachableError: the file does not exist.
        SpecError: the spec cannot be served.
    """
    folder, name = folder_of(path)
    try:
        data = folder.read(name)
    except ObjectNotFound:
        raise UnreachableError(
            f"no such spec file: {path}", hint="`python -m producer spec` designs one"
        ) from None
    return VolumeSpec.parse(data, path)


def folder_of(path: str) -> tuple[Storage, str]:
    """Folder of a file, and the file's name in it."""
    folder, slash, name = path.rpartition("/")
    return open_storage(folder or slash or "."), name
