"""HTML report of a run in one self-contained page: counts, tables, charts, failures."""

import html
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from delivery.ledger.failures import FailureSummary
from delivery.ledger.receipts import Receipt, ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import STUCK, RunStatus, ShardState, describe_unplanned
from delivery.progress import Progress, ScaleProgress, measure
from memmodel.tiers import tier_of
from producer import svg
from producer.failure_groups import failures_of, group_failures
from producer.render import count, duration, partial, shards, size
from runtime.text import printable
from runtime.urls import is_remote

_MOST_FAILURES = 200
_MIB = 1 << 20
_SLOWEST = 10
_READS_AT_ONCE = 32
_STATES = {
    ShardState.DONE: ("done", "made and current, or there from the start"),
    ShardState.FAILED: ("failed", "cannot be made as things are; the reason is below"),
    ShardState.GIVEN_UP: ("given-up", "failed, then dropped; requeue takes it back"),
    ShardState.BLOCKED: (
        "blocked",
        "a shard that it is made from failed, was given up or is blocked",
    ),
    ShardState.READY: ("ready", "all that it is made from is done; a worker can take it"),
    ShardState.WAITING: ("waiting", "a shard that it is made from is not done yet"),
}
_SCALE_WORDS = {
    "work": "time that workers spent on the shards, added up",
    "cpu": "processor time of that work, over all threads",
    "wall": "time on the clock, from the first start to the last finish",
    "chunks/s, read/s": "over the wall time",
    "peak memory": "the largest of one worker's process",
}
_TIER_WORDS = {
    "tier": "memory size of a worker, and the queue that such workers serve",
    "estimate": "memory that the plan expects; it chooses the tier",
    "came from smaller": "shards that needed more memory than the tiers before",
}
_SCALE_COLOURS = 6  # in the style below
_LONG = 28  # characters; longer cells are folded, shorter ones never
_UNITS_S = ((2 * 86_400, 86_400, "days"), (2 * 3600, 3600, "hours"), (120, 60, "minutes"))
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --muted: #55606d; --page: #f4f6f8;
  --panel: #fff; --line: #dde3e9; --main: #33658a; --code: #eef2f5;
  --done: #2a9d5c; --failed: #d1495b; --given-up: #8d3b72; --blocked: #e9a03b; --ready: #4a8fd4;
  --waiting: #98a4b1; --scale-0: #33658a; --scale-1: #6fabcc; --scale-2: #d9930f;
  --scale-3: #e0560f; --scale-4: #758e4f; --scale-5: #8d3b72; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6eaef; --muted: #a9b4c0; --page: #13171c; --panel: #1c222a; --line: #353f4a;
    --main: #7fb3d9; --code: #28303a; --done: #3fb873; --failed: #ee6a7a; --given-up: #c983b9;
    --blocked: #f0b35c; --ready: #6aa9e6; --waiting: #74808d; --scale-0: #5b9bd5;
    --scale-1: #b5dcf0; --scale-2: #f6ae2d; --scale-3: #f2793a; --scale-4: #9dbb6d;
    --scale-5: #d07ab8; }
}
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  margin: 0; -webkit-text-size-adjust: 100%; }
main { max-width: 1040px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 8px 0; } a { color: inherit; }
.lead { color: var(--muted); margin: 4px 0 20px; overflow-wrap: anywhere; }
section, .card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
section { padding: 18px 20px; margin: 0 0 18px; min-width: 0; }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 0 0 18px; }
.card { padding: 10px 18px; min-width: 0; }
.card b { display: block; font-size: 22px; } .card span { color: var(--muted); font-size: 13px; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
.scroll:last-child { margin: 0; }
.scroll:focus-visible { outline: 2px solid var(--main); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: 13px; padding: 0 0 4px; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
th { font-weight: inherit; }
thead th { color: var(--muted); font-weight: 600; font-size: 13px; }
th:first-child, .text td, .text th { text-align: left; }
.long { white-space: normal; overflow-wrap: anywhere; min-width: 9em; }
.text .long { min-width: 16em; }
.facts td { white-space: normal; overflow-wrap: anywhere; } .facts .long { min-width: 9em; }
.facts th { white-space: normal; width: 34%; } time { white-space: nowrap; }
code { font: 13px/1.4 ui-monospace, monospace; background: var(--code); border-radius: 3px;
  padding: 1px 4px; overflow-wrap: anywhere; user-select: all; }
td code { display: block; margin: 2px 0 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 18px; margin: 0 0 18px; }
.two section { margin: 0; }
svg { display: block; width: 100%; color: var(--muted); }
.bars { display: grid; grid-template-columns: auto 1fr; gap: 8px 12px; align-items: center;
  margin: 0 0 14px; }
.bars svg { height: 18px; }
.words { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr));
  gap: 2px 20px; margin: 0 0 14px; font-size: 13px; color: var(--muted); }
