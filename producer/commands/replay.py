"""`producer replay`: publish shards again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from delivery import replay as again
from delivery.ledger.run import Run
from delivery.ledger.shard_status import read_status
from delivery.messages import now, parse_key
from delivery.replay import ReplayResult
from memmodel.run_context import tier_chooser
from producer import render, run_lookup, worker_pools
from producer.documents.failure_documents import published_document
from runtime import cli, common_options
from runtime.errors import EXIT_FINDINGS, UsageError

_SHOWN = 20  # keys: a screenful


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(replay)


def replay(
    failed: Annotated[bool, typer.Option("--failed", help="All dead shards.")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="All ready shards: not done, inputs complete.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Shards published since; UTC by default."),
    ] = None,
    shards: Annotated[
        str | None, typer.Option("--shards", metavar="KEY,KEY,...", help="Such as s0/0a,s0/0b.")
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Make finished shards again (--since or --shards).")
    ] = False,
    tier: run_lookup.TierOption = None,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: run_lookup.RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Publish shards again; safe, because workers ack shards that are done without making them.

    --missing repairs a run whose queue lost its messages. --since seeks the queues back to a time.
    With --redo finished shards are made again, and their dependents if the bytes changed.

    Example: python -m producer replay --since 2026-03-01T08:00 --redo --dest out
    """
    keys = [key.strip() for key in (shards or "").split(",") if key.strip()]
    _check_choice([failed, missing, since is not None, bool(keys)])
    if redo and (failed or missing):
        raise UsageError("--redo goes with --since or --shards: only these select finished shards")
    time = None if since is None else parse_time(since)
    found = run_lookup.find(run, state, dest)
    run_lookup.check_tier(found, tier)
    with run_lookup.broker_of(found, queue) as broker:
        broker.add_state_root(found.state_url)
        run_lookup.drain_dead_letters(found, broker)
        run_lookup.note_unplanned(read_status(found).unplanned)
        choose = tier_chooser(found)
        if failed:
            done = ReplayResult(again.failed(found, broker, choose, tier=tier))
        elif missing:
            done = ReplayResult(again.missing(found, broker, choose, tier=tier))
        elif time is not None:
            done = ReplayResult(again.since(found, broker, choose, time, redo=redo, tier=tier))
        else:
            _check_made(found, keys if redo else [])
            done = again.shards(found, broker, choose, keys, redo=redo, tier=tier)
        worker_pools.start(found, broker.url)
    if as_json:
        cli.print_document(published_document(found, done.published, done.left))
    else:
        _print_result(done)
    if done.left:
        raise typer.Exit(EXIT_FINDINGS)


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


def _check_choice(chosen: Sequence[bool]) -> None:
    """Raise UsageError unless exactly one of the options that select shards does."""
    if sum(chosen) != 1:
        raise UsageError(
            "which shards? Pass one of --failed, --missing, --since TIME, --shards KEY,KEY",
            hint="--missing is for a run that stands still, --failed after the cause is mended",
        )


def _check_made(run: Run, keys: list[str]) -> None:
    """Raise UsageError for shards that the run does not make, which it cannot make again."""
    info = run.info
    for key in keys:
        scale, _ = parse_key(key)
        if scale not in (*info.scales, *info.downres):
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
