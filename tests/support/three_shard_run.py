"""A run for tests of delivery and workers: two shards and the one made from both."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.receipts import Receipt
from delivery.ledger.run import Run, RunInfo

SMALL, LARGE = "512mi", "1gi"


def scale(index: int, size: int, bits: tuple[int, int, int]) -> dict[str, Any]:
    """A scale of a cubic volume."""
    edge = 8 << index
    return {
        "key": f"{edge}x{edge}x{edge}",
        "size": [size] * 3,
        "resolution": [edge] * 3,
        "chunk_sizes": [[64, 64, 64]],
        "encoding": "compressed_segmentation",
        "compressed_segmentation_block_size": [8, 8, 8],
        "voxel_offset": [0, 0, 0],
        "sharding": {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": bits[0],
            "minishard_bits": bits[1],
            "shard_bits": bits[2],
            "data_encoding": "gzip",
            "minishard_index_encoding": "gzip",
        },
    }


VOLUME = {
    "@type": "neuroglancer_multiscale_volume",
    "type": "segmentation",
    "data_type": "uint64",
    "num_channels": 1,
    "scales": [scale(0, 256, (2, 1, 3)), scale(1, 128, (2, 1, 0))],
}
ROWS = [
    *(
        PlanRow(
            f"s0/{n}",
            0,
            str(n),
            n,
            "convert",
            tier=SMALL,
            estimated_bytes=7,
            bytes_in=50 << 20,
            sources=("a",),
        )
        for n in (0, 1)
    ),
    PlanRow("s1/0", 1, "0", 0, "downsample", inputs=("s0/0", "s0/1")),
]


def made_run(folder: Path, run_id: str = "r1", **fields: object) -> Run:
    """A planned run below `folder`, whose queue is `queue.db` there; nothing is published."""
    known = {
        "run_id": run_id,
        "created": datetime.now(UTC),
        "source": str(folder / "source"),
        "dest": str(folder / "dest"),
        "scales": (0,),
        "downres": (1,),
        "tiers": (SMALL, LARGE),
        "queue": f"sqlite:{folder}/queue.db",
        "version": "0",
        "fingerprint": "f",
        "volume": VOLUME,
    }
    info = RunInfo.model_validate(known | fields)
    return Run.create(str(folder / "dest.runs"), info, Plan.of(ROWS))


def write_receipt(run: Run, key: str, **fields: object) -> None:
    """As if somebody had made the shard."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    known = {"key": key, "kind": "convert", "tier": SMALL, "crc32c": "AAAAAA=="}
    times = {"started": moment, "finished": moment, "worker": "other", "version": "0"}
    run.receipts.put(Receipt.model_validate(known | times | fields))
