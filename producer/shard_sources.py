"""Source files of each shard: all in whose reach it lies."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode import file_extent
from delivery.ledger.source_digest import source_digest
from producer.export_listing import ExportFile, ScaleListing
from producer.plan_inputs import PlanInputs


def files_by_shard(
    scale: ScaleSpec, listing: ScaleListing, z_compress: int = 0
) -> dict[int, list[ExportFile]]:
    """Files that may hold rows of each shard, in name order."""
    origins = [file.origin for file in listing.files]
    numbers, shards = file_extent.shards_of(origins, scale, z_compress)
    found: dict[int, list[ExportFile]] = defaultdict(list)
    for number, shard in zip(numbers.tolist(), shards.tolist(), strict=True):
        found[shard].append(listing.files[number])
    return found


@dataclass(frozen=True, slots=True)
class ShardSources:
    """Source files of one shard."""

    paths: tuple[str, ...]
    size_bytes: int
    digest: str | None


NO_SOURCES: Final = ShardSources((), 0, source_digest({}))


def sources_by_shard(
    scale: ScaleSpec, listed: PlanInputs, z_compress: int
) -> dict[int, ShardSources]:
    """Source files of each shard, as listed, else as an earlier plan recorded them."""
    if scale.index not in listed.listings:
        rows = listed.recorded.get(scale.index, ())
        return {
            row.shard: ShardSources(row.sources, row.bytes_in, row.source_digest) for row in rows
        }
    found = files_by_shard(scale, listed.listings[scale.index], z_compress)
    return {shard: _sources_of(files) for shard, files in found.items()}


def _sources_of(files: Sequence[ExportFile]) -> ShardSources:
    stamps = dict(stamp for file in files for stamp in file.stamps)
    size_bytes = sum(file.size_bytes for file in files)
    return ShardSources(tuple(file.path for file in files), size_bytes, source_digest(stamps))
