"""`producer replay`: publish shards again."""

from collections.abc import Sequence
from typing import Annotated

import typer

from producer.commands.options import RunQueueOption, TierOption
from runtime import common_options
from runtime.errors import UsageError


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
    tier: TierOption = None,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Publish shards again; safe, because workers ack shards that are done without making them.

    --missing repairs a run whose queue lost its messages. --since seeks the queues back to a time.
    With --redo finished shards are made again, and their dependents if the bytes changed.

    Example: python -m producer replay --since 2026-03-01T08:00 --redo --dest out
    """
    from producer import run_lookup
    from producer.actions.replay import ReplayRequest, parse_time, replay_shards

    keys = [key.strip() for key in (shards or "").split(",") if key.strip()]
    _check_choice([failed, missing, since is not None, bool(keys)])
    if redo and (failed or missing):
        raise UsageError("--redo goes with --since or --shards: only these select finished shards")
    time = None if since is None else parse_time(since)
    request = ReplayRequest(failed, missing, time, keys, redo, tier)
    replay_shards(run_lookup.find(run, state, dest), request, queue, as_json=as_json)


def _check_choice(chosen: Sequence[bool]) -> None:
    """Raise UsageError unless exactly one of the options that select shards does."""
    if sum(chosen) != 1:
        raise UsageError(
            "which shards? Pass one of --failed, --missing, --since TIME, --shards KEY,KEY",
            hint="--missing is for a run that stands still, --failed after the cause is mended",
        )
