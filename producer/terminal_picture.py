"""Pictures on terminals: by the graphics of kitty and iTerm2, else in coloured half blocks.

Nothing is shown in pipes and files, on a dumb terminal, with NO_COLOR, or where colours are few.
"""

import base64
import os
import shutil
from collections.abc import Mapping
from enum import Enum
from typing import Final, TextIO

import numpy as np

from producer.png import Pixels, encode_png

_MOST_COLUMNS: Final = 60
_MOST_ROWS: Final = 20
_UPPER_HALF: Final = "▀"
_RESET: Final = "\x1b[0m"
_PIECE: Final = 4096  # characters of one kitty escape
_MARGIN: Final = 2  # columns that stay free, so that no line wraps
_ROWS_LEFT: Final = 4  # for what stands around the picture


class Graphics(Enum):
    """How a terminal shows pictures."""

    NONE = "none"
    BLOCKS = "half blocks"
    KITTY = "kitty"
    ITERM = "iterm"


def graphics(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Graphics:
    """How the terminal behind a stream shows pictures.

    Args:
        stream: that is printed to.
        environment: variables by which terminals name themselves.
    """
    term = environment.get("TERM", "")
    if not stream.isatty() or term in {"", "dumb"} or environment.get("NO_COLOR"):
        return Graphics.NONE
    if "TMUX" not in environment and "STY" not in environment:  # these pass no graphics on
        program = environment.get("TERM_PROGRAM", "")
        if "KITTY_WINDOW_ID" in environment or "kitty" in term or "ghostty" in f"{term} {program}":
            return Graphics.KITTY
        if program in {"iTerm.app", "WezTerm"} or environment.get("LC_TERMINAL") == "iTerm2":
            return Graphics.ITERM
    if environment.get("COLORTERM") in {"truecolor", "24bit"}:
        encoding = (stream.encoding or "").lower().replace("-", "")
        return Graphics.BLOCKS if encoding == "utf8" else Graphics.NONE
    return Graphics.NONE


def show_picture(pixels: Pixels, stream: TextIO) -> bool:
    """Show a picture, if the terminal can; whether it was shown."""
    kind = graphics(stream)
    if kind is Graphics.NONE:
        return False
    size = shutil.get_terminal_size()
    stream.write(picture_text(pixels, kind, size.columns, size.lines))
    stream.flush()
    return True


def picture_text(pixels: Pixels, kind: Graphics, columns: int, lines: int) -> str:
    """What a terminal of this size is sent to show a picture."""
    width, height = _fit(pixels, columns, lines)
    if kind is Graphics.NONE:
        return ""
    if kind is Graphics.BLOCKS:
        return _blocks(_resized(pixels, width, height * 2))
    data = base64.b64encode(encode_png(pixels)).decode()
    if kind is Graphics.ITERM:
        place = f"inline=1;width={width};height={height};preserveAspectRatio=1"
        return f"\x1b]1337;File={place}:{data}\x07\n"
    pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
    more = [f"m={int(number < len(pieces))}" for number in range(1, len(pieces) + 1)]
    more[0] = f"a=T,f=100,q=2,c={width},r={height},{more[0]}"
    shown = "".join(
        f"\x1b_G{control};{piece}\x1b\\" for control, piece in zip(more, pieces, strict=True)
    )
    return f"{shown}\n"


def _fit(pixels: Pixels, columns: int, lines: int) -> tuple[int, int]:
    """Columns and lines of the picture; a character is about twice as high as wide."""
    height, width, _ = pixels.shape
    most_columns = max(1, min(_MOST_COLUMNS, columns - _MARGIN))
    most_rows = max(1, min(_MOST_ROWS, lines - _ROWS_LEFT))
    scale = min(most_columns / width, most_rows * 2 / height)
    return max(1, round(width * scale)), max(1, round(height * scale / 2))


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """The nearest pixels, which are colours of segments and not mixtures of them."""
    old_height, old_width, _ = pixels.shape
    rows = (np.arange(height) * 2 + 1) * old_height // (height * 2)
    columns = (np.arange(width) * 2 + 1) * old_width // (width * 2)
    found: Pixels = pixels[rows][:, columns]
    return found


def _blocks(pixels: Pixels) -> str:
    """Two pixels a character: the upper one in front, the lower one behind."""
    lines = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        parts, last = [], None
        for above, below in zip(upper, lower, strict=True):
            if (above, below) != last:
                parts.append("\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*above, *below))
                last = (above, below)
            parts.append(_UPPER_HALF)
        lines.append("".join(parts) + _RESET)
    return "\n".join(lines) + "\n"
