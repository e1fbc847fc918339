"""Planner: one plan row per shard of every scale concerned.

Uses listings and file names alone: a file is a source of every output shard in its reach, and the
executor selects the rows. A shard without sources or inputs has no row, which means zeros.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode import file_extent
from delivery.ledger.plan import Plan, PlanRow, PlanState
from delivery.messages import Kind, shard_key
from memmodel.estimate import DoesNotFit, Work, choose, estimate
from memmodel.throughput import estimated_seconds
from memmodel.tiers import Tier
from producer.export_listing import ExportFile, ScaleListing
from producer.run_request import Request
from runtime.storage import ObjectInfo, Storage

# Stored bytes of a scale over those of the one before, measured on a real dataset.
_DOWNSAMPLED_RATIO = 0.31
# Stored bytes over Arrow bytes of a converted shard: 4 KB per chunk, 5 KB per zstd block.
_CONVERTED_RATIO = 0.8

Outputs = Mapping[int, ObjectInfo]
"""Existing shard files of one scale, by shard number."""


@dataclass(frozen=True)
class PlanInputs:
    """Listings that a plan is made from.

    Attributes:
        listings: files of the export, by scale to be converted.
        outputs: existing shard files, by scale concerned.
        empty: keys of shards that earlier runs found all zeros.
    """

    listings: Mapping[int, ScaleListing]
    outputs: Mapping[int, Outputs]
    empty: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ShardForecast:
    """Forecast of one shard to be made.

    Attributes:
        work: its bytes may be estimated from the scale before.
        needed_bytes: peak memory.
        seconds: of one worker with one core.
        bytes_out: estimated size of the shard.
        tier: the smallest that holds it; None if no tier does.
        why_not: the reason with both numbers, if no tier does.
    """

    row: PlanRow
    work: Work
    needed_bytes: int
    seconds: float
    bytes_out: int
    tier: Tier | None = None
    why_not: str | None = None


@dataclass
class _Draft:
    """Draft of a plan: rows so far, and the size of each shard."""

    rows: list[PlanRow] = field(default_factory=list)
    forecasts: list[ShardForecast] = field(default_factory=list)
    sizes: dict[str, tuple[int, bool]] = field(default_factory=dict)  # bytes, whether exact

    def add(self, row: PlanRow, size: int, *, certain: bool = False) -> None:
        self.rows.append(row)
        if row.state != "empty":
            self.sizes[row.key] = (size, certain)


@dataclass(frozen=True)
class PlanResult:
    """A plan with the forecasts of its shards."""

    plan: Plan
    forecasts: Sequence[ShardForecast]

    @property
    def beyond(self) -> list[ShardForecast]:
        """Forecasts of shards that no tier holds."""
        return [forecast for forecast in self.forecasts if forecast.tier is None]

    @property
    def present(self) -> int:
        """Number of shards that exist and stay."""
        return sum(relation.state == "present" for relation in self.plan.relations)


def list_outputs(dest: Storage, scale: ScaleSpec) -> dict[int, ObjectInfo]:
    """List the shard files of a scale at the destination, by shard number."""
    found = {}
    for entry in dest.list(f"{scale.key}/"):
        shard = sharding.parse_shard_path(scale, entry.path)
        if shard is not None:
            found[shard] = entry
    return found


def make_plan(request: Request, listed: PlanInputs, tiers: Sequence[Tier]) -> PlanResult:
    """Plan every scale concerned, the finest first; deterministic.

    Args:
        request: the request.
        listed: files of export and destination.
        tiers: of which a shard gets the smallest that holds it.
    """
    draft = _Draft()
    for index in request.concerned:
        scale = request.volume.scales[index]
        if index in request.scales:
            _plan_converted(draft, request, scale, listed, tiers)
        elif index in request.downres:
            _plan_downsampled(draft, request, scale, listed, tiers)
        else:
            _plan_existing(draft, scale, listed)
    return PlanResult(Plan.of(draft.rows, request.concerned), draft.forecasts)


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


def _plan_converted(
    draft: _Draft,
    request: Request,
    scale: ScaleSpec,
    listed: PlanInputs,
    tiers: Sequence[Tier],
) -> None:
    slices = request.slices(scale.index)
    files = files_by_shard(scale, listed.listings[scale.index], slices - 1)
    shards = _shards(files, listed.outputs[scale.index])
    for shard, chunks in zip(shards, _chunks(scale, shards), strict=True):
        sources = files.get(shard, [])
        bytes_in = sum(file.size_bytes for file in sources)
        work = _convert_work(scale, chunks, bytes_in, slices, remote=request.remote)
        row = _row(scale, shard, request, listed)
        row = replace(row, bytes_in=bytes_in, sources=tuple(file.path for file in sources))
        _add(draft, row, work, listed, tiers, guess=round(bytes_in * _CONVERTED_RATIO))


def _plan_downsampled(
    draft: _Draft,
    request: Request,
    scale: ScaleSpec,
    listed: PlanInputs,
    tiers: Sequence[Tier],
) -> None:
    feeds = _inputs_by_shard(draft, request, scale)
    shards = _shards(feeds, listed.outputs[scale.index])
    for shard, chunks in zip(shards, _chunks(scale, shards), strict=True):
        inputs = tuple(feeds.get(shard, ()))
        sizes = [draft.sizes[key] for key in inputs]
        guessed, certain = sum(size for size, _ in sizes), all(sure for _, sure in sizes)
        work = _downsample_work(scale, chunks, guessed)
        row = _row(scale, shard, request, listed)
        row = replace(row, inputs=inputs, bytes_in=guessed if certain else 0)
        _add(
            draft,
            row,
            work,
            listed,
            tiers,
            guess=round(guessed * _DOWNSAMPLED_RATIO),
            certain=certain,
        )


def _plan_existing(draft: _Draft, scale: ScaleSpec, listed: PlanInputs) -> None:
    """Plan a scale that others are made from: its existing shards are inputs."""
    for shard, entry in sorted(listed.outputs[scale.index].items()):
        row = _bare_row(scale, shard, "convert", "present", entry.crc32c)
        draft.add(row, entry.size, certain=True)


def _inputs_by_shard(draft: _Draft, request: Request, coarse: ScaleSpec) -> dict[int, list[str]]:
    """Keys of the non-empty shards of the scale before, by the shard they feed."""
    fine = request.volume.scales[coarse.index - 1]
    below = [row for row in draft.rows if row.scale == fine.index and row.key in draft.sizes]
    begins, ends = sharding.shard_boxes(fine, [row.shard for row in below])
    steps, chunk = np.asarray(sharding.factors(fine, coarse)), np.asarray(fine.chunk_size)
    far = -(-np.minimum(ends * chunk, fine.size) // steps)
    feeds: dict[int, list[str]] = defaultdict(list)
    pairs = sharding.boxes_meeting(coarse, begins * chunk // steps, far)
    for box, shard in zip(*(side.tolist() for side in pairs), strict=True):
        feeds[shard].append(below[box].key)
    return feeds


def _shards(fed: Mapping[int, object], outputs: Outputs) -> list[int]:
    """Shards with sources or inputs, and existing ones without, which may have to be deleted."""
    return sorted({*fed, *outputs})


def _row(scale: ScaleSpec, shard: int, request: Request, listed: PlanInputs) -> PlanRow:
    kind: Kind = "convert" if scale.index in request.scales else "downsample"
    entry = listed.outputs[scale.index].get(shard)
    key = shard_key(scale.index, sharding.shard_hex(shard, scale.sharding))
    state: PlanState = "make"
    if not request.overwrite:
        state = "present" if entry else "empty" if key in listed.empty else "make"
    crc32c = entry.crc32c if entry and state == "present" else None
    return _bare_row(scale, shard, kind, state, crc32c)


def _add(
    draft: _Draft,
    row: PlanRow,
    work: Work,
    listed: PlanInputs,
    tiers: Sequence[Tier],
    *,
    guess: int,
    certain: bool = True,
) -> None:
    """Add a row, with tier and forecast if the shard is to be made."""
    if row.state != "make":
        entry = listed.outputs[row.scale].get(row.shard)
        draft.add(row, entry.size if entry else 0, certain=True)
        return
    forecast = _forecast(row, work, tiers, guess)
    if certain:  # else its tier is chosen from its inputs' receipts
        tier = forecast.tier.name if forecast.tier else None
        row = replace(row, tier=tier, estimated_bytes=forecast.needed_bytes)
    draft.forecasts.append(forecast)
    draft.add(row, guess)


def _forecast(row: PlanRow, work: Work, tiers: Sequence[Tier], guess: int) -> ShardForecast:
    needed, seconds = estimate(work), estimated_seconds(work)
    forecast = ShardForecast(row, work, needed.total_bytes, seconds, guess)
    try:
        return replace(forecast, tier=choose(needed, tiers))
    except DoesNotFit as error:
        return replace(forecast, why_not=str(error))


def _convert_work(
    scale: ScaleSpec, chunks: int, bytes_in: int, slices: int, *, remote: bool
) -> Work:
    return Work(
        "convert",
        bytes_in,
        chunks,
        scale.code_path(slices),
        remote=remote,
        chunk_voxels=math.prod(scale.chunk_size),
        slices=slices,
    )


def _downsample_work(scale: ScaleSpec, chunks: int, bytes_in: int) -> Work:
    return Work(
        "downsample",
        bytes_in,
        chunks,
        scale.code_path(),
        chunk_voxels=math.prod(scale.chunk_size),
    )


def _chunks(scale: ScaleSpec, shards: Sequence[int]) -> list[int]:
    """Number of grid positions in each shard's box: the most chunks it can hold."""
    begins, ends = sharding.shard_boxes(scale, shards)
    return [int(count) for count in (ends - begins).prod(axis=1)]


def _bare_row(
    scale: ScaleSpec, shard: int, kind: Kind, state: PlanState, crc32c: str | None
) -> PlanRow:
    name = sharding.shard_hex(shard, scale.sharding)
    key = shard_key(scale.index, name)
    return PlanRow(key, scale.index, name, shard, kind, state, crc32c=crc32c)
