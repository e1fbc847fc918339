"""The page itself: headline, tiles and sections of the report."""

from collections import Counter

from delivery.ledger.selection import describe_selection
from delivery.ledger.shard_status import STUCK, ShardState
from producer.bill_table import dollars
from producer.render import count, duration, partial, size
from producer.report import charts, tables
from producer.report.cost_table import cost_table
from producer.report.coverage_chart import coverage_chart
from producer.report.coverage_script import POLICY, SCRIPT
from producer.report.elements import escaped, section, table, words
from producer.report.facts import RunFacts, wall_s
from producer.report.failures import failures_section
from producer.report.picture import picture_figure
from producer.report.style import STYLE


def page(facts: RunFacts) -> str:
    """Render the HTML document."""
    run = facts.run
    script = SCRIPT if facts.maps else ""
    parts = [
        f"<h1>Run {escaped(run.run_id)}</h1>",
        f'<p class="lead">{_lead(facts)}</p>',
        _cards(facts),
        section("Shards", _states(facts)),
        _where(facts),
        section("Scales", tables.scales_table(facts.progress.scales)),
        _charts(facts),
        section("Memory and tiers", tables.tiers_table(facts)),
        section("Moved to a larger tier", tables.escalations_table(facts.special)),
        section("Failures", failures_section(facts), name="failures"),
        _bad_chunks(facts),
        section("Cost so far", cost_table(facts.bill)),
        section("What was run", tables.settings_table(facts)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>shardlift run {escaped(run.run_id)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(part for part in parts if part)}\n</main>{script}"
        "</body></html>\n"
    )


def _lead(facts: RunFacts) -> str:
    read = f"read <time>{facts.at:%Y-%m-%d %H:%M} UTC</time>"
    return " &middot; ".join((escaped(facts.run.info.dest), _run_state(facts), read))


def _run_state(facts: RunFacts) -> str:
    if (cancelled := facts.run.cancelled()) is not None:
        return f"cancelled: {escaped(cancelled.why)}"
    if not facts.status.ended:
        return "not ended yet"
    if facts.status.succeeded:
        if (selection := facts.run.info.selection) is not None:
            return f"complete; {escaped(describe_selection(selection))}"
        return escaped(partial(facts.run.info.partial)) or "complete"
    done = all(state is ShardState.DONE for state in facts.status.states.values())
    return "ended without chunks that do not decode" if done else "ended with shards missing"


def _cards(facts: RunFacts) -> str:
    receipts = facts.receipts
    wall = wall_s(receipts)
    peak = max((one.peak_bytes or 0 for one in receipts), default=0)
    counts = Counter(state for state in facts.status.states.values() if state in STUCK)
    lost = counts.total()
    word = "failed, given up or blocked"
    cards = [
        (count(facts.progress.done), "shards done"),
        (count(lost), f'<a href="#failures">{word}</a>' if lost else word),
        (dollars(facts.bill.total()), "so far, if on worker pools"),
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
    bars = "".join(charts.state_bar(scale, counts[scale]) for scale in sorted(counts))
    explained = words(
        {str(state): meaning for state, (_, meaning) in charts.STATES.items()},
        {str(state): f"var(--{name})" for state, (name, _) in charts.STATES.items()},
    )
    rows = [
        [f"s{scale}", *(count(counts[scale][state]) for state in charts.STATES)]
        for scale in sorted(counts)
    ]
    counted = table("Shards by scale and state", ["scale", *map(str, charts.STATES)], rows)
    return f'<div class="bars">{bars}</div>{explained}{counted}'


def _where(facts: RunFacts) -> str:
    """Where the shards are, and what the volume looks like."""
    picture = section("The volume", picture_figure(facts.picture))
    if not facts.maps:
        return picture
    chart = coverage_chart(facts.maps)
    where = section("Where the shards lie", chart.html)
    return f'<div class="two">{where}{picture}</div>' if chart.narrow else where + picture


def _bad_chunks(facts: RunFacts) -> str:
    if not facts.status.incomplete:
        return ""
    return section("Chunks left out", tables.bad_chunks_tables(facts))


def _charts(facts: RunFacts) -> str:
    """Charts over time and of memory, and the slowest shards; empty at first."""
    receipts = facts.receipts
    if not receipts:
        return ""
    parts = [
        section("Shards finished", charts.finished_chart(receipts)),
        section("Time per shard", charts.time_chart(receipts)),
        section("Memory: measured against estimated", charts.memory_chart(receipts)),
        section("Slowest shards", tables.slowest_table(receipts)),
    ]
    return f'<div class="two">{"".join(parts)}</div>'
