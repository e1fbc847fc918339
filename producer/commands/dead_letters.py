"""`producer dead-letters`: list dead shards, publish them again, or give them up."""

from collections.abc import Sequence
from typing import Annotated

import typer

from delivery import replay
from delivery.ledger.failures import FOLDER, Failure, FailureSummary
from delivery.ledger.run import Run
from memmodel.run_context import tier_chooser
from producer import render, run_lookup, worker_pools
from producer.documents.failure_documents import (
    DeadLetterDocument,
    DeadLettersDocument,
    DroppedDocument,
    published_document,
)
from runtime import cli, common_options
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.table import format_table

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
    queue: run_lookup.RunQueueOption = None,
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
    found = run_lookup.find_looked(run, state, dest, queue)
    records = found.failures.list()
    run_lookup.note_unplanned([f"{FOLDER}/{key}" for key in records if key not in found.plan])
    letters = [
        letter
        for letter in records.values()
        if (tier is None or letter.tier == tier)
        and (scale is None or letter.key.startswith(f"s{scale}/"))
        and (reason is None or reason in letter.reason)
    ]
    if as_json:
        document = DeadLettersDocument(
            run=found.uri, run_id=found.run_id, dead_letters=tuple(letters)
        )
        cli.print_document(document)
        return
    _print_table(letters, len(records) - len(letters))


@app.command()
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as s0/0fe9.")],
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: run_lookup.RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Show one dead shard: reason, history of tiers, sources.

    Example: python -m producer dead-letters show s0/0fe9 --dest out
    """
    found = run_lookup.find_looked(run, state, dest, queue)
    letter = _letter(found, key)
    if as_json:
        cli.print_document(DeadLetterDocument.of(found, letter))
        return
    state_word = "given up" if letter.dropped else "dead"
    cli.print_line(f"{key} ({letter.kind}), {state_word} since {letter.at:%Y-%m-%d %H:%M:%S} UTC")
    cli.print_line(f"reason: {letter.reason}")
    for hop in letter.history:
        by = f" by {hop.worker}" if hop.worker else ""
        where = f"tier {hop.tier}, delivery {hop.attempt}{by}"
        cli.print_line(f"  {hop.at:%H:%M:%S} {where}: {hop.reason}")
    if key not in found.plan:
        run_lookup.note_unplanned([f"{FOLDER}/{key}"])
        return
    row = found.plan.row(key)
    for name in (*row.sources, *row.inputs):
        cli.print_line(f"  made from {name}")


@app.command()
def requeue(
    keys: KeysArgument = None,
    every: Annotated[bool, typer.Option("--all", help="All shards that are not given up.")] = False,
    tier: run_lookup.TierOption = None,
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
    queue: run_lookup.RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Publish dead shards again, on their tier or another.

    Example: python -m producer dead-letters requeue s0/0fe9 --tier 16gi --dest out
    """
    _check_chosen(keys, every=every)
    found = run_lookup.find_drained(run, state, dest, queue)
    run_lookup.check_tier(found, tier)
    if without_bad_chunks:
        _leave_out_bad_chunks(found, keys)
    unplanned = [key for key in _dead(found, keys) if key not in found.plan]
    run_lookup.note_unplanned([f"{FOLDER}/{key}" for key in unplanned])
    wanted = [key for key in keys if key not in unplanned] if keys else None
    with run_lookup.broker_of(found, queue) as broker:
        broker.add_state_root(found.state_url)
        sent = replay.failed(found, broker, tier_chooser(found), keys=wanted, tier=tier)
        worker_pools.start(found, broker.url)
    named = f": {', '.join(sent)}" if sent else ""
    if as_json:
        left = dict.fromkeys(unplanned, "the plan has no such shard")
        cli.print_document(published_document(found, sent, left))
    else:
        cli.print_line(f"{render.shards(len(sent))} published again{named}")
    if keys and unplanned:
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def drop(
    keys: KeysArgument = None,
    every: Annotated[bool, typer.Option("--all", help="All dead shards; asks first.")] = False,
    yes: common_options.YesOption = False,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: run_lookup.RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Give dead shards up: the run ends without them.

    Their dependents are not made: a hole never becomes zeros, and the run ends with exit code 1.
    `requeue` undoes it.

    Example: python -m producer dead-letters drop s0/0fe9 --dest out
    """
    _check_chosen(keys, every=every)
    found = run_lookup.find_drained(run, state, dest, queue)
    chosen = list(keys or _not_given_up(found))
    for key in chosen:
        _letter(found, key)
    if every and chosen:
        cli.confirm(f"give up {render.shards(len(chosen))} of run {found.run_id}", yes=yes)
    for key in chosen:
        if key in found.plan:
            found.failures.drop(key)
        else:  # nothing to give up: only its record can go
            found.failures.delete(key)
    named = f": {', '.join(chosen)}" if chosen else ""
    if as_json:
        document = DroppedDocument(run=found.uri, run_id=found.run_id, dropped=tuple(chosen))
        cli.print_document(document)
    else:
        cli.print_line(f"{render.shards(len(chosen))} given up{named}")


def _check_chosen(keys: Sequence[str] | None, *, every: bool) -> None:
    """Raise UsageError unless the command names either keys or --all."""
    if bool(keys) == every:
        raise UsageError(
            "which shards? Name their keys, or pass --all",
            hint="`python -m producer dead-letters list` shows the keys",
        )


def _dead(run: Run, keys: Sequence[str] | None) -> list[str]:
    """Keys of these failure records, or of all.

    Raises:
        UsageError: one is not a dead letter.
    """
    return [_letter(run, key).key for key in keys] if keys else list(run.failures.list())


def _not_given_up(run: Run) -> list[str]:
    return [key for key, letter in run.failures.list().items() if not letter.dropped]


def _leave_out_bad_chunks(run: Run, keys: Sequence[str] | None) -> None:
    """Request that dead shards be made without their bad chunks; None: all that can be.

    Raises:
        UsageError: a shard is not dead, or is made from shards.
    """
    chosen = list(run.failures.list()) if keys is None else keys
    chosen = [key for key in chosen if key in run.plan]
    kinds = {key: _letter(run, key).kind for key in chosen}
    for key in keys or ():
        if kinds.get(key, "convert") != "convert":
            raise UsageError(
                f"{key} is made from shards, not from an export: it has no chunks to leave out",
                hint="`dead-letters show` prints the reason; `replay --redo` makes its input again",
            )
    run.request_without_bad_chunks(key for key, kind in kinds.items() if kind == "convert")


def _letter(run: Run, key: str) -> Failure:
    letter = run.failures.get(key)
    if letter is None:
        raise UsageError(
            f"{key} is not a dead letter of run {run.run_id}",
            hint="`python -m producer dead-letters list` shows them",
        )
    return letter


def _print_table(letters: Sequence[FailureSummary], others: int) -> None:
    """Print the letters; where the options left none, how many they left out."""
    if not letters:
        left = f" of this kind, {others:,} of others" if others else ""
        cli.print_line(f"no dead letters{left}")
        return
    headers = ("shard", "tier", "tries", "when (UTC)", "reason")
    cli.print_lines(format_table(headers, map(_row, letters), left=len(headers)))


def _row(letter: FailureSummary) -> list[str]:
    why = f"given up: {letter.reason}" if letter.dropped else letter.reason
    return [letter.key, letter.tier, str(letter.attempts), f"{letter.at:%m-%d %H:%M}", why]
