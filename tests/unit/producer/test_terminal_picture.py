"""Pictures on terminals: which graphics, and what is sent."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from producer.png import Pixels
from producer.terminal_picture import Graphics, graphics, picture_text, show_picture


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture
def picture() -> Pixels:
    """200 x 100 pixels, red above, noise below."""
    pixels = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    pixels[:50] = (255, 0, 0)
    return pixels


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"TERM": "xterm-kitty"}, Graphics.KITTY),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, Graphics.KITTY),
        ({"TERM": "xterm-ghostty"}, Graphics.KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, Graphics.KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, Graphics.ITERM),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, Graphics.ITERM),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, Graphics.BLOCKS),
        ({"TERM": "xterm-kitty", "TMUX": "x", "COLORTERM": "truecolor"}, Graphics.BLOCKS),
        ({"TERM": "xterm-256color"}, Graphics.NONE),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, Graphics.NONE),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, Graphics.NONE),
        ({"COLORTERM": "truecolor"}, Graphics.NONE),
    ],
)
def test_terminals_name_themselves(environment: dict[str, str], kind: Graphics) -> None:
    """By their variables; a pipe gets nothing, whatever they say."""
    assert graphics(Terminal(), environment) is kind
    assert graphics(io.StringIO(), environment) is Graphics.NONE


def test_half_blocks(picture: Pixels) -> None:
    """Two pixels a character, within the terminal; every line ends its colours."""
    lines = picture_text(picture, Graphics.BLOCKS, 80, 24).splitlines()
    assert len(lines) == 15
    for line in lines:
        assert line.endswith("\x1b[0m")
        assert len(re.sub(r"\x1b\[[\d;]*m", "", line)) == 60
    assert lines[0] == "\x1b[38;2;255;0;0;48;2;255;0;0m" + "▀" * 60 + "\x1b[0m"
    narrow = picture_text(picture, Graphics.BLOCKS, 40, 10).splitlines()
    assert len(narrow) == 6
    assert len(re.sub(r"\x1b\[[\d;]*m", "", narrow[0])) == 24


def test_kitty_gets_the_png_in_pieces(picture: Pixels) -> None:
    """Each of at most 4,096 characters; all but the last say that more comes."""
    sent = picture_text(picture, Graphics.KITTY, 80, 24)
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sent)
    assert pieces[0][0].startswith("a=T,f=100,")
    assert [control[-3:] for control, _ in pieces] == ["m=1"] * (len(pieces) - 1) + ["m=0"]
    assert max(len(data) for _, data in pieces) == 4096
    image = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in pieces))))
    assert np.array_equal(np.asarray(image.convert("RGB")), picture)


def test_iterm_gets_the_png_at_once(picture: Pixels) -> None:
    """With its size in characters."""
    sent = picture_text(picture, Graphics.ITERM, 80, 24)
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;width=60;height=15;[^:]*:(.*)\x07\n", sent)
    assert found
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert np.array_equal(np.asarray(image.convert("RGB")), picture)


def test_shown_or_not(picture: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written where nothing can be shown."""
    for name in ("NO_COLOR", "TMUX", "STY", "TERM_PROGRAM", "KITTY_WINDOW_ID", "LC_TERMINAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    terminal, pipe = Terminal(), io.StringIO()
    assert show_picture(picture, terminal)
    assert not show_picture(picture, pipe)
    assert "▀" in terminal.getvalue()
    assert pipe.getvalue() == ""
