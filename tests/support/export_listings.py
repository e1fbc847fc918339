"""Listed files of an export, for tests that need no bytes."""

from datetime import UTC, datetime

from braid.typing import Vec3
from producer.export_listing import ExportFile
from runtime.storage import ObjectInfo

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def listed(path: str, size: int = 7, crc32c: str | None = None) -> ObjectInfo:
    """An entry of a listing, as GCS has it with a checksum and a disk without."""
    time_ns = None if crc32c else 1_767_225_600_123_456_789
    return ObjectInfo(path, size, crc32c, MOMENT, None, time_ns)


def export_file(path: str, origin: Vec3, size: int = 1) -> ExportFile:
    """An Arrow file with an index."""
    return ExportFile(
        origin, listed(path, size), (listed(f"{path.removesuffix('.arrow')}.csv", 1),)
    )
