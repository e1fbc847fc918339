"""Made-up ledgers of the benchmark: listings, plans and receipts that commands accept."""

import json
from pathlib import Path

from benchmarks.ledger_data import finish_part, spec_of, write_listing
from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.shard_status import ShardState, read_status
from tests.support.ledgers import made_run, pyramid


def test_a_spec_has_one_file_for_each_shard(tmp_path: Path) -> None:
    """Boxes of 32^3 chunks, a file for each, with a real one's size."""
    write_listing(tmp_path / "export", 2)
    volume = VolumeSpec.parse(json.dumps(spec_of(2)))
    assert [scale.grid for scale in volume.scales][:2] == [(64, 64, 64), (32, 32, 32)]
    names = sorted(path.name for path in (tmp_path / "export" / "s0").glob("*.arrow"))
    assert names[:2] == ["0_0_0.arrow", "0_0_2048.arrow"]
    assert len(names) == 8
    assert all(path.stat().st_size > 1 << 27 for path in (tmp_path / "export").rglob("*.arrow"))


def test_receipts_are_current(tmp_path: Path) -> None:
    """Shards with a made-up receipt count as done, with what they were made from."""
    run = made_run(tmp_path, pyramid(8))
    finish_part(run, 10)
    status = read_status(run)
    assert len(status.keys(ShardState.DONE)) == 10
    assert not status.ended
