"""Failures of a run in its report: classes of reasons, and each with its next command."""

import shlex

from delivery.ledger.failures import FailureSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import describe_unplanned
from producer.failure_groups import failures_of, group_failures
from producer.render import count
from producer.report.elements import Advised, Cell, escaped, table
from producer.report.facts import RunFacts
from runtime.interpreter import as_typed

_MOST_FAILURES = 200


def failures_section(facts: RunFacts) -> str:
    """Classes of reasons by frequency, then each dead shard with its next command."""
    failures = failures_of(facts.status)
    unplanned = facts.status.unplanned
    note = f"<p>{escaped(describe_unplanned(unplanned))}</p>" if unplanned else ""
    if not failures:
        return note or "none"
    summary = [
        [
            count(len(group.failures)),
            as_typed(f"{group.failure_class}. {group.advice}".removesuffix(". ")),
        ]
        for group in group_failures(failures)
    ]
    rows = [_failure_row(facts.run, failure) for failure in failures[:_MOST_FAILURES]]
    more = len(failures) - len(rows)
    look = _command("dead-letters list", facts.run)
    rest = f"<p>... and {count(more)} more: <code>{escaped(look)}</code></p>" if more else ""
    again = _command("dead-letters requeue --all", facts.run)
    headers = ["shard", "reason, next command", "tier", "tries", "when (UTC)"]
    return (
        f"{table('Failed shards by reason', ['shards', 'reason'], summary, kind='text')}"
        f"<p>When all is mended: <code>{escaped(again)}</code></p>"
        f"{table('Each failed shard', headers, rows, kind='text')}{rest}{note}"
    )


def _failure_row(run: Run, failure: FailureSummary) -> list[Cell]:
    reason = as_typed(f"given up: {failure.reason}" if failure.dropped else failure.reason)
    return [
        failure.key,
        Advised(reason, _command(f"dead-letters requeue {failure.key}", run)),
        failure.tier or "-",
        count(failure.attempts),
        f"{failure.at:%Y-%m-%d %H:%M}",
    ]


def _command(words: str, run: Run) -> str:
    return as_typed(f"python -m producer {words} --run {shlex.quote(run.uri)}")
