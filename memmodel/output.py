"""Output of the commands: tables and JSON on stdout."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from memmodel.coefficients import Coefficients
from memmodel.estimate import Estimate, Work, sizes
from memmodel.fit import FitResult
from memmodel.labels import LabelSummary
from memmodel.tiers import MIB
from runtime.text import counted, table_width


def print_document(value: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2))  # noqa: T201 (a command's result)


def print_terms(work: Work, needed: Estimate, factors: Coefficients) -> None:
    """Print every term as size, coefficient and product."""
    table = _table(f"{work.kind}, {work.code_path} path", "size", "coefficient", "MiB")
    for name, size in sizes(work).items():
        product = needed.terms[name] / MIB
        table.add_row(name, f"{size / MIB:.1f}", f"{factors[name]:.2f}", f"{product:.1f}")
    table.add_row("total", "", "", f"{needed.total_bytes / MIB:.1f}")
    _console().print(table)


def print_labels(found: LabelSummary) -> None:
    """Print the label summary of a target scale."""
    mean = found.labels / found.chunks
    spread = f"median {found.median:.1f}, 90 % below {found.ninth:.1f}, most {found.most:.1f}"
    shards = f"{counted(found.shards, 'shard')}, {found.known:,} with all inputs done"
    rows = {
        "inputs done": f"{counted(found.inputs, 'shard')}, {counted(found.chunks, 'chunk')}",
        "labels per chunk": f"{mean:.1f} on average",
        "  by shard": spread,
        "  densest": ", ".join(f"{key} ({value:.1f})" for key, value in found.densest),
        f"scale {found.scale}": shards,
        "  labels per chunk ": f"at most {found.expected:.1f} on average",
        "  tiers": ", ".join(f"{tier}: {count}" for tier, count in sorted(found.tiers.items())),
        "  largest estimate": f"{found.largest_bytes / MIB:.0f} MiB",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, value)
    _console().print(table)


def print_residuals(found: FitResult) -> None:
    """Print estimate / measured per tier, before and after; below 1 is too little."""
    table = _table("estimate / measured", "shards", "peak MiB", "least", "mean", "most")
    for when, rows in (("before", found.before), ("fitted", found.after)):
        for row in rows:
            ratios = (f"{value:.2f}" for value in (row.least, row.mean, row.most))
            peak = f"{row.peak_bytes / MIB:.0f}"
            table.add_row(f"{when}, {row.tier}", str(row.shards), peak, *ratios)
    _console().print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _console() -> Console:
    return Console(width=table_width(), soft_wrap=True, highlight=False)
