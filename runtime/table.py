"""Tables of aligned columns, the one place that lays texts out for a terminal or a pipe."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table  # noqa: TID251 - the one place that makes tables

from runtime.text import printable, table_width


def format_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: int = 1,
    width: int | None = None,
) -> str:
    """Lay out a table; cells are escaped, never read as markup, and in a pipe never folded.

    Args:
        headers: of the columns; where all are empty, no line is spent on them.
        rows: texts of the fields.
        left: number of left-aligned columns; the others are right-aligned.
        width: columns of the whole on a terminal; None: the terminal's.
    """
    grid = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(headers) or not headers
    )
    for number, header in enumerate(headers):
        justify: JustifyMethod = "left" if number < left else "right"
        grid.add_column(printable(header), justify=justify, overflow="fold")
    for row in rows:
        grid.add_row(*map(printable, row))
    out = io.StringIO()
    Console(file=out, width=table_width(width), highlight=False, markup=False, emoji=False).print(
        grid
    )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
