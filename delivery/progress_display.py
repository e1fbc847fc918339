"""Displays of progress: a live screen on a terminal, plain lines elsewhere.

The screen has a line for the whole run and a bar for each scale. It leaves the last columns free:
the `^C` that a terminal echoes would else wrap the last line, and a bar would stay twice.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from rich.console import Console
from rich.text import Text

from delivery.live_screen import LiveScreen
from delivery.progress import Progress
from delivery.progress_text import HEADERS, ScaleRow, plain_line, scale_row, total_parts, wrap
from delivery.scale_progress import ScaleProgress
from runtime.cli import print_stderr
from runtime.verbosity import is_quiet

LINE_S: Final = 5.0  # between two lines where there is no live screen
FREE_COLUMNS: Final = 6
_LEAST_WIDTH: Final = 20
_MOST_BAR: Final = 40
_LEAST_BAR: Final = 4
_GAP: Final = "  "
_MARKS: Final = ("━", "x", "─")  # done, dead, open: told apart without colours
_ASCII_MARKS: Final = ("#", "x", "-")
_STYLES: Final = ("green", "bold red", "dim")


class Display(Protocol):
    """Display of progress while a command waits."""

    def show(self, progress: Progress) -> None:
        """Show this progress."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class ScreenDisplay:
    """Live screen on a terminal.

    Args:
        console: the terminal.
        beginning: what happens until the first worker is heard of, such as `starting workers`.
    """

    def __init__(self, console: Console, beginning: str = "") -> None:
        self._console = console
        self._beginning = beginning
        first = Text(f"{beginning} ..." if beginning else "")
        self._live = LiveScreen(first, console=console, auto_refresh=False, redirect_stdout=False)

    def show(self, progress: Progress) -> None:
        """Draw the screen anew."""
        screen = draw(
            progress,
            self._console.width,
            beginning=self._beginning,
            plain=self._console.options.ascii_only,
        )
        self._live.update(screen, refresh=True)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()


class LineDisplay:
    """One line every few seconds, for logs and pipes; equal lines are not repeated.

    Args:
        beginning: as of a screen.
        clock: monotonic seconds.
    """

    def __init__(self, beginning: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._beginning = beginning
        self._clock = clock
        self._next_s = 0.0
        self._last = ""

    def show(self, progress: Progress) -> None:
        """Print the line, if it is due."""
        line = plain_line(progress, beginning=self._beginning)
        if line == self._last or (self._clock() < self._next_s and not progress.ended):
            return
        self._last, self._next_s = line, self._clock() + LINE_S
        print_stderr(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


def display(beginning: str = "") -> Display:
    """A live screen on a terminal, lines elsewhere, also on a terminal that moves no cursor."""
    return screen_or_none(beginning) or LineDisplay(beginning)


def screen_or_none(beginning: str = "") -> ScreenDisplay | None:
    """A live screen, if stderr is a terminal whose cursor can be moved."""
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal and not is_quiet():
        return ScreenDisplay(console, beginning)
    return None


def draw(progress: Progress, width: int, *, beginning: str = "", plain: bool = False) -> Text:
    """The screen as lines that leave the last columns free.

    Args:
        progress: of the run.
        width: of the terminal.
        beginning: what happens until the first worker is heard of.
        plain: ASCII alone.
    """
    width = max(width - FREE_COLUMNS, _LEAST_WIDTH)
    lines = [Text(line) for line in wrap(total_parts(progress, beginning=beginning), width)]
    lines += _scale_lines([scale for scale in progress.scales if scale.total], width, plain=plain)
    for line in lines:
        line.truncate(width)
    return Text("\n").join(lines)


def _scale_lines(scales: Sequence[ScaleProgress], width: int, *, plain: bool) -> list[Text]:
    """A header, and a line with a bar for each scale; columns without dead shards are left out."""
    rows = [scale_row(scale) for scale in scales]
    blocked, dead = any(one.blocked for one in scales), any(one.dead for one in scales)
    shown = len(HEADERS) if blocked else len(HEADERS) - 1 if dead else len(HEADERS) - 2
    widths = [max(len(row[at]) for row in (HEADERS, *rows)) for at in range(shown)]
    room = width - sum(widths) - len(_GAP) * shown
    room = min(room, _MOST_BAR) if room >= _LEAST_BAR else 0
    lines = [_line(HEADERS, widths, Text(" " * room), style="dim")]
    for scale, row in zip(scales, rows, strict=True):
        lines.append(_line(row, widths, _bar(scale, room, plain=plain)))
    return lines


def _line(row: ScaleRow, widths: Sequence[int], bar: Text, style: str = "") -> Text:
    name, *numbers = (
        text.rjust(width) if place else text.ljust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=False))
    )
    parts = [Text(name, style), *([bar] if bar else []), *(Text(one, style) for one in numbers)]
    return Text(_GAP).join(parts)


def _bar(scale: ScaleProgress, width: int, *, plain: bool) -> Text:
    """Done, dead and open shards as lengths; none that is there is shorter than a character."""
    lost = scale.dead + scale.blocked
    done = scale.done * width // scale.total
    if scale.left:
        dead = min(max(lost * width // scale.total, 1 if lost and width else 0), width - done)
    else:
        dead = width - done
    marks = _ASCII_MARKS if plain else _MARKS
    bar = Text()
    for mark, length, style in zip(marks, (done, dead, width - done - dead), _STYLES, strict=True):
        bar.append(mark * length, style)
    return bar