.words:last-child { margin: 12px 0 0; }
.words dt { display: inline; color: var(--ink); font-weight: 600; }
.words dd { display: inline; margin: 0 0 0 6px; }
i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 6px 0 0;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.key span { margin-right: 16px; white-space: nowrap; }
@media (max-width: 600px) {
  main { padding: 14px; } section { padding: 14px; }
  .cards { grid-template-columns: repeat(2, 1fr); } .card { padding: 8px 14px; }
}
@media print {
  @page { margin: 12mm; }
  :root { color-scheme: light; --page: #fff; --code: #fff; }
  body { font-size: 9.5pt; } main { max-width: none; padding: 0; }
  h1 { font-size: 16pt; } h2 { font-size: 12pt; break-after: avoid; }
  section { border: 0; padding: 0; margin: 0 0 14px; }
  .cards { grid-template-columns: repeat(4, 1fr); gap: 8px; } .card { padding: 4px 10px; }
  .card b { font-size: 13pt; }
  .two { grid-template-columns: 1fr 1fr; }
  section, .card, .bars, .words, svg, tr { break-inside: avoid; }
  caption, thead { break-after: avoid; } tbody tr:first-child { break-before: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; } thead th, caption, .words, code { font-size: 8pt; }
  th, td { padding: 2px 8px 2px 0; }
  .text .long { min-width: 0; }
}
"""


@dataclass(frozen=True)
class _Advised:
    """Cell of a text, and of the command that comes next.

    Attributes:
        text: of any length.
        command: to be copied.
    """

    text: str
    command: str


Cell = str | _Advised


@dataclass(frozen=True)
class RunFacts:
    """Content of the page.

    Attributes:
        status: of every shard.
        receipts: in the order of their finish.
        special: in full, of shards that were moved to a larger tier or lack chunks, likewise.
        workers: number of those that finished a shard.
        skipped_outside: rows.
        at: time of reading.
    """

    run: Run
    status: RunStatus
    receipts: Sequence[ReceiptSummary]
    special: Sequence[Receipt]
    workers: int
    skipped_outside: int
    progress: Progress
    at: datetime


def read_facts(run: Run, status: RunStatus, at: datetime) -> RunFacts:
    """Read every receipt of the run, one request each; few are kept in full."""
    workers, skipped, special = set(), 0, []
    for one in _in_full(run, status):
        workers.add(one.worker)
        skipped += one.skipped_outside
        special += [one] if len(one.tiers_tried) > 1 or one.bad_chunks else []
    return RunFacts(
        run,
        status,
        sorted(status.receipts.values(), key=_finish),
        sorted(special, key=_finish),
        len(workers),
        skipped,
        measure(run, status, (), {}, at),
        at,
    )


def _in_full(run: Run, status: RunStatus) -> Iterator[Receipt]:
    """The receipts, one after another; from a bucket many requests wait at the same time."""
    if is_remote(run.uri):
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            yield from filter(None, pool.map(run.receipts.get, status.receipts))
    else:
        yield from filter(None, map(run.receipts.get, status.receipts))


def _finish(receipt: ReceiptSummary) -> datetime:
    return receipt.finished


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
        _section("Memory and tiers", _tiers(facts)),
        _section("Moved to a larger tier", _escalations(facts.special)),
        _section("Failures", _failures(facts), name="failures"),
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
    read = f"read <time>{facts.at:%Y-%m-%d %H:%M} UTC</time>"
    return " &middot; ".join((_text(facts.run.info.dest), _run_state(facts), read))


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
    counts = Counter(state for state in facts.status.states.values() if state in STUCK)
    lost = counts.total()
    word = "failed, given up or blocked"
    cards = [
        (count(facts.progress.done), "shards done"),
        (count(lost), f'<a href="#failures">{word}</a>' if lost else word),
        (count(chunks), "chunks stored"),
        (f"{count(facts.progress.chunks_per_s)}/s" if wall else "-", "chunks"),
        (size(sum(one.bytes_in for one in receipts)), "read"),
        (size(sum(one.bytes_out for one in receipts)), "written"),
        (duration(wall), "first start to last finish"),
        (size(peak) if peak else "-", "largest memory"),
    ]
    body = "".join(f'<div class="card"><b>{a}</b><span>{b}</span></div>' for a, b in cards)
    return f'<div class="cards">{body}</div>'


def _states(facts: RunFacts) -> str:
    """One bar per scale, divided by state, what the states mean, and a table of the counts."""
    counts = facts.status.counts
    bars = "".join(_state_bar(scale, counts[scale]) for scale in sorted(counts))
    words = _words(
        {str(state): text for state, (_, text) in _STATES.items()},
        {str(state): f"var(--{name})" for state, (name, _) in _STATES.items()},
    )
    rows = [
        [f"s{scale}", *(count(counts[scale][state]) for state in _STATES)]
        for scale in sorted(counts)
    ]
    table = _table("Shards by scale and state", ["scale", *map(str, _STATES)], rows)
    return f'<div class="bars">{bars}</div>{words}{table}'


def _state_bar(scale: int, counts: Mapping[ShardState, int]) -> str:
    held = ", ".join(f"{count(counts[state])} {state}" for state in _STATES if counts[state])
    pieces = [(counts[state], f"var(--{name})") for state, (name, _) in _STATES.items()]
    title = f"Scale {scale}: {held or 'no shards'}"
    return f"<span>s{scale}</span>{svg.bar(title, pieces)}"


def _scales(scales: Iterable[ScaleProgress]) -> str:
    headers = ["scale", "shards", "chunks", "read", "written", "work", "cpu", "wall"]
    headers += ["chunks/s", "read/s", "peak memory"]
    rows: list[list[Cell]] = []
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
    table = _table("Finished shards by scale: sizes, time, rates", headers, rows)
    return f"{table}{_words(_SCALE_WORDS)}"


def _charts(facts: RunFacts) -> str:
    """Charts over time and of memory, and the slowest shards; empty at first."""
    receipts = facts.receipts
    if not receipts:
        return ""
    parts = [
        _section("Shards finished", _finished_chart(receipts)),
        _section("Time per shard", _time_chart(receipts)),
        _section("Memory: measured against estimated", _memory_chart(receipts)),
        _section("Slowest shards", _slowest(receipts)),
    ]
    return f'<div class="two">{"".join(parts)}</div>'


def _finished_chart(receipts: Sequence[ReceiptSummary]) -> str:
    began, wall = min(one.started for one in receipts), _wall_s(receipts)
    unit_s, unit = _time_unit(wall)
    times = [(one.finished - began).total_seconds() / unit_s for one in receipts]
    points = [(at, number) for number, at in enumerate(times, 1)]
    title = f"Shards finished over time: {shards(len(points))} in {duration(wall)}"
    return svg.steps(title, points, unit, "shards")


def _time_chart(receipts: Sequence[ReceiptSummary]) -> str:
    seconds = sorted(one.seconds for one in receipts)
    unit_s, unit = _time_unit(seconds[-1])
    span = f"from {duration(seconds[0])} to {duration(seconds[-1])}"
    title = f"Shards by the time they took, {span}, median {duration(median(seconds))}"
    return svg.histogram(title, [one / unit_s for one in seconds], unit, "shards")


def _memory_chart(receipts: Sequence[ReceiptSummary]) -> str:
    dots = [
        svg.Dot(one.estimated_bytes / _MIB, one.peak_bytes / _MIB, _scale_colour(one.key), one.key)
        for one in receipts
        if one.peak_bytes and one.estimated_bytes
    ]
    if not dots:
        return "not measured"
    above = sum(dot.y > dot.x for dot in dots)
    title = f"Measured against estimated memory of {shards(len(dots))}: {above} above the estimate"
    scales = sorted({one.key.partition("/")[0] for one in receipts}, key=lambda s: int(s[1:]))
    key = _key((scale, _scale_colour(scale + "/")) for scale in scales)
    note = "<p>Above the dashed line a shard took more than estimated.</p>"
    return svg.scatter(title, dots, "estimated MiB", "measured MiB") + key + note


def _slowest(receipts: Iterable[ReceiptSummary]) -> str:
    slowest = sorted(receipts, key=lambda one: -one.seconds)[:_SLOWEST]
    rows = [
        [one.key, one.tier, duration(one.seconds), count(one.chunks), size(one.bytes_in)]
        for one in slowest
    ]
    headers = ["shard", "tier", "work", "chunks", "read"]
    return _table("Shards that took longest, the slowest first", headers, rows)


def _tiers(facts: RunFacts) -> str:
    receipts = facts.receipts
    moved = Counter(one.tier for one in facts.special if len(one.tiers_tried) > 1)
    rows: list[list[Cell]] = []
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
                count(moved[tier]),
            ]
        )
    headers = ["tier", "limit", "shards", "work", "largest estimate", "largest measured"]
    if not rows:
        return "nothing finished yet"
    table = _table("Finished shards by tier", [*headers, "came from smaller"], rows)
    return f"{table}{_words(_TIER_WORDS)}"


def _escalations(receipts: Iterable[Receipt]) -> str:
    rows: list[list[Cell]] = [
        [one.key, " → ".join(one.tiers_tried), "; ".join(hop.reason for hop in one.history)]
        for one in receipts
        if len(one.tiers_tried) > 1
    ]
    if not rows:
        return "none"
    caption = "Shards that did not fit their first tier"
    return _table(caption, ["shard", "tiers", "why"], rows[:_MOST_FAILURES], kind="text")


def _failures(facts: RunFacts) -> str:
    """Classes of reasons by frequency, then each dead shard with its next command."""
    failures = failures_of(facts.status)
    unplanned = facts.status.unplanned
    note = f"<p>{_text(describe_unplanned(unplanned))}</p>" if unplanned else ""
    if not failures:
        return note or "none"
    summary = [
        [count(len(group.failures)), f"{group.failure_class}. {group.advice}".removesuffix(". ")]
        for group in group_failures(failures)
    ]
    rows = [_failure_row(facts.run, failure) for failure in failures[:_MOST_FAILURES]]
    more = len(failures) - len(rows)
    look = _command("dead-letters list", facts.run)
    rest = f"<p>... and {count(more)} more: <code>{_text(look)}</code></p>" if more else ""
    again = _command("dead-letters requeue --all", facts.run)
    headers = ["shard", "reason, next command", "tier", "tries", "when (UTC)"]
    return (
        f"{_table('Failed shards by reason', ['shards', 'reason'], summary, kind='text')}"
        f"<p>When all is mended: <code>{_text(again)}</code></p>"
        f"{_table('Each failed shard', headers, rows, kind='text')}{rest}{note}"
    )


def _failure_row(run: Run, failure: FailureSummary) -> list[Cell]:
    reason = f"given up: {failure.reason}" if failure.dropped else failure.reason
    return [
        failure.key,
        _Advised(reason, _command(f"dead-letters requeue {failure.key}", run)),
        failure.tier or "-",
        count(failure.attempts),
        f"{failure.at:%Y-%m-%d %H:%M}",
    ]


def _command(words: str, run: Run) -> str:
    return f"python -m producer {words} --run {shlex.quote(run.uri)}"


def _bad_chunks(facts: RunFacts) -> str:
    """Shards that lack chunks, since these do not decode, and each of the first chunks."""
    lacking = [[key, count(number)] for key, number in facts.status.incomplete.items()]
    rows = [
        [one.key, ", ".join(map(str, bad.chunk)), bad.file, count(bad.row), bad.reason]
        for one in facts.special
        if one.key in facts.status.incomplete
        for bad in one.bad_chunks
    ]
    headers = ["shard", "chunk", "file", "row", "reason"]
    each = _table("The first of these chunks", headers, rows[:_MOST_FAILURES], kind="text")
    caption = "Shards made without chunks that do not decode"
    lacking = lacking[:_MOST_FAILURES]
    return f"{_table(caption, ['shard', 'chunks left out'], lacking, kind='text')}{each}"


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
        ["workers", count(facts.workers)],
        ["rows skipped", f"{count(facts.skipped_outside)} outside"],
        ["version", info.version],
        ["fingerprint", info.fingerprint],
    ]
    return _table("Settings of the run", [], rows, kind="text facts")


def _wall_s(receipts: Sequence[ReceiptSummary]) -> float:
    if not receipts:
        return 0.0
    began, ended = min(r.started for r in receipts), max(r.finished for r in receipts)
    return (ended - began).total_seconds()


def _scale_colour(key: str) -> str:
    return f"var(--scale-{int(key.partition('/')[0][1:]) % _SCALE_COLOURS})"


def _key(pairs: Iterable[tuple[str, str]]) -> str:
    shown = "".join(f'<span><i style="background:{c}"></i>{_text(n)}</span>' for n, c in pairs)
    return f'<p class="key">{shown}</p>'


def _words(meanings: Mapping[str, str], colours: Mapping[str, str] | None = None) -> str:
    """What words mean, each with its colour in the chart where it has one."""
    chips = {word: f'<i style="background:{c}"></i>' for word, c in (colours or {}).items()}
    shown = "".join(
        f"<div>{chips.get(word, '')}<dt>{_text(word)}</dt><dd>{_text(meaning)}</dd></div>"
        for word, meaning in meanings.items()
    )
    return f'<dl class="words">{shown}</dl>'


def _section(title: str, body: str, *, name: str = "") -> str:
    own = f' id="{name}"' if name else ""
    return f"<section{own}><h2>{_text(title)}</h2>{body}</section>"


def _table(
    caption: str, headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, kind: str = ""
) -> str:
    """HTML table in a region that scrolls by itself, also by keyboard.

    Texts are escaped, because reasons and paths are untrusted. A row's first cell names it.
    """
    head = "".join(f'<th scope="col">{_text(header)}</th>' for header in headers)
    body = "".join(
        f'<tr><th scope="row">{_text(str(first))}</th>{"".join(map(_cell, rest))}</tr>'
        for first, *rest in rows
    )
    shown = f"<thead><tr>{head}</tr></thead>" if headers else ""
    own = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll" role="region" aria-label="{_text(caption)}" tabindex="0">'
        f"<table{own}><caption>{_text(caption)}</caption>{shown}<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Cell) -> str:
    if isinstance(value, _Advised):
        return f'<td class="long">{_text(value.text)}<code>{_text(value.command)}</code></td>'
    own = ' class="long"' if len(value) > _LONG else ""
    return f"<td{own}>{_text(value)}</td>"


def _time_unit(most_s: float) -> tuple[float, str]:
    """Seconds of the unit for an axis up to `most_s`, and its name."""
    fits = ((unit_s, name) for least_s, unit_s, name in _UNITS_S if most_s >= least_s)
    return next(fits, (1.0, "seconds"))


def _text(text: str) -> str:
    return html.escape(printable(text))
