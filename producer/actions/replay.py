"""Shards published again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import typer

from delivery import replay as again
from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import read_status
from delivery.messages import now, parse_key
from delivery.replay import ReplayResult
from memmodel.run_context import tier_chooser
from producer import render, run_lookup, worker_pools
from producer.documents.failure_documents import published_document
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError

_SHOWN: Final = 20  # keys: a screenful


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Shards to publish: one of the first four says which.

    Attributes:
        failed: all dead ones.
        missing: all that are ready.
        since: those that were published since.
        keys: those with these keys.
        redo: make finished ones again.
        tier: where to; None: each to its own.
    """

    failed: bool
    missing: bool
    since: datetime | None
    keys: Sequence[str]
    redo: bool
    tier: str | None


def replay_shards(run: Run, request: ReplayRequest, queue: str | None, *, as_json: bool) -> None:
    """Publish shards of a run again, and print which.

    Args:
        run: of the shards.
        request: which shards.
        queue: another than the run's.
        as_json: print a JSON document.

    Raises:
        typer.Exit: some were not published.
    """
    run_lookup.check_tier(run, request.tier)
    with run_lookup.broker_of(run, queue) as broker:
        broker.add_state_root(run.state_url)
        run_lookup.drain_dead_letters(run, broker)
        run_lookup.note_unplanned(read_status(run).unplanned)
        done = _publish(run, broker, request)
        worker_pools.start(run, broker.url)
    if as_json:
        cli.print_document(published_document(run, done.published, done.left))
    else:
        _print_result(done)
    if done.left:
        raise typer.Exit(EXIT_FINDINGS)


def _publish(run: Run, broker: Broker, request: ReplayRequest) -> ReplayResult:
    choose, redo, tier = tier_chooser(run), request.redo, request.tier
    if request.failed:
        return ReplayResult(again.failed(run, broker, choose, tier=tier))
    if request.missing:
        return ReplayResult(again.missing(run, broker, choose, tier=tier))
    if request.since is not None:
        return ReplayResult(again.since(run, broker, choose, request.since, redo=redo, tier=tier))
    _check_made(run, request.keys if redo else [])
    return again.shards(run, broker, choose, list(request.keys), redo=redo, tier=tier)


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time that has been; without a zone it is UTC.

    Raises:
        UsageError: the text is not an ISO 8601 time, or nothing was published since.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text!r} is not a time",
            hint="write it as 2026-03-01T08:00 (UTC) or with +01:00",
        ) from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if time > now() + again.CLOCK_MARGIN:
        raise UsageError(
            f"--since {text!r} lies in the future: nothing was published since",
            hint="without +01:00 or the like at its end a time is UTC",
        )
    return time


def _check_made(run: Run, keys: Sequence[str]) -> None:
    """Raise UsageError for shards that the run does not make, which it cannot make again."""
    info = run.info
    for key in keys:
        scale, _ = parse_key(key)
        if not info.makes(scale):
            raise UsageError(
                f"run {run.run_id} does not make scale {scale}, so it cannot make {key} again",
                hint="name the run that made it with --run; `python -m producer runs` lists them",
            )


def _print_result(done: ReplayResult) -> None:
    cli.print_line(f"{render.shards(len(done.published))} published")
    for key in done.published[:_SHOWN]:
        cli.print_line(f"  {key}")
    if len(done.published) > _SHOWN:
        cli.print_line(f"  ... and {len(done.published) - _SHOWN} more")
    for key, why in done.left.items():
        cli.print_line(f"not published: {key}: {why}")
