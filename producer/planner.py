"""Planner: one plan row per shard of every scale concerned.

Uses listings and file names alone: a file is a source of every output shard in its reach, and the
executor selects the rows. A shard without sources or inputs has no row, which means zeros. A shard
that exists stays if its provenance says so; else it is made again, for a reason in words.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from delivery.ledger.plan import Plan, PlanRow
from delivery.messages import Kind, shard_key
from memmodel.coefficients import Coefficients, current
from memmodel.estimate import Work
from memmodel.tiers import Tier
from memmodel.usage import encoding_ratio
from producer.plan_inputs import Outputs, PlanInputs, has_shards, list_outputs
from producer.plan_result import PlanResult
from producer.run_request import Request
from producer.shard_choice import ShardChoice
from producer.shard_forecast import (
    CONVERTED_RATIO,
    DOWNSAMPLED_RATIO,
    ShardForecast,
    chunk_counts,
    convert_work,
    downsample_work,
    forecast_shard,
)
from producer.shard_sources import NO_SOURCES, files_by_shard, sources_by_shard
from runtime.memory import without_collections
from runtime.urls import is_remote

__all__ = [
    "OVERWRITE",
    "Outputs",
    "PlanInputs",
    "PlanResult",
    "ShardForecast",
    "files_by_shard",
    "has_shards",
    "list_outputs",
    "make_plan",
]

OVERWRITE: Final = "--overwrite"  # reason of a shard that is made again on request


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


def _plan_converted(
    draft: _Draft,
    request: Request,
    scale: ScaleSpec,
    listed: PlanInputs,
    tiers: Sequence[Tier],
) -> None:
    slices = request.slices(scale.index)
    ratio = CONVERTED_RATIO * encoding_ratio(scale)
    found = sources_by_shard(scale, listed, slices - 1)
    shards = _shards(found, listed.outputs[scale.index])
    chosen = draft.choice.choose(scale, shards)
    for shard, chunks in zip(shards, chunk_counts(scale, shards), strict=True):
        own = found.get(shard, NO_SOURCES)
        work = convert_work(scale, chunks, own.size_bytes, slices, remote=request.remote)
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
    ratio = DOWNSAMPLED_RATIO * encoding_ratio(scale) / encoding_ratio(fine)
    feeds = _inputs_by_shard(draft, request, scale)
    shards = _shards(feeds, listed.outputs[scale.index])
    chosen = draft.choice.choose(scale, shards, feeds if fine.index in request.made else None)
    for shard, chunks in zip(shards, chunk_counts(scale, shards), strict=True):
        inputs = tuple(feeds.get(shard, ()))
        sizes = [draft.sizes[key] for key in inputs]
        guessed, certain = sum(size for size, _ in sizes), all(sure for _, sure in sizes)
        work = downsample_work(scale, chunks, guessed, remote=is_remote(request.dest))
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
    forecast = forecast_shard(row, work, tiers, guess, draft.coefficients)
    if certain:  # else its tier is chosen from its inputs' receipts
        tier = forecast.tier.name if forecast.tier else None
        row = replace(row, tier=tier, estimated_bytes=forecast.needed_bytes)
    draft.forecasts.append(forecast)
    draft.add(row, guess)


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
