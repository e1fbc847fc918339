"""Listed files of an export, for tests that need no bytes."""

from collections.abc import Mapping
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


def export_log_text(scales: Mapping[int, tuple[int, int]]) -> str:
    """DVID's `export.log` of these chunks and shard files per scale, with lines that count less."""
    rule = "=" * 37
    lines = [
        *(rule, "DVID Export-Shards Report", rule),
        "Data:        segmentation",
        "UUID:        28841c8277e044a7b187dda03e18da13",
        "Directory:   /exports/male-cns",
        "Start:       2026-04-03 10:00:00",
        "End:         2026-04-03 12:30:10",
        "Duration:    2h30m10s",
    ]
    for scale, (chunks, files) in scales.items():
        lines += [
            *("", f"--- Scale {scale} ---"),
            "  Volume:              94,088 x 78,317 x 134,576 voxels",
            "  Chunk size:          64 x 64 x 64 voxels",
            f"  Chunks exported:     {chunks:,}",
            f"  Shard files:         {files:,}",
            *("", "  Block sizes (uncompressed):", "    Total:   1.20 GB"),
            *("    Distribution:", "      16 bytes - 31 bytes:  1,234"),
            *("", "  Records per shard file:", "    Min:     1", "    Max:     32,768"),
            *("", "  Shard file sizes (arrow):", "    Total:   1.20 GB"),
        ]
    chunks, files = (sum(counts) for counts in zip(*scales.values(), strict=True))
    lines += [
        *("", "--- Totals ---"),
        f"  Chunks:        {chunks:,}",
        f"  Shard files:   {files:,}",
        *("  Uncompressed:  2.40 GB", "  Throughput:    1,234 chunks/sec  (1.20 MB/sec)"),
    ]
    return "\n".join([*lines, ""])
