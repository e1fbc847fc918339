"""A run of two converted shards and the one downsampled from both, for tests of workers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from delivery.ledger.run import Run
from tests.support.ledgers import made_run, receipt, row
from tests.support.specs import made_info

SMALL, LARGE = "512mi", "1gi"
ROWS = [
    *(
        row(key, tier=SMALL, estimated_bytes=7, bytes_in=50 << 20, sources=("a",))
        for key in ("s0/0", "s0/1")
    ),
    row("s1/0", "s0/0", "s0/1"),
]


def three_shard_run(folder: Path, run_id: str = "r1", **fields: Any) -> Run:  # noqa: ANN401 - of RunInfo
    """A planned run below `folder`, whose queue is `queue.db` there; nothing is published."""
    known = {
        "run_id": run_id,
        "created": datetime.now(UTC),
        "source": str(folder / "source"),
        "dest": str(folder / "dest"),
        "downres": (1,),
        "tiers": (SMALL, LARGE),
        "queue": f"sqlite:{folder}/queue.db",
        "volume": made_info((256, 256, 256), bits=[(2, 1)]),
    }
    return made_run(folder / "dest.runs", ROWS, **(known | fields))


def write_receipt(run: Run, key: str, **fields: Any) -> None:  # noqa: ANN401 - of Receipt
    """Write the receipt of another worker."""
    known = {"crc32c": "AAAAAA==", "tier": SMALL, "worker": "other"}
    run.receipts.put(receipt(key, **(known | fields)))
