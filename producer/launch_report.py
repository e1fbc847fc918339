"""Report of a launch as a document: the plan, what was published, how the run stands."""

import math
from collections.abc import Sequence

from delivery.ledger.run import Run
from delivery.messages import now
from delivery.progress import read_progress
from producer.begin import Begun
from producer.bill_table import bill_of
from producer.documents.launch_documents import (
    EnqueueDocument,
    Outcome,
    ShardPart,
    TierPart,
)
from producer.documents.run_documents import StatusDocument, status_document
from producer.launch import LaunchResult
from producer.planner import PlanResult, ShardForecast
from producer.preflight import Preflight
from producer.sample import SampleResult


def enqueue_document(
    begun: Begun,
    result: LaunchResult | None,
    *,
    dry_run: bool = False,
    sample: SampleResult | None = None,
    changed: str | None = None,
) -> EnqueueDocument:
    """The document of a launch.

    Args:
        begun: the launch.
        result: what was published and made; None if nothing was.
        dry_run: it was one.
        sample: that was measured.
        changed: how the export changed meanwhile.
    """
    found, run = begun.found, begun.run
    planned, request = found.planned, found.request
    if dry_run and planned is None:
        planned = found.remaining
    named = run or (found.continues.run if found.continues else None)
    return EnqueueDocument(
        run=named.uri if named else None,
        run_id=named.run_id if named else None,
        outcome=_outcome(begun, dry_run=dry_run),
        source=request.source,
        dest=request.dest,
        scales=request.scales,
        downres=request.downres,
        fingerprint=request.fingerprint,
        queue=run.queue if run else None,
        selection=found.selection or (named.info.selection if named else None),
        notes=tuple(found.notes),
        partial=tuple(found.problems),
        outdated={one.run.run_id: reason for one, reason in found.outdated},
        tiers=tuple(_tiers(planned.forecasts)) if planned else None,
        present=planned.present if planned else 0,
        adopted=len(planned.unknown) if planned else 0,
        incomplete=dict(found.incomplete),
        no_tier={one.row.key: one.why_not or "" for one in planned.beyond} if planned else {},
        shards=tuple(_shards(planned)) if planned and dry_run else None,
        code_paths=_code_paths(found) if dry_run else None,
        bill=bill_of(planned.forecasts, request).document() if planned and dry_run else None,
        published=len(result.published.keys) if result else 0,
        status=_status(run, result) if run and result else None,
        sample=sample,
        changed=changed,
    )


def _outcome(begun: Begun, *, dry_run: bool) -> Outcome:
    if begun.run is not None:
        return "continued" if begun.found.continues is not None else "created"
    return "dry run" if dry_run else "nothing to do"


def _tiers(forecasts: Sequence[ShardForecast]) -> list[TierPart]:
    groups: dict[str | None, list[ShardForecast]] = {}
    for one in sorted(forecasts, key=lambda one: one.tier.limit_bytes if one.tier else math.inf):
        groups.setdefault(one.tier.name if one.tier else None, []).append(one)
    return [
        TierPart(
            tier=tier,
            shards=len(own),
            bytes_in=sum(one.work.bytes_in for one in own),
            largest_estimate_bytes=max(one.needed_bytes for one in own),
            worker_seconds=sum(one.seconds for one in own),
        )
        for tier, own in groups.items()
    ]


def _shards(planned: PlanResult) -> list[ShardPart]:
    return [
        ShardPart(
            key=one.row.key,
            kind=one.row.kind,
            tier=one.tier.name if one.tier else None,
            reason=planned.reasons.get(one.row.key, ""),
            bytes_in=one.work.bytes_in,
            estimated_bytes=one.needed_bytes,
            estimated_seconds=one.seconds,
            estimated_bytes_out=one.bytes_out,
        )
        for one in planned.forecasts
    ]


def _code_paths(found: Preflight) -> dict[int, str]:
    scales = found.request.volume.scales
    return {index: str(scales[index].code_path()) for index in found.request.made}


def _status(run: Run, result: LaunchResult) -> StatusDocument:
    ledger = result.status or result.published.status
    progress = result.progress or read_progress(run, None, ledger, now())
    return status_document(run, ledger, progress)
