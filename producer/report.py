"""HTML report of a run in one self-contained page: counts, tables, charts, failures."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from delivery.ledger.failures import FailureSummary
from delivery.ledger.receipts import Receipt
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.progress import Progress, ScaleProgress, measure
from memmodel.tiers import tier_of
from producer import svg
from producer.failure_groups import failures_of, group_failures
from producer.render import count, duration, partial, size

_MOST_FAILURES = 200
_MIB = 1 << 20
_COLOURS = {
    ShardState.DONE: "#2a9d5c",
    ShardState.FAILED: "#d1495b",
    ShardState.GIVEN_UP: "#8d3b72",
    ShardState.BLOCKED: "#e9a03b",
    ShardState.READY: "#4a8fd4",
    ShardState.WAITING: "#b9c2cc",
}
_SCALE_COLOURS = ("#33658a", "#86bbd8", "#f6ae2d", "#f26419", "#758e4f", "#8d3b72")
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; background: #f4f6f8; margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 0 0 12px; }
.lead { color: #55606d; margin: 4px 0 20px; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid #dde3e9; border-radius: 8px; padding: 18px 20px;
  margin: 0 0 18px; overflow-x: auto; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 18px; }
.card { background: #fff; border: 1px solid #dde3e9; border-radius: 8px; padding: 10px 18px;
  flex: 1 1 120px; }
.card b { display: block; font-size: 22px; } .card span { color: #55606d; font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid #edf0f3;
  vertical-align: top; }
th { color: #55606d; font-weight: 600; font-size: 13px; }
th:first-child, td:first-child, .text td, .text th { text-align: left; }
td { overflow-wrap: anywhere; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 18px; }
.two section { margin: 0; } .two { margin: 0 0 18px; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 5px 0 0; }
.key span { margin-right: 16px; white-space: nowrap; } svg { display: block; width: 100%; }
"""


@dataclass(frozen=True)
class RunFacts:
    """Content of the page.

    Attributes:
        status: of every shard.
        receipts: in full, in the order of their finish.
        at: time of reading.
    """

    run: Run
    status: RunStatus
    receipts: Sequence[Receipt]
    progress: Progress
    at: datetime


def read_facts(run: Run, status: RunStatus, at: datetime) -> RunFacts:
    """Read every receipt of the run, one request each."""
    read = (run.receipts.get(key) for key in status.receipts)
    receipts = sorted((one for one in read if one is not None), key=lambda one: one.finished)
    return RunFacts(run, status, receipts, measure(run, status, (), {}, at), at)


