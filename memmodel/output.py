"""Output of the commands: tables and JSON on stdout."""

from memmodel.coefficients import Coefficients
from memmodel.estimate import Estimate, Work, sizes
from memmodel.fit import FitResult
from memmodel.labels import LabelSummary
from memmodel.tiers import MIB
from runtime.cli import print_lines
from runtime.table import format_table
from runtime.text import counted


def print_terms(work: Work, needed: Estimate, factors: Coefficients) -> None:
    """Print every term as size, coefficient and product."""
    headers = (f"{work.kind}, {work.code_path} path", "size", "coefficient", "MiB")
    rows = [
        (
            name,
            f"{size / MIB:.1f}",
            f"{factors[name]:.2f}",
            f"{needed.terms[name] / MIB:.1f}",
        )
        for name, size in sizes(work).items()
    ]
    total = ("total", "", "", f"{needed.total_bytes / MIB:.1f}")
    print_lines(format_table(headers, [*rows, total]))


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
    print_lines(format_table(("", ""), rows.items(), left=2))


def print_residuals(found: FitResult) -> None:
    """Print estimate / measured per tier, before and after; below 1 is too little."""
    headers = ("estimate / measured", "shards", "peak MiB", "least", "mean", "most")
    table = [
        (
            f"{when}, {row.tier}",
            str(row.shards),
            f"{row.peak_bytes / MIB:.0f}",
            *(f"{value:.2f}" for value in (row.least, row.mean, row.most)),
        )
        for when, rows in (("before", found.before), ("fitted", found.after))
        for row in rows
    ]
    print_lines(format_table(headers, table))
