"""Planner: one plan row per shard of every scale concerned.

Uses listings and file names alone: a file is a source of every output shard in its reach, and the
executor selects the rows. A shard without sources or inputs has no row, which means zeros. A shard
that exists stays if its provenance says so; else it is made again, for a reason in words.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode import file_extent
from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.source_digest import source_digest
from delivery.messages import Kind, parse_key, shard_key
from memmodel.coefficients import Coefficients, current
from memmodel.estimate import DoesNotFit, Work, choose, estimate
from memmodel.throughput import estimated_seconds
from memmodel.tiers import Tier
from memmodel.usage import encoding_ratio
from producer.export_listing import ExportFile, ScaleListing
from producer.provenance import Provenance
from producer.run_request import Request
from producer.shard_choice import ShardChoice
from runtime.memory import without_collections
from runtime.storage import ObjectInfo, Storage
from runtime.urls import is_remote

# Stored bytes of a scale over those of the one before, measured on a real dataset.
_DOWNSAMPLED_RATIO = 0.31
# Stored bytes with gzip over Arrow bytes of a converted shard: 4 KB per chunk, 5 KB per zstd block.
_CONVERTED_RATIO = 0.8

OVERWRITE: Final = "--overwrite"  # reason of a shard that is made again on request

Outputs = Mapping[int, ObjectInfo]
"""Existing shard files of one scale, by shard number."""


@dataclass(frozen=True)
class PlanInputs:
    """Listings that a plan is made from.

    Attributes:
        listings: files of the export, by scale to be converted.
        outputs: existing shard files, by scale concerned.
        provenance: what the existing shards were made from.
        recorded: rows of an earlier plan, by scale to be converted whose files cannot be listed.
        notes: for people, on the existing shard files.
    """

    listings: Mapping[int, ScaleListing]
    outputs: Mapping[int, Outputs]
    provenance: Provenance = field(default_factory=Provenance)
    recorded: Mapping[int, Sequence[PlanRow]] = field(default_factory=dict)
    notes: Sequence[str] = ()


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

    choice: ShardChoice
    rows: list[PlanRow] = field(default_factory=list)
    forecasts: list[ShardForecast] = field(default_factory=list)
    sizes: dict[str, tuple[int, bool]] = field(default_factory=dict)  # bytes, whether exact
    reasons: dict[str, str] = field(default_factory=dict)
    follows: set[str] = field(default_factory=set)
    contents: dict[str, str | None] = field(default_factory=dict)  # of shards that stay
    unknown: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    coefficients: Coefficients = field(default_factory=current)  # read once, not for each shard

    def add(self, row: PlanRow, size: int, *, certain: bool = False) -> None:
        self.rows.append(row)
        if row.state != "empty":
            self.sizes[row.key] = (size, certain)


@dataclass(frozen=True)
class PlanResult:
    """A plan with the forecasts of its shards.

    Attributes:
        reasons: why each shard to be made is, by key, in the plan's order.
        follows: those of them that are made only because an input is.
        unknown: existing shards that no known run made; they stay.
        damaged: inputs of a scale that is not made, with what is wrong with their files.
        left_out: shards that a run of the whole makes: not chosen, or chosen and made from one
            that is left out, which is named.
        chosen: shards of the selection, also those that are left out.
    """

    plan: Plan
    forecasts: Sequence[ShardForecast]
    reasons: Mapping[str, str] = field(default_factory=dict)
    follows: Collection[str] = frozenset()
    unknown: Sequence[str] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    chosen: Collection[str] = frozenset()

    @property
    def left_out_by_scale(self) -> dict[int, int]:
        """Number of shards of each scale that are left out."""
        return dict(sorted(Counter(parse_key(key)[0] for key in self.left_out).items()))

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


def has_shards(dest: Storage, scale: ScaleSpec) -> bool:
    """Whether there is any shard file of a scale at the destination."""
    listing = dest.list(f"{scale.key}/")
    return any(sharding.parse_shard_path(scale, entry.path) is not None for entry in listing)


def make_plan(request: Request, listed: PlanInputs, tiers: Sequence[Tier]) -> PlanResult:
    """Plan every scale concerned, the finest first; deterministic.

    Args:
        request: the request.
        listed: files of export and destination.
        tiers: of which a shard gets the smallest that holds it.
    """
    draft = _Draft(ShardChoice(request.selection, request.volume))
    with without_collections():
        for index in request.concerned:
            scale = request.volume.scales[index]
            if index in request.scales:
                _plan_converted(draft, request, scale, listed, tiers)
            elif index in request.downres:
                _plan_downsampled(draft, request, scale, listed, tiers)
            else:
                _plan_existing(draft, scale, listed)
        left_out = draft.left_out
        plan = Plan.of((row for row in draft.rows if row.key not in left_out), request.concerned)
    return PlanResult(
        plan,
        draft.forecasts,
        {key: reason for key, reason in draft.reasons.items() if key not in left_out},
        draft.follows - left_out.keys(),
        draft.unknown,
        draft.damaged,
        left_out,
        draft.choice.chosen,
    )


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
class _Sources:
    """Source files of one shard."""

    paths: tuple[str, ...]
    size_bytes: int
    digest: str | None


_NO_SOURCES = _Sources((), 0, source_digest({}))


def _sources(scale: ScaleSpec, listed: PlanInputs, z_compress: int) -> dict[int, _Sources]:
    """Source files of each shard, as listed, else as an earlier plan recorded them."""
    if scale.index not in listed.listings:
        rows = listed.recorded.get(scale.index, ())
        return {row.shard: _Sources(row.sources, row.bytes_in, row.source_digest) for row in rows}
    found = files_by_shard(scale, listed.listings[scale.index], z_compress)
    return {shard: _sources_of(files) for shard, files in found.items()}


def _sources_of(files: Sequence[ExportFile]) -> _Sources:
    stamps = dict(stamp for file in files for stamp in file.stamps)
    size_bytes = sum(file.size_bytes for file in files)
    return _Sources(tuple(file.path for file in files), size_bytes, source_digest(stamps))


def _plan_converted(
    draft: _Draft,
    request: Request,
    scale: ScaleSpec,
    listed: PlanInputs,
    tiers: Sequence[Tier],
) -> None:
    slices = request.slices(scale.index)
    ratio = _CONVERTED_RATIO * encoding_ratio(scale)
    found = _sources(scale, listed, slices - 1)
    shards = _shards(found, listed.outputs[scale.index])
    chosen = draft.choice.choose(scale, shards)
    for shard, chunks in zip(shards, _chunks(scale, shards), strict=True):
        own = found.get(shard, _NO_SOURCES)
        work = _convert_work(scale, chunks, own.size_bytes, slices, remote=request.remote)
        row = _bare_row(
            scale,
            shard,
            "convert",
            bytes_in=own.size_bytes,
            sources=own.paths,
            source_digest=own.digest,
        )
        row = _judged(draft, row, request, listed, chosen=shard in chosen)
        _add(draft, row, work, listed, tiers, guess=round(own.size_bytes * ratio))


def _plan_downsampled(
    draft: _Draft,
    request: Request,
    scale: ScaleSpec,
    listed: PlanInputs,
    tiers: Sequence[Tier],
) -> None:
    fine = request.volume.scales[scale.index - 1]
    ratio = _DOWNSAMPLED_RATIO * encoding_ratio(scale) / encoding_ratio(fine)
    feeds = _inputs_by_shard(draft, request, scale)
    shards = _shards(feeds, listed.outputs[scale.index])
    chosen = draft.choice.choose(scale, shards, feeds if fine.index in request.made else None)
    for shard, chunks in zip(shards, _chunks(scale, shards), strict=True):
        inputs = tuple(feeds.get(shard, ()))
        sizes = [draft.sizes[key] for key in inputs]
        guessed, certain = sum(size for size, _ in sizes), all(sure for _, sure in sizes)
        work = _downsample_work(scale, chunks, guessed, remote=is_remote(request.dest))
        bytes_in = guessed if certain else 0
        row = _bare_row(scale, shard, "downsample", inputs=inputs, bytes_in=bytes_in)
        row = _judged(draft, row, request, listed, chosen=shard in chosen)
        _add(
            draft,
            row,
            work,
            listed,
            tiers,
            guess=round(guessed * ratio),
            certain=certain,
        )


def _plan_existing(draft: _Draft, scale: ScaleSpec, listed: PlanInputs) -> None:
    """Plan a scale that others are made from: its existing shards are inputs."""
    for shard, entry in sorted(listed.outputs[scale.index].items()):
        row = _bare_row(scale, shard, "convert")
        origin = listed.provenance.origins.get(row.key)
        content = (origin.content if origin else None) or entry.crc32c
        if reason := listed.provenance.file_reason(row.key, entry):
            draft.damaged[row.key] = reason
        elif origin is None:
            draft.unknown.append(row.key)
        draft.contents[row.key] = content
        row = replace(row, state="present", crc32c=content)
        row = replace(row, bad_chunks=(origin.bad_chunks if origin else 0) or None)
        draft.add(row, entry.size, certain=True)
    for key in sorted(listed.provenance.keys(scale.index)):
        origin = listed.provenance.origins[key]
        if origin.redo_due or not (origin.empty or key in draft.contents):
            draft.damaged[key] = listed.provenance.file_reason(key, None)


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


def _judged(
    draft: _Draft, row: PlanRow, request: Request, listed: PlanInputs, *, chosen: bool
) -> PlanRow:
    """The row with the state that provenance or the request gives it; the draft has the reason."""
    row = _judged_row(draft, row, listed, overwrite=request.overwrite and chosen)
    if row.state == "make":  # never from a hole: a dependent of what is left out is left out, too
        lacks = next((key for key in row.inputs if key in draft.left_out), "")
        if lacks or not chosen:
            draft.left_out[row.key] = lacks if chosen else ""
    return row


def _judged_row(draft: _Draft, row: PlanRow, listed: PlanInputs, *, overwrite: bool) -> PlanRow:
    if overwrite:
        draft.reasons[row.key] = OVERWRITE
        return row
    file = listed.outputs[row.scale].get(row.shard)
    verdict = listed.provenance.judge(row, file, draft.reasons.keys(), draft.contents)
    if verdict.state == "make":
        draft.reasons[row.key] = verdict.reason
        draft.follows.update([row.key] if verdict.follows else ())
        return row
    if not verdict.known:
        draft.unknown.append(row.key)
    if verdict.state == "present":
        draft.contents[row.key] = verdict.content
    crc32c = verdict.content if verdict.state == "present" else None
    bad_chunks = verdict.bad_chunks or None
    return replace(row, state=verdict.state, crc32c=crc32c, bad_chunks=bad_chunks)


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
    if row.key in draft.left_out:
        draft.add(row, guess)
        return
    forecast = _forecast(draft, row, work, tiers, guess)
    if certain:  # else its tier is chosen from its inputs' receipts
        tier = forecast.tier.name if forecast.tier else None
        row = replace(row, tier=tier, estimated_bytes=forecast.needed_bytes)
    draft.forecasts.append(forecast)
    draft.add(row, guess)


def _forecast(
    draft: _Draft, row: PlanRow, work: Work, tiers: Sequence[Tier], guess: int
) -> ShardForecast:
    needed, seconds = estimate(work, draft.coefficients), estimated_seconds(work)
    tier, why_not = None, None
    try:
        tier = choose(needed, tiers)
    except DoesNotFit as error:
        why_not = f"{error}. {error.hint}"
    return ShardForecast(row, work, needed.total_bytes, seconds, guess, tier, why_not)


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


def _downsample_work(scale: ScaleSpec, chunks: int, bytes_in: int, *, remote: bool) -> Work:
    return Work(
        "downsample",
        bytes_in,
        chunks,
        scale.code_path(),
        remote=remote,
        chunk_voxels=math.prod(scale.chunk_size),
    )


def _chunks(scale: ScaleSpec, shards: Sequence[int]) -> list[int]:
    """Number of grid positions in each shard's box: the most chunks it can hold."""
    begins, ends = sharding.shard_boxes(scale, shards)
    return [int(count) for count in (ends - begins).prod(axis=1)]


def _bare_row(
    scale: ScaleSpec,
    shard: int,
    kind: Kind,
    *,
    bytes_in: int = 0,
    sources: tuple[str, ...] = (),
    inputs: tuple[str, ...] = (),
    source_digest: str | None = None,
) -> PlanRow:
    name = sharding.shard_hex(shard, scale.sharding)
    return PlanRow(
        shard_key(scale.index, name),
        scale.index,
        name,
        shard,
        kind,
        bytes_in=bytes_in,
        sources=sources,
        inputs=inputs,
        source_digest=source_digest,
    )