def page(facts: RunFacts) -> str:
    """Render the HTML document."""
    run = facts.run
    parts = [
        f"<h1>Run {_text(run.run_id)}</h1>",
        f'<p class="lead">{_lead(facts)}</p>',
        _cards(facts),
        _section("Shards", _states(facts)),
        _section("Scales", _scales(facts.progress.scales)),
        _charts(facts),
        _section("Memory and tiers", _tiers(facts.receipts)),
        _section("Moved to a larger tier", _escalations(facts.receipts)),
        _section("Failures", _failures(failures_of(facts.status))),
        _section("Chunks left out", _bad_chunks(facts)) if facts.status.incomplete else "",
        _section("What was run", _run_facts(facts)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>shardlift run {_text(run.run_id)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(part for part in parts if part)}\n</main></body></html>\n"
    )


def _lead(facts: RunFacts) -> str:
    dest = _text(facts.run.info.dest)
    return f"{dest} &middot; {_run_state(facts)} &middot; read {facts.at:%Y-%m-%d %H:%M} UTC"


def _run_state(facts: RunFacts) -> str:
    if (cancelled := facts.run.cancelled()) is not None:
        return f"cancelled: {_text(cancelled.why)}"
    if not facts.status.ended:
        return "not ended yet"
    if facts.status.succeeded:
        return _text(partial(facts.run.info.partial)) or "complete"
    done = all(state is ShardState.DONE for state in facts.status.states.values())
    return "ended without chunks that do not decode" if done else "ended with shards missing"


def _cards(facts: RunFacts) -> str:
    receipts = facts.receipts
    chunks = sum(one.chunks for one in receipts)
    wall = _wall_s(receipts)
    peak = max((one.peak_bytes or 0 for one in receipts), default=0)
    cards = [
        (count(facts.progress.done), "shards done"),
        (count(chunks), "chunks stored"),
        (size(sum(one.bytes_in for one in receipts)), "read"),
        (size(sum(one.bytes_out for one in receipts)), "written"),
        (duration(wall), "first start to last finish"),
        (f"{count(facts.progress.chunks_per_s)}/s" if wall else "-", "chunks"),
        (size(peak) if peak else "-", "largest memory"),
    ]
    body = "".join(f'<div class="card"><b>{a}</b><span>{b}</span></div>' for a, b in cards)
    return f'<div class="cards">{body}</div>'


def _states(facts: RunFacts) -> str:
    """One bar per scale, divided by state, and a table of the counts."""
    counts = facts.status.counts
    bars = [
        (f"s{scale}", [(counts[scale][state], colour) for state, colour in _COLOURS.items()])
        for scale in sorted(counts)
    ]
    rows = [
        [f"s{scale}", *(count(counts[scale][state]) for state in _COLOURS)]
        for scale in sorted(counts)
    ]
    key = _key((str(state), colour) for state, colour in _COLOURS.items())
    return f"{svg.stacked(bars)}{key}{_table(['scale', *map(str, _COLOURS)], rows)}"


def _scales(scales: Iterable[ScaleProgress]) -> str:
    headers = ["scale", "shards", "chunks", "read", "written", "work", "cpu", "wall"]
    headers += ["chunks/s", "read/s", "peak memory"]
    rows = []
    for scale in scales:
        wall = scale.wall_s
        rows.append(
            [
                f"s{scale.scale}",
                f"{count(scale.done)} of {count(scale.total)}",
                count(scale.chunks),
                size(scale.bytes_in),
                size(scale.bytes_out),
                duration(scale.seconds),
                duration(scale.cpu_s) if scale.cpu_s is not None else "-",
                duration(wall),
                count(scale.chunks_per_s) if wall else "-",
                size(scale.bytes_in / wall) if wall else "-",
                size(scale.peak_bytes) if scale.peak_bytes else "-",
            ]
        )
    return _table(headers, rows)


def _charts(facts: RunFacts) -> str:
    """Charts of progress over time and of measured against estimated memory; empty at first."""
    receipts = facts.receipts
    if not receipts:
        return ""
    began = min(one.started for one in receipts)
    times = [(one.finished - began).total_seconds() for one in receipts]
    done = [(at, number) for number, at in enumerate(times, 1)]
    memory = [
        svg.Dot(one.estimated_bytes / _MIB, one.peak_bytes / _MIB, _scale_colour(one.key), one.key)
        for one in receipts
        if one.peak_bytes and one.estimated_bytes
    ]
    finished = _section("Shards finished", svg.steps(done, "seconds", "shards"))
    seconds = _section("Seconds per shard", svg.histogram([one.seconds for one in receipts], "s"))
    scales = sorted({one.key.partition("/")[0] for one in receipts}, key=lambda s: int(s[1:]))
    key = _key((scale, _scale_colour(scale + "/")) for scale in scales)
    against = _section(
        "Memory: measured against estimated",
        svg.scatter(memory, "estimated MiB", "measured MiB") + key if memory else "not measured",
    )
    return f'<div class="two">{finished}{seconds}</div>{against}'


def _tiers(receipts: Sequence[Receipt]) -> str:
    rows = []
    for tier in sorted({one.tier for one in receipts}, key=lambda name: tier_of(name).limit_bytes):
        own = [one for one in receipts if one.tier == tier]
        peak = max(one.peak_bytes or 0 for one in own)
        rows.append(
            [
                tier,
                size(tier_of(tier).limit_bytes),
                count(len(own)),
                duration(sum(one.seconds for one in own)),
                size(max(one.estimated_bytes or 0 for one in own)),
                size(peak) if peak else "-",
                count(sum(len(one.tiers_tried) > 1 for one in own)),
            ]
        )
    headers = ["tier", "limit", "shards", "work", "largest estimate", "largest measured"]
    return _table([*headers, "came from smaller"], rows) if rows else "nothing finished yet"


def _escalations(receipts: Iterable[Receipt]) -> str:
    rows = [
        [one.key, " → ".join(one.tiers_tried), "; ".join(hop.reason for hop in one.history)]
        for one in receipts
        if len(one.tiers_tried) > 1
    ]
    return _table(["shard", "tiers", "why"], rows[:_MOST_FAILURES], text=True) if rows else "none"


def _failures(failures: Sequence[FailureSummary]) -> str:
    """Classes of reasons by frequency, then each dead shard."""
    if not failures:
        return "none"
    groups = group_failures(failures)
    summary = [
        [count(len(group.failures)), f"{group.failure_class}. {group.advice}".removesuffix(". ")]
        for group in groups
    ]
    rows = [
        [
            failure.key,
            failure.tier or "-",
            count(failure.attempts),
            f"{failure.at:%Y-%m-%d %H:%M}",
            f"given up: {failure.reason}" if failure.dropped else failure.reason,
        ]
        for failure in failures[:_MOST_FAILURES]
    ]
    more = len(failures) - len(rows)
    each = _table(["shard", "tier", "tries", "when (UTC)", "reason"], rows, text=True)
    rest = f"<p>... and {count(more)} more: producer dead-letters list</p>" if more else ""
    return f"{_table(['shards', 'reason'], summary, text=True)}<br>{each}{rest}"


def _bad_chunks(facts: RunFacts) -> str:
    """Shards that lack chunks, since these do not decode, and each of the first chunks."""
    shards = [[key, count(number)] for key, number in facts.status.incomplete.items()]
    rows = [
        [one.key, ", ".join(map(str, bad.chunk)), bad.file, count(bad.row), bad.reason]
        for one in facts.receipts
        if one.key in facts.status.incomplete
        for bad in one.bad_chunks
    ]
    each = _table(["shard", "chunk", "file", "row", "reason"], rows[:_MOST_FAILURES], text=True)
    return f"{_table(['shard', 'chunks left out'], shards[:_MOST_FAILURES], text=True)}<br>{each}"


def _run_facts(facts: RunFacts) -> str:
    info = facts.run.info
    rows: list[list[str]] = [
        ["source", info.source or "-"],
        ["destination", info.dest],
        ["state", facts.run.uri],
        ["queue", facts.run.queue],
        ["planned", f"{info.created:%Y-%m-%d %H:%M:%S} UTC"],
        ["converted scales", ", ".join(map(str, info.scales)) or "none"],
        ["downsampled scales", ", ".join(map(str, info.downres)) or "none"],
        ["rule", info.rule],
        ["labels", info.label_type],
        ["slices left out after each", str(info.z_compress)],
        ["gzip level", str(info.gzip_level)],
        ["tiers", ", ".join(info.tiers)],
        ["workers", count(len({one.worker for one in facts.receipts}))],
        ["rows skipped", f"{count(sum(r.skipped_outside for r in facts.receipts))} outside"],
        ["version", info.version],
        ["fingerprint", info.fingerprint],
    ]
    return _table(["", ""], rows, text=True)


def _wall_s(receipts: Sequence[Receipt]) -> float:
    if not receipts:
        return 0.0
    began, ended = min(r.started for r in receipts), max(r.finished for r in receipts)
    return (ended - began).total_seconds()


def _scale_colour(key: str) -> str:
    return _SCALE_COLOURS[int(key.partition("/")[0][1:]) % len(_SCALE_COLOURS)]


def _key(pairs: Iterable[tuple[str, str]]) -> str:
    shown = "".join(f'<span><i style="background:{c}"></i>{_text(n)}</span>' for n, c in pairs)
    return f'<p class="key">{shown}</p>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    """HTML table; texts are escaped, because reasons and paths are untrusted."""
    head = "".join(f"<th>{_text(header)}</th>" for header in headers)
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(value)}</td>' for value in row)}</tr>" for row in rows
    )
    shown = f"<thead><tr>{head}</tr></thead>" if any(headers) else ""
    kind = ' class="text"' if text else ""
    return f"<table{kind}>{shown}<tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return html.escape(text)
