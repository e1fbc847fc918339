"""`status --watch`: a live screen of a run, or plain lines where there is no terminal."""

import time

from rich.console import Console
from rich.text import Text

from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.live_screen import LiveScreen
from delivery.progress_display import FREE_COLUMNS, LINE_S, draw
from delivery.progress_text import plain_line
from producer.coverage import coverage_maps
from producer.coverage_text import coverage_text
from producer.status_look import StatusLook, look_at
from producer.status_text import details, headline, status_text
from producer.worker_pools import PoolLooks
from runtime import cli
from runtime.text import printable_lines

_WATCH_S = 2.0
_LEAST_LINES = 4  # of the map
_BEGINNING = "waiting for workers"


def watch(run: Run, broker: Broker | None, why: str) -> None:
    """Show a run until it has ended.

    Args:
        run: the run.
        broker: its queues; None where they cannot be reached.
        why: so, if not.
    """
    console = Console()
    if console.is_terminal and not console.is_dumb_terminal:
        _watch_live(run, broker, why, console)
    else:
        _watch_lines(run, broker, why, console)


def _watch_live(run: Run, broker: Broker | None, why: str, console: Console) -> None:
    pools = PoolLooks(run)
    with LiveScreen(console=console, auto_refresh=False) as live:
        while True:
            look = look_at(run, broker, why, pools)
            live.update(_screen(run, look, console), refresh=True)
            if look.progress.ended or run.cancelled():
                return
            time.sleep(_WATCH_S)


def _watch_lines(run: Run, broker: Broker | None, why: str, console: Console) -> None:
    """A line every few seconds, and at the end what `status` prints.

    A terminal that moves no cursor has the map too, in letters: first, and at the end.
    """
    pools, last, next_s = PoolLooks(run), "", 0.0
    while True:
        look = look_at(run, broker, why, pools)
        ended = look.progress.ended or bool(run.cancelled())
        if console.is_terminal and (ended or not last):
            cli.print_lines(f"{_map(run, look, console, console.height, colours=False).plain}\n")
        if ended:
            cli.print_lines(status_text(run, look))
            return
        line = plain_line(look.progress, beginning=_BEGINNING)
        if line != last and time.monotonic() >= next_s:
            cli.print_line(line)
            last, next_s = line, time.monotonic() + LINE_S
        time.sleep(_WATCH_S)


def _screen(run: Run, look: StatusLook, console: Console) -> Text:
    """The run in a line, its bars, its map, and what else `status` prints."""
    colours = console.color_system is not None and not console.no_color
    plain = console.options.ascii_only
    width = console.width
    title = headline(run, look.ledger, look.progress)
    if not look.progress.ended and not run.cancelled():
        title = f"run {run.run_id}"  # the numbers follow
    parts = [
        Text(printable_lines(title)),
        draw(look.progress, width, beginning=_BEGINNING, plain=plain),
        _map(
            run,
            look,
            console,
            max(console.height // 3, _LEAST_LINES),
            colours=colours and not plain,
        ),
        *(Text(printable_lines(part)) for part in details(run, look)),
    ]
    return Text("\n\n").join(part for part in parts if part)


def _map(run: Run, look: StatusLook, console: Console, lines: int, *, colours: bool) -> Text:
    """The coverage maps in so many lines."""
    maps = coverage_maps(run, look.ledger)
    return coverage_text(maps, console.width - FREE_COLUMNS, lines, colours=colours)
