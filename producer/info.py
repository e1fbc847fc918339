"""The volume's `info` file at the destination."""

import json

from braid.exceptions import SpecError
from braid.precomputed.existing_info import compare_info, merge_info
from braid.precomputed.info_schema import unusual_encoding
from braid.precomputed.volume_spec import VolumeSpec, load_info
from runtime.errors import ObjectNotFound, UnreachableError, UsageError
from runtime.storage import Storage
from runtime.text import join_first

INFO = "info"


class NoVolumeError(UnreachableError):
    """Place without an `info`."""


def read_volume(dest: Storage) -> VolumeSpec:
    """Read the volume at a destination from its `info`.

    Raises:
        NoVolumeError: there is no `info`.
    """
    try:
        return VolumeSpec.parse(dest.read(INFO), f"{dest.url}/{INFO}")
    except ObjectNotFound:
        raise NoVolumeError(
            f"no volume at {dest.url}: it has no info",
            hint="`python -m producer init --spec FILE --dest PATH` writes one",
        ) from None


def write_info(dest: Storage, volume: VolumeSpec, *, force: bool = False) -> bool:
    """Write `info`, keeping foreign keys of an existing one; whether it changed.

    An equal one is kept as it is, unless viewers could not read how it is encoded.

    Args:
        dest: the volume's root.
        volume: the volume.
        force: replace an `info` that differs in fields on which voxels depend.

    Raises:
        UsageError: the existing `info` differs in such fields.
    """
    present = _present(dest)
    if present is None:
        dest.check_writable()
        dest.write(INFO, _dump(volume.to_info()))
        return True
    if not force:
        check_info(present, volume, dest.url)
    data = _dump(merge_info(_document(present), volume))
    kept = not force and unusual_encoding(present) is None
    if data == present or (kept and _document(present) == json.loads(data)):
        return False
    dest.write(INFO, data)
    return True


def find_info_faults(dest: Storage, volume: VolumeSpec) -> list[str]:
    """What keeps viewers from reading the volume by its `info`, or makes them read another one."""
    present = _present(dest)
    if present is None:
        return ["there is none, so nothing can read the volume; the same `enqueue` writes it"]
    if faults := compare_info(present, volume):
        return faults
    return encoding_notes(present)


def encoding_notes(data: bytes) -> list[str]:
    """Note on an `info` that we read and viewers do not, if it is one."""
    encoding = unusual_encoding(data)
    if encoding is None:
        return []
    return [f"it is {encoding}, which not all viewers read; `enqueue` or `init` writes it anew"]


def plain_info(data: bytes) -> bytes:
    """An `info` in plain UTF-8; one that is, or that cannot be read, as it is."""
    if unusual_encoding(data) is None or not (document := _document(data)):
        return data
    return _dump(document)


def check_against_info(dest: Storage, volume: VolumeSpec) -> None:
    """Raise UsageError if the `info` at the destination, if any, differs from a spec."""
    present = _present(dest)
    if present is not None:
        check_info(present, volume, dest.url)


def check_info(present: bytes, volume: VolumeSpec, where: str) -> None:
    """Raise UsageError if an `info` differs from a spec in fields on which voxels depend."""
    try:
        load_info(present, f"{where}/{INFO}")
    except SpecError as error:
        raise UsageError(
            str(error), hint="mend it, or let `producer init --force` replace it"
        ) from None
    differences = compare_info(present, volume)
    if differences:
        raise UsageError(
            f"{where}/{INFO} is another volume's: {join_first(differences, 1)}",
            hint="use another --dest, or `producer init --force` to replace the info",
        )


def _present(dest: Storage) -> bytes | None:
    try:
        return dest.read(INFO)
    except ObjectNotFound:
        return None


def _document(data: bytes) -> dict[str, object]:
    """Parse an `info`; one that is not JSON has no foreign keys to keep."""
    try:
        return load_info(data, INFO)
    except SpecError:
        return {}


def _dump(info: dict[str, object]) -> bytes:
    return json.dumps(info, indent=1).encode() + b"\n"
