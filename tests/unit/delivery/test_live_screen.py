"""Screens that Ctrl-C finds half drawn are finished first."""

import io
import signal
from collections.abc import Iterator

import pytest
from rich.console import Console

from delivery.live_screen import LiveScreen


class _Interrupted(io.StringIO):
    """A terminal on which a signal comes as soon as `seen` is written, before it is flushed.

    Args:
        number: the signal.
        seen: the text.
    """

    def __init__(self, number: int, seen: str) -> None:
        super().__init__()
        self.number = number
        self.seen = seen
        self.came = False

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.seen in text and not self.came:
            self.came = True
            signal.raise_signal(self.number)
        return written


@pytest.fixture
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """As commands handle it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_sigterm_as_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_drawn_once(number: int) -> None:
    """What was written is not written again below it; the signal still ends the block."""
    terminal = _Interrupted(number, "second")
    console = Console(file=terminal, force_terminal=True, width=40)
    live = LiveScreen("first", console=console, auto_refresh=False)
    with live, pytest.raises(KeyboardInterrupt):
        live.update("second\nline", refresh=True)
    # Once at the signal, and once when the screen ends, over the lines of the first.
    first, last = terminal.getvalue().split("second\nline")[:2]
    assert terminal.getvalue().count("second") == 2
    assert last == "\r\x1b[2K\x1b[1A\x1b[2K", first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_handlers_stay(number: int) -> None:
    """After a screen signals are handled as before."""
    before = signal.getsignal(number)
    console = Console(file=io.StringIO(), force_terminal=True)
    with LiveScreen("first", console=console, auto_refresh=False):
        pass
    assert signal.getsignal(number) is before
