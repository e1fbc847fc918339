"""`producer dead-letters`: list dead shards, publish them again, or give them up."""

from collections.abc import Sequence
from typing import Annotated

import typer

from producer.commands.options import RunQueueOption, TierOption
from runtime import cli, common_options
from runtime.errors import UsageError

app = cli.new_app(
    "Shards that cannot be made, with the reason.\n\n"
    "A shard becomes a dead letter at once if its input is broken, and after the largest tier if "
    "it needs more memory. List and show them, repair the cause, then requeue; or drop them."
)

KeysArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY...", show_default=False, help="Such as s0/0fe9.")
]


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="dead-letters")


@app.command("list")
def list_letters(
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: RunQueueOption = None,
    tier: Annotated[
        str | None, typer.Option("--tier", metavar="NAME", help="Only those of this tier.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", metavar="N", help="Only those of this scale.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Only where the reason has TEXT.")
    ] = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """List dead shards: reason, tiers tried, attempts, when.

    Example: python -m producer dead-letters list --dest out --reason zstd
    """
    from producer import run_lookup
    from producer.actions import dead_letters

    found = run_lookup.find_looked(run, state, dest, queue)
    wanted = dead_letters.LetterFilter(tier, scale, reason)
    dead_letters.list_letters(found, wanted, as_json=as_json)


@app.command()
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as s0/0fe9.")],
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Show one dead shard: reason, history of tiers, sources.

    Example: python -m producer dead-letters show s0/0fe9 --dest out
    """
    from producer import run_lookup
    from producer.actions.dead_letters import show_letter

    show_letter(run_lookup.find_looked(run, state, dest, queue), key, as_json=as_json)


@app.command()
def requeue(
    keys: KeysArgument = None,
    every: Annotated[bool, typer.Option("--all", help="All shards that are not given up.")] = False,
    tier: TierOption = None,
    without_bad_chunks: Annotated[
        bool,
        typer.Option(
            "--without-bad-chunks",
            help="Make them without the chunks that do not decode; the run ends with exit code 1.",
        ),
    ] = False,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Publish dead shards again, on their tier or another.

    Example: python -m producer dead-letters requeue s0/0fe9 --tier 16gi --dest out
    """
    from producer import run_lookup
    from producer.actions.dead_letters import requeue_letters

    _check_chosen(keys, every=every)
    found = run_lookup.find_drained(run, state, dest, queue)
    requeue_letters(
        found, keys, tier, queue, without_bad_chunks=without_bad_chunks, as_json=as_json
    )


@app.command()
def drop(
    keys: KeysArgument = None,
    every: Annotated[bool, typer.Option("--all", help="All dead shards; asks first.")] = False,
    yes: common_options.YesOption = False,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Give dead shards up: the run ends without them.

    Their dependents are not made: a hole never becomes zeros, and the run ends with exit code 1.
    `requeue` undoes it.

    Example: python -m producer dead-letters drop s0/0fe9 --dest out
    """
    from producer import run_lookup
    from producer.actions.dead_letters import drop_letters

    _check_chosen(keys, every=every)
    found = run_lookup.find_drained(run, state, dest, queue)
    drop_letters(found, keys, yes=yes, as_json=as_json)


def _check_chosen(keys: Sequence[str] | None, *, every: bool) -> None:
    """Raise UsageError unless the command names either keys or --all."""
    if bool(keys) == every:
        raise UsageError(
            "which shards? Name their keys, or pass --all",
            hint="`python -m producer dead-letters list` shows the keys",
        )
