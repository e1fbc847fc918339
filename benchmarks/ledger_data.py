"""Made-up exports, plans and receipts of the size of a brain; nothing of them is ever converted."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from delivery.ledger.receipts import Receipt
from delivery.ledger.run import Run
from producer.synthetic_export import sample_spec

_SHARD_VOXELS: Final = 2048  # edge
_ARROW_BYTES: Final = 165_000_000
_SCALES: Final = 4
_BEGAN: Final = datetime(2026, 3, 1, tzinfo=UTC)


def spec_of(edge: int) -> dict[str, Any]:
    """Spec of a volume with `edge`^3 shards of 32^3 chunks at scale 0, and three coarser scales."""
    spec = sample_spec((edge * _SHARD_VOXELS,) * 3, _SCALES)
    for scale in spec["scales"]:
        bits = scale["sharding"]
        all_bits = sum(bits[name] for name in ("preshift_bits", "minishard_bits", "shard_bits"))
        bits |= {"preshift_bits": 9, "minishard_bits": 6, "shard_bits": max(0, all_bits - 15)}
    return spec


def write_listing(root: Path, edge: int) -> None:
    """Files that look like an export: sparse, with the names and sizes of a real one."""
    folder = root / "s0"
    folder.mkdir(parents=True)
    for number in range(edge**3):
        x, y, z = number % edge, number // edge % edge, number // edge**2
        name = "_".join(str(at * _SHARD_VOXELS) for at in (x, y, z))
        os.truncate(_made(folder / f"{name}.arrow"), _ARROW_BYTES + 1009 * number % 7_000_000)
        os.truncate(_made(folder / f"{name}.csv"), 1_000_000 + number)
    (root / "spec.json").write_text(json.dumps(spec_of(edge)))


def finish_part(run: Run, receipts: int) -> None:
    """Write receipts of a run's first shards, as a worker leaves them."""
    folder = Path(run.storage.url) / "receipts"
    for path in {folder / f"s{scale}" for scale in run.plan.scales}:
        path.mkdir(parents=True, exist_ok=True)
    contents: dict[str, str] = {}
    for number, row in enumerate(run.plan.rows()):
        if number == receipts:
            return
        began = _BEGAN + timedelta(seconds=number / 10)
        found = Receipt(
            key=row.key,
            kind=row.kind,
            tier="2gi",
            crc32c=f"{number:06x}==",
            inputs={key: contents.get(key, "empty") for key in row.inputs},
            source_digest=row.source_digest,
            chunks=20_000 + number % 12_000,
            bytes_in=row.bytes_in,
            bytes_out=130_000_000 + number,
            labels=400_000 + number,
            seconds=12.0 + number % 7,
            cpu_s=11.5 + number % 7,
            peak_bytes=(180 << 20) + 4096 * (number % 10_000),
            estimated_bytes=(250 << 20) + number,
            started=began,
            finished=began + timedelta(seconds=14 + number % 5),
            run_token=run.info.token,
            tiers_tried=("2gi",),
            reads=30,
            code_path="palette",
            phases={"index": 0.1, "read": 1.2, "decompress": 2.5, "transcode": 6.0, "gzip": 2.0},
            worker=f"host-{number % 200}-4711",
            version=run.info.version,
        )
        contents[row.key] = found.content
        data = found.model_dump_json(exclude_none=True, indent=1)
        (folder / f"{row.key}.json").write_text(data)


def _made(path: Path) -> Path:
    path.touch()
    return path
