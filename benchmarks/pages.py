"""Generated parts of the documentation, between `<!-- bench:NAME -->` and `<!-- /bench -->`."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import tables
from benchmarks.results import Results

# Part of an earlier run: up to the nearest end marker, never across another part.
_FILLED = r"(\n((?!<!-- bench:).)*?<!-- /bench -->)?"


def write_pages(results: Results, performance: Path, readme: Path) -> None:
    """Replace the generated parts for which there are measurements."""
    blocks = {"machine": _machine(results)}
    for name, make in tables.MAKERS.items():
        table = make(results)
        if table.rows:
            blocks[name] = table.markdown()
    fill(performance, blocks)
    short = tables.summary(results)
    if short.rows:
        fill(readme, {"readme": f"{short.markdown()}\n\n{_short_machine(results)}"})


def write_parts(results: Results, performance: Path, names: Sequence[str]) -> None:
    """Replace these tables alone; the first says where and when they were measured."""
    blocks = {name: tables.MAKERS[name](results).markdown() for name in names}
    where = f"Measured alone on {results.date}: {_listed(results.machine)}."
    blocks[names[0]] = f"{blocks[names[0]]}\n\n{where}"
    fill(performance, blocks)


def fill(page: Path, blocks: dict[str, str]) -> None:
    """Write text between a page's markers; a marker without an end gets one."""
    text = page.read_text()
    for name, block in blocks.items():
        marker = f"<!-- bench:{name} -->"
        part = re.search(re.escape(marker) + _FILLED, text, re.DOTALL)
        if part:
            filled = f"{marker}\n{block}\n<!-- /bench -->"
            text = text[: part.start()] + filled + text[part.end() :]
    page.write_text(text)


def _machine(results: Results) -> str:
    small = "; small data (`--quick`), only a first look" if results.settings["quick"] else ""
    lines = [
        f"- **Date:** {results.date}; medians of {results.settings['runs']} or more runs{small}",
        f"- **Machine:** {_listed(results.machine)}",
        f"- **Versions:** {_listed(results.versions)}",
    ]
    lines += [f"- **Not measured:** {line}" for line in results.missing]
    return "\n".join(lines)


def _short_machine(results: Results) -> str:
    return (
        f"{results.date}, {results.machine['CPU']}, one core; TensorStore "
        f"{results.versions.get('tensorstore', '-')}, igneous "
        f"{results.versions.get('igneous-pipeline', '-')} in the same run. "
        "[All figures, and how they were taken](docs/performance.md)."
    )


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
