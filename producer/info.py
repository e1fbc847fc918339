"""The `info` at the destination."""

import json

from braid.exceptions import SpecError
from braid.precomputed.volume_spec import VolumeSpec, compare_info, load_info, merge_info
from runtime.errors import ObjectNotFound, UnreachableError, UsageError
from runtime.storage import Storage

INFO = "info"


def read_volume(dest: Storage) -> VolumeSpec:
    """The volume at a destination, from its `info`.

    Raises:
        UnreachableError: there is none.
    """
    try:
        return VolumeSpec.parse(dest.read(INFO), f"{dest.url}/{INFO}")
    except ObjectNotFound:
        raise UnreachableError(
            f"no volume at {dest.url}: it has no info",
            hint="`python -m producer init --spec FILE --dest PATH` writes one",
        ) from None


def write_info(dest: Storage, volume: VolumeSpec, *, force: bool = False) -> bool:
    """Write the volume's `info`, keeping foreign keys of one that is there; whether it changed.

    Args:
        dest: the volume's root.
        volume: what it shall be.
        force: replace an `info` that disagrees in what voxels depend on.

    Raises:
        UsageError: it disagrees.
    """
    present = _present(dest)
    if present is None:
        dest.check_writable()
        dest.write(INFO, _dump(volume.to_info()))
        return True
    if not force:
        check_info(present, volume, dest.url)
    data = _dump(merge_info(_document(present), volume))
    if data == present or (not force and _document(present) == json.loads(data)):
        return False
    dest.write(INFO, data)
    return True


def check_against_info(dest: Storage, volume: VolumeSpec) -> None:
    """Refuse a spec that disagrees with the `info` at the destination; none there is fine."""
    present = _present(dest)
    if present is not None:
        check_info(present, volume, dest.url)


def check_info(present: bytes, volume: VolumeSpec, where: str) -> None:
    """Refuse a spec that disagrees with an `info` in what voxels depend on."""
    differences = compare_info(present, volume)
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UsageError(
            f"{where}/{INFO} is another volume's: {differences[0]}{more}",
            hint="use another --dest, or `producer init --force` to replace the info",
        )


def _present(dest: Storage) -> bytes | None:
    try:
        return dest.read(INFO)
    except ObjectNotFound:
        return None


def _document(data: bytes) -> dict[str, object]:
    """An `info` as it is; one that is no JSON has no foreign keys to keep."""
    try:
        return load_info(data, INFO)
    except SpecError:
        return {}


def _dump(info: dict[str, object]) -> bytes:
    return json.dumps(info, indent=1).encode() + b"\n"
