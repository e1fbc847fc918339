"""Dead shards listed, shown, published again and given up."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

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
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.interpreter import as_typed
from runtime.table import format_table


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters to list; None: of any."""

    tier: str | None
    scale: int | None
    reason: str | None

    def takes(self, letter: FailureSummary) -> bool:
        """Whether a letter is one of them."""
        return (
            (self.tier is None or letter.tier == self.tier)
            and (self.scale is None or letter.key.startswith(f"s{self.scale}/"))
            and (self.reason is None or self.reason in letter.reason)
        )


def list_letters(run: Run, wanted: LetterFilter, *, as_json: bool) -> None:
    """Print the dead letters of a run that a filter takes."""
    records = run.failures.list()
    run_lookup.note_unplanned([f"{FOLDER}/{key}" for key in records if key not in run.plan])
    letters = [letter for letter in records.values() if wanted.takes(letter)]
    if as_json:
        document = DeadLettersDocument(run=run.uri, run_id=run.run_id, dead_letters=tuple(letters))
        cli.print_document(document)
        return
    _print_table(letters, len(records) - len(letters))


def show_letter(run: Run, key: str, *, as_json: bool) -> None:
    """Print a dead letter, and what its shard is made from."""
    letter = _letter(run, key)
    if as_json:
        cli.print_document(DeadLetterDocument.of(run, letter))
        return
    state_word = "given up" if letter.dropped else "dead"
    cli.print_line(f"{key} ({letter.kind}), {state_word} since {letter.at:%Y-%m-%d %H:%M:%S} UTC")
    cli.print_line(f"reason: {letter.reason}")
    for hop in letter.history:
        by = f" by {hop.worker}" if hop.worker else ""
        where = f"tier {hop.tier}, delivery {hop.attempt}{by}"
        cli.print_line(f"  {hop.at:%H:%M:%S} {where}: {hop.reason}")
    if key not in run.plan:
        run_lookup.note_unplanned([f"{FOLDER}/{key}"])
        return
    row = run.plan.row(key)
    for name in (*row.sources, *row.inputs):
        cli.print_line(f"  made from {name}")


def requeue_letters(
    run: Run,
    keys: Sequence[str] | None,
    tier: str | None,
    queue: str | None,
    *,
    without_bad_chunks: bool,
    as_json: bool,
) -> None:
    """Publish dead shards again, and print which.

    Args:
        run: the run.
        keys: of the shards; None: all that are not given up.
        tier: where to; None: each to its own.
        queue: another than the run's.
        without_bad_chunks: make them without the chunks that do not decode.
        as_json: print a JSON document.

    Raises:
        typer.Exit: the plan lacks some of them.
    """
    run_lookup.check_tier(run, tier)
    if without_bad_chunks:
        _leave_out_bad_chunks(run, keys)
    unplanned = [key for key in _dead(run, keys) if key not in run.plan]
    run_lookup.note_unplanned([f"{FOLDER}/{key}" for key in unplanned])
    wanted = [key for key in keys if key not in unplanned] if keys else None
    with run_lookup.broker_of(run, queue) as broker:
        broker.add_state_root(run.state_url)
        sent = replay.failed(run, broker, tier_chooser(run), keys=wanted, tier=tier)
        worker_pools.start(run, broker.url)
    named = f": {', '.join(sent)}" if sent else ""
    if as_json:
        left = dict.fromkeys(unplanned, "the plan has no such shard")
        cli.print_document(published_document(run, sent, left))
    else:
        cli.print_line(f"{render.shards(len(sent))} published again{named}")
    if keys and unplanned:
        raise typer.Exit(EXIT_FINDINGS)


def drop_letters(run: Run, keys: Sequence[str] | None, *, yes: bool, as_json: bool) -> None:
    """Give dead shards up, and print which.

    Args:
        run: the run.
        keys: of the shards; None: all, after a question.
        yes: do not ask.
        as_json: print a JSON document.
    """
    chosen = list(keys or _not_given_up(run))
    for key in chosen:
        _letter(run, key)
    if not keys and chosen:
        cli.confirm(f"give up {render.shards(len(chosen))} of run {run.run_id}", yes=yes)
    for key in chosen:
        if key in run.plan:
            run.failures.drop(key)
        else:  # nothing to give up: only its record can go
            run.failures.delete(key)
    named = f": {', '.join(chosen)}" if chosen else ""
    if as_json:
        document = DroppedDocument(run=run.uri, run_id=run.run_id, dropped=tuple(chosen))
        cli.print_document(document)
    else:
        cli.print_line(f"{render.shards(len(chosen))} given up{named}")


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
            hint=f"`python -m producer dead-letters list --run {shlex.quote(run.uri)}` shows them",
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
    when = f"{letter.at:%m-%d %H:%M}"
    return [letter.key, letter.tier, str(letter.attempts), when, as_typed(why)]
