"""Builders of plans, runs, receipts and failure records."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from delivery.ledger.failures import Failure
from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.receipts import Receipt, ReceiptSummary
from delivery.ledger.run import Run, RunInfo, new_run_id
from delivery.messages import parse_key
from delivery.publishing import Dead

TIERS = ("2gi", "4gi")
BEGIN = datetime(2024, 5, 6, 7, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A time, in seconds after BEGIN."""
    return BEGIN + timedelta(seconds=seconds)


def row(key: str, *inputs: str, **fields: Any) -> PlanRow:  # noqa: ANN401 - any field
    """A plan row; its scale decides whether it is converted or downsampled."""
    scale, shard_hex = parse_key(key)
    kind = "downsample" if scale else "convert"
    given: dict[str, Any] = {"kind": kind, "inputs": inputs, "tier": None if scale else "2gi"}
    if not scale:
        given["sources"] = (f"s0/{shard_hex}.arrow",)
    return PlanRow(key, scale, shard_hex, int(shard_hex, 16), **(given | fields))


def pyramid(width: int = 4) -> list[PlanRow]:
    """Plan of `width` shards at scale 0, half as many at scale 1, and one at scale 2."""
    low = [row(f"s0/{number:02x}") for number in range(width)]
    middle = [
        row(f"s1/{number:02x}", f"s0/{2 * number:02x}", f"s0/{2 * number + 1:02x}")
        for number in range(width // 2)
    ]
    return [*low, *middle, row("s2/00", *(one.key for one in middle))]


def info(**fields: Any) -> RunInfo:  # noqa: ANN401 - any field
    """A run's info."""
    given = {
        "run_id": new_run_id(),
        "created": BEGIN,
        "source": "/export",
        "dest": "/volume",
        "scales": (0,),
        "downres": (1, 2),
        "tiers": TIERS,
        "queue": "sqlite:/queue.db",
        "version": "0.0",
        "fingerprint": "f",
        "volume": {},
    }
    return RunInfo.model_validate(given | fields)


def made_run(state: object, rows: Sequence[PlanRow] | None = None, **fields: Any) -> Run:  # noqa: ANN401
    """A planned run below this state root; a pyramid of seven shards unless `rows` are given."""
    about = info(**fields)
    scales = (*about.scales, *about.downres)
    return Run.create(str(state), about, Plan.of(pyramid() if rows is None else rows, scales))


def receipt(key: str, crc32c: str | None = "crc-a=", **fields: Any) -> Receipt:  # noqa: ANN401
    """A receipt; `crc32c` None makes it an empty one."""
    given: dict[str, Any] = {
        "key": key,
        "kind": "downsample" if parse_key(key)[0] else "convert",
        "tier": "2gi",
        "crc32c": crc32c,
        "empty": crc32c is None,
        "chunks": 10,
        "seconds": 5.0,
        "started": at(0),
        "finished": at(5),
        "worker": "w",
        "version": "0.0",
    }
    return Receipt.model_validate(given | fields)


def finish(run: Run, key: str, crc32c: str | None = "crc-a=", **fields: Any) -> Receipt:  # noqa: ANN401
    """Write a shard's receipt with the present receipts of its inputs."""
    contents = {}
    for name in run.plan.row(key).inputs:
        found = run.receipts.get(name)
        contents[name] = found.content if found else "empty"
    made = receipt(key, crc32c, **({"inputs": contents} | fields))
    run.receipts.put(made)
    return made


def fail(run: Run, key: str, **fields: Any) -> Failure:  # noqa: ANN401 - any field
    """Write a shard's failure record."""
    kind = "downsample" if parse_key(key)[0] else "convert"
    given = {"key": key, "kind": kind, "tier": "4gi", "at": at(9), "reason": "it is broken"}
    made = Failure.model_validate(given | fields)
    run.failures.put(made)
    return made


def low_tier(_row: PlanRow, _receipts: Sequence[ReceiptSummary]) -> str | Dead:
    """Tier chooser for which everything fits the smallest tier."""
    return TIERS[0]
