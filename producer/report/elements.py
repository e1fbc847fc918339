"""Elements of the report: sections, tables, lists of words; every text is escaped.

Reasons and paths are untrusted.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runtime.text import printable

_LONG = 28  # characters; longer cells are folded, shorter ones never


@dataclass(frozen=True)
class Advised:
    """Cell of a text, and of the command that comes next.

    Attributes:
        text: of any length.
        command: to be copied.
    """

    text: str
    command: str


Cell = str | Advised


def section(title: str, body: str, *, name: str = "") -> str:
    """Section with a heading; `name` is where links lead to."""
    own = f' id="{name}"' if name else ""
    return f"<section{own}><h2>{escaped(title)}</h2>{body}</section>"


def table(
    caption: str, headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, kind: str = ""
) -> str:
    """HTML table in a region that scrolls by itself, also by keyboard.

    Texts are escaped, because reasons and paths are untrusted. A row's first cell names it.
    """
    head = "".join(f'<th scope="col">{escaped(header)}</th>' for header in headers)
    body = "".join(
        f'<tr><th scope="row">{escaped(str(first))}</th>{"".join(map(_cell, rest))}</tr>'
        for first, *rest in rows
    )
    shown = f"<thead><tr>{head}</tr></thead>" if headers else ""
    own = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll" role="region" aria-label="{escaped(caption)}" tabindex="0">'
        f"<table{own}><caption>{escaped(caption)}</caption>{shown}<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Cell) -> str:
    if isinstance(value, Advised):
        return f'<td class="long">{escaped(value.text)}<code>{escaped(value.command)}</code></td>'
    own = ' class="long"' if len(value) > _LONG else ""
    return f"<td{own}>{escaped(value)}</td>"


def words(meanings: Mapping[str, str], colours: Mapping[str, str] | None = None) -> str:
    """What words mean, each with its colour in the chart where it has one."""
    chips = {word: f'<i style="background:{c}"></i>' for word, c in (colours or {}).items()}
    shown = "".join(
        f"<div>{chips.get(word, '')}<dt>{escaped(word)}</dt><dd>{escaped(meaning)}</dd></div>"
        for word, meaning in meanings.items()
    )
    return f'<dl class="words">{shown}</dl>'


def colour_key(pairs: Iterable[tuple[str, str]]) -> str:
    """Names of colours, given as (name, colour)."""
    shown = "".join(f'<span><i style="background:{c}"></i>{escaped(n)}</span>' for n, c in pairs)
    return f'<p class="key">{shown}</p>'


def escaped(text: str) -> str:
    """Foreign text, safe in HTML."""
    return html.escape(printable(text))
