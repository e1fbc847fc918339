"""Tables of results, printed with Rich or written as Markdown."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable  # noqa: TID251 - prints numbers of its own alone

from benchmarks import bench
from benchmarks.network import OURS
from benchmarks.network_requests import DATA_KINDS, KINDS
from benchmarks.results import Result, Results

_WIDTH = 80
_AS_FAST = 0.95
_DATA = {
    bench.REAL: "real shard",
    bench.USUAL: "made-up, as dense as real",
    bench.DENSE: "made-up, dense",
    bench.LARGE: "made-up, as dense as real",
}
_VOTERS = {
    "blocks": "shardlift, on blocks",
    "voxels": "shardlift, on voxels",
    "TensorStore": "TensorStore",
    "tinybrain": "tinybrain (igneous)",
}


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column is left-aligned, the others right-aligned."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """Render as Markdown."""
        head = "| " + " | ".join(self.columns) + " |"
        rule = "|---|" + "---:|" * (len(self.columns) - 1)
        lines = [head, rule, *(f"| {' | '.join(_marked(row))} |" for row in self.rows)]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])

    def show(self, console: Console) -> None:
        """Print on a terminal."""
        shown = RichTable(
            title=self.title, caption=self.note or None, box=box.SIMPLE_HEAD, title_justify="left"
        )
        for number, column in enumerate(self.columns):
            shown.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            shown.add_row(*row, style="bold" if _is_heading(row) else None)
        console.print(shown)


def show_all(results: Results) -> None:
    """Print all tables, 80 columns wide."""
    console = Console(width=_WIDTH, highlight=False)
    for facts in (results.machine, results.versions):
        console.print(", ".join(f"{name} {value}" for name, value in facts.items()))
    console.print(f"{results.date}; medians of {results.settings['runs']} or more runs")
    for table in all_tables(results):
        table.show(console)
    for line in results.missing:
        console.print(f"not measured: {line}", markup=False)


def all_tables(results: Results) -> Iterator[Table]:
    """Every table that has rows."""
    for make in MAKERS.values():
        table = make(results)
        if table.rows:
            yield table


def kernels(results: Results) -> Table:
    """Single steps, data side by side."""
    names = list(dict.fromkeys(m.on for m in results.of("kernels")))
    steps = list(dict.fromkeys(m.who for m in results.of("kernels")))
    rows = [(step, *(_rate(results.find("kernels", n, step)) for n in names)) for step in steps]
    found = [results.find("kernels", n, "transcode") for n in names]
    rows += [
        ("labels per chunk", *_facts(found, "labels")),
        ("bytes per chunk, not compressed", *_facts(found, "plain_bytes")),
        ("bytes per chunk, gzip 6 (libdeflate)", *_facts(found, "gzip_bytes")),
        ("bytes per chunk, zlib 6", *_facts(found, "zlib_bytes")),
    ]
    columns = ("chunks/s, one core", *(_DATA[n] for n in names))
    return Table("Single steps", columns, rows if names else [])


def votes(results: Results) -> Table:
    """Downsampling kernels."""
    names = list(dict.fromkeys(m.on for m in results.of("votes")))
    rows = [
        (shown, *(_rate(results.find("votes", n, who)) for n in names))
        for who, shown in _VOTERS.items()
        if any(results.find("votes", n, who) for n in names)
    ]
    columns = ("source Mvoxel/s, one core", *(_DATA[n] for n in names))
    return Table("Majority vote 2x2x2", columns, rows)


def levels(results: Results) -> Table:
    """Levels of gzip: chunks/s and bytes."""
    names = list(dict.fromkeys(m.on for m in results.of("levels")))
    rows = []
    for who in dict.fromkeys(m.who for m in results.of("levels")):
        found = [results.find("levels", name, who) for name in names]
        cells = zip(map(_rate, found), _facts(found, "bytes"), strict=True)
        rows.append((who, *(cell for pair in cells for cell in pair)))
    heads = (head for name in names for head in (f"{_DATA[name]}: /s", "bytes"))
    note = "gzip: libdeflate, what --gzip-level chooses. Bytes: of a chunk."
    return Table("Levels of gzip, chunks/s of one core", ("", *heads), rows, note)


def conversion(results: Results) -> Table:
    """Whole shard files."""
    return _compared(results, "conversion", "Conversion of a whole shard file")


def downsample(results: Results) -> Table:
    """The next scale."""
    return _compared(results, "downsample", "Downsampling one scale, .shard to .shard")


def memory(results: Results) -> Table:
    """Speed and peak memory against size."""
    rows: list[tuple[str, ...]] = []
    for on in dict.fromkeys(m.on for m in results.of("memory")):
        ways = (bench.OURS, bench.TENSORSTORE, bench.TENSORSTORE_WHOLE)
        found = [results.find("memory", on, who) for who in ways]
        first = next(filter(None, found))
        size = f"{first.facts['arrow_bytes'] / 1e6:,.0f}"
        cells = (cell for m in found for cell in (_rate(m), _peak(m)))
        reads = f"{first.facts.get('reads', 0):,.0f}"
        rows.append((f"{first.amount:,.0f}", size, reads, *cells))
    columns = ("chunks", "Arrow MB", "reads", "ours /s", "MiB", "TS /s", "MiB", "1 tx /s", "MiB")
    note = (
        "Reads: ours, of a local file. TS: TensorStore in transactions of "
        f"{bench.TRANSACTION} chunks; 1 tx: in one. -: not tried, it needs many GiB or minutes."
    )
    return Table("Peak memory and chunks/s by size of the shard", columns, rows, note)


def network(results: Results) -> Table:
    """Workers beside storage that is far away."""
    rows: list[tuple[str, ...]] = []
    for on in dict.fromkeys(m.on for m in results.of("network")):
        kind, size = on.split(", ")
        rows.append((f"{kind}, {int(size):,} chunks a shard", "", "", "", ""))
        for m in results.of("network", on):
            asked = f"{_besides(m):,.1f}" if m.who.startswith(OURS) else "-"
            rows.append((m.who, f"{m.facts['share']:.0%}", _rate(m), asked, _peak(m)))
    columns = ("", "core at work", "chunks/s", "requests", "MiB")
    note = "Requests: of a shard besides its data. MiB: worker and executors together."
    return Table("One core, storage far away", columns, rows, note)


def requests(results: Results) -> Table:
    """Requests of a shard by kind, at the longest distance measured for each size."""
    last = {m.on: m for m in results.of("network") if m.who.startswith(OURS)}
    known = [kind for kind, _ in KINDS]
    kinds = sorted({k for m in last.values() for k in m.facts} & set(known), key=known.index)
    rows = [
        (
            f"{kind} (data)" if kind in DATA_KINDS else kind,
            *(_count(m, kind) for m in last.values()),
        )
        for kind in kinds
    ]
    columns = ("requests of a shard", *(on.replace("downsample", "down") for on in last))
    return Table("Requests of a shard by kind", columns, rows)


MAKERS: dict[str, Callable[[Results], Table]] = {
    "kernels": kernels,
    "conversion": conversion,
    "memory": memory,
    "downsample": downsample,
    "votes": votes,
    "levels": levels,
    "network": network,
    "requests": requests,
}


def summary(results: Results) -> Table:
    """Summary for the README: chunks/s and peak memory, shardlift first."""
    ways = (bench.OURS, bench.TENSORSTORE, bench.IGNEOUS)
    rows: list[tuple[str, ...]] = []
    for table, what in (("conversion", "convert"), ("downsample", "downsample")):
        for on in (bench.REAL, bench.USUAL):
            found = [results.find(table, on, who) for who in ways]
            if first := next(filter(None, found), None):
                label = f"{what}, {_DATA[on]}, {first.amount:,.0f} chunks"
                rows.append((label, *map(_both, found)))
    for largest in [m for m in results.of("memory") if m.on != bench.HEAVY][-1:]:
        found = [results.find("memory", largest.on, who) for who in ways]
        label = f"convert, {_DATA[bench.USUAL]}, {largest.amount:,.0f} chunks"
        rows.append((label, *map(_both, found)))
    return Table("Summary", ("one core: chunks/s, peak memory", *ways), rows)


def _compared(results: Results, table: str, title: str) -> Table:
    rows: list[tuple[str, ...]] = []
    for on in dict.fromkeys(m.on for m in results.of(table)):
        ours, found = results.find(table, on, bench.OURS), results.of(table, on)
        rows.append((f"{_DATA.get(on, on)}, {found[0].amount:,.0f} chunks", "", "", "", ""))
        rows += [(m.who, _rate(m), _peak(m), _written(m), _ratio(ours, m)) for m in found]
    columns = ("", "chunks/s", "peak MiB", "MB written", "ours / this")
    return Table(title, columns, rows, "Ours: one thread.")


def _besides(measured: Result) -> float:
    """Requests of a shard that carry no data."""
    known = {kind for kind, _ in KINDS} - set(DATA_KINDS)
    return sum(count for kind, count in measured.facts.items() if kind in known)


def _count(measured: Result, kind: str) -> str:
    count = measured.facts.get(kind)
    return "-" if count is None else f"{count:,.1f}"


def _ratio(ours: Result | None, other: Result) -> str:
    """Speed of shardlift relative to another way; a fraction where it is slower."""
    if ours is None:
        return "-"
    ratio = ours.rate / other.rate
    return f"{ratio:.1f}" if ratio >= _AS_FAST else f"1/{1 / ratio:.2f}"


def _both(measured: Result | None) -> str:
    return "-" if measured is None else f"{_rate(measured)}/s, {_peak(measured)} MiB"


def _written(measured: Result) -> str:
    written = measured.facts.get("output_bytes")
    return "-" if written is None else f"{written / 1e6:,.1f}"


def _is_heading(row: tuple[str, ...]) -> bool:
    return not any(row[1:])


def _marked(row: tuple[str, ...]) -> tuple[str, ...]:
    return (f"**{row[0]}**", *row[1:]) if _is_heading(row) else row


def _rate(measured: Result | None) -> str:
    return "-" if measured is None else f"{measured.rate:,.0f}"


def _peak(measured: Result | None) -> str:
    if measured is None or math.isnan(measured.peak_mib):
        return "-"
    return f"{measured.peak_mib:,.0f}"


def _facts(found: list[Result | None], name: str) -> list[str]:
    return ["-" if m is None else f"{m.facts[name]:,.0f}" for m in found]
