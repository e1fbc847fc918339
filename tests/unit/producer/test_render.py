"""Rendering: unknown is never zero, and no line is wider than 80 columns."""

from pathlib import Path

import pytest

from delivery.broker.base import Backlog
from delivery.ledger.failures import FailureSummary
from delivery.ledger.shard_status import read_status
from producer import render
from producer.failure_groups import split_advice
from tests.support.ledgers import at, fail, made_run


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (None, "unknown")],
)
def test_sizes(number: int | None, text: str) -> None:
    """One decimal where it matters."""
    assert render.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.2 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (7500, "2 h 05 min"),
        (90_000, "1 d 01 h"),
        (None, "unknown"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """Two units at most."""
    assert render.duration(seconds) == text


def test_a_table_folds_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads a pipe finds a path in one piece, and a row in one line."""
    path = "/nearline/" + "brain/" * 20
    assert render.table(["path", "shards"], [[path, "2"]]).splitlines()[1] == f"{path}       2"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    folded = render.table(["path", "shards"], [[path, "2"]]).splitlines()
    assert len(folded) > 2
    assert max(map(len, folded)) <= render.WIDTH


def test_an_unknown_backlog_is_shown_as_unknown() -> None:
    """Queues known to be empty are left out; queues of unknown content are not."""
    backlogs = {"2gi": Backlog(0, 0), "4gi": Backlog(), "dead": Backlog(1, 0, 5)}
    shown = render.queue_table(backlogs, {})
    assert "2gi" not in shown
    assert "4gi" in shown
    assert shown.count("unknown") == 2
    assert "dead letters" in shown
    assert render.queue_table({"2gi": Backlog(0, 0)}, {}) == "queues: empty"


def test_ready_shards_are_shown_by_tier() -> None:
    """Beside the queues' own counts; without them alone, with one line on why."""
    ready = {"2gi": 8, "16gi": 1}
    known = render.queue_table({"2gi": Backlog(7, 1, 60.0), "16gi": Backlog(1, 0, 5)}, ready)
    assert [line.split()[:4] for line in known.splitlines()[1:]] == [
        ["2gi", "8", "7", "1"],
        ["16gi", "1", "1", "0"],
    ]
    unknown = render.queue_table(dict.fromkeys(("2gi", "4gi", "16gi", "dead"), Backlog()), ready)
    head, *rows, last = unknown.splitlines()
    assert head.split() == ["tier", "ready"]
    assert [row.split() for row in rows] == [["2gi", "8"], ["16gi", "1"]]
    assert last == "queue: unknown: it does not tell its length"
    assert render.queue_table({"2gi": Backlog()}, {}, "it is gone") == "queue: unknown: it is gone"


def failure(key: str, reason: str, **fields: object) -> FailureSummary:
    """A failure record."""
    given = {"key": key, "kind": "convert", "at": at(0), "tier": "2gi", "reason": reason}
    return FailureSummary.model_validate(given | fields)


def cut(number: int) -> FailureSummary:
    """The failure of a shard whose file was cut."""
    file = f"/my export/s0/{number}_0_0.arrow"
    text = f"cut short: batches reach to byte {number + 5000}, the file has {number}"
    return failure(f"s0/{number}", f"{file}: {text}. Export this shard again")


def test_failures_are_grouped_by_class() -> None:
    """The commonest first, with shards, an example, and the advice on a line of its own."""
    failures = [cut(number) for number in range(7)]
    failures.append(failure("s0/9", "/e/s0/9_0_0.arrow: a second stream begins here. Re-export"))
    assert render.failure_table(failures).splitlines() == [
        "7 shards: cut short: batches reach to byte …, the file has …",
        "  Export this shard again",
        f"  s0/0, s0/1, s0/2 and 4 more; such as s0/0: {split_advice(cut(0).reason)[0]}",
        "1 shard: s0/9: /e/s0/9_0_0.arrow: a second stream begins here",
        "  Re-export",
    ]


def test_every_failure_is_accounted_for() -> None:
    """Rare classes beyond a screenful are counted."""
    words = [f"reason {letter * 3}" for letter in "abcdefghijklmnop"]
    failures = [failure(f"s0/{n}", word) for n, word in enumerate(words)]
    lines = render.failure_table([*failures, cut(20), cut(21)]).splitlines()
    counted = sum(int(line.split()[0]) for line in lines if not line.startswith(" "))
    assert counted == 18
    assert lines[-1] == "5 shards more, for 5 other reasons"


def test_details_have_every_reason_in_full() -> None:
    """A row for each shard; the reason is never folded."""
    long = f"/{'x' * 200}/s0/0_0_0.arrow: cut short. Export this shard again"
    failures = [failure("s0/0", long, attempts=2), failure("s0/1", "gone", dropped=True)]
    assert render.failure_details(failures).splitlines() == [
        "shard  tier  tries        when (UTC)",
        "s0/0   2gi       2  2024-05-06 07:00",
        f"  {long}",
        "s0/1   2gi       0  2024-05-06 07:00",
        "  given up: gone",
    ]


def test_what_is_next_stands_below_the_failures(tmp_path: Path) -> None:
    """Blocked shards and the commands that look and mend; nothing at all without failures."""
    run = made_run(tmp_path)
    assert render.failure_report(run, read_status(run)) == ""
    fail(run, "s0/00", reason="cut short. Export this shard again")
    assert render.failure_report(run, read_status(run)).splitlines() == [
        "1 shard: s0/00: cut short",
        "  Export this shard again",
        "2 shards are blocked by s0/00",
        f"each of them: python -m producer errors --details --run {run.uri}",
        f"when mended: python -m producer dead-letters requeue --all --run {run.uri}",
    ]
