"""Amounts as people read them: bytes, seconds, whole numbers; what is unknown is said to be."""

from typing import Final

UNKNOWN: Final = "unknown"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_KIB: Final = 1024
_SMALL: Final = 10  # numbers below get one decimal


def size(count: float | None) -> str:
    """Format bytes: `1.5 GiB`."""
    if count is None:
        return UNKNOWN
    value, unit = float(count), 0
    while value >= _KIB and unit < len(_UNITS) - 1:
        value, unit = value / _KIB, unit + 1
    return (
        f"{value:.1f} {_UNITS[unit]}" if unit and value < _SMALL else f"{value:.0f} {_UNITS[unit]}"
    )


def duration(seconds: float | None) -> str:
    """Format seconds: `2 h 05 min`."""
    if seconds is None:
        return UNKNOWN
    if seconds < _SMALL:
        return f"{seconds:.1f} s"
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{int(seconds // _MINUTE_S)} min {int(seconds % _MINUTE_S):02} s"
    if seconds < _DAY_S:
        return f"{int(seconds // _HOUR_S)} h {int(seconds % _HOUR_S // _MINUTE_S):02} min"
    return f"{int(seconds // _DAY_S)} d {int(seconds % _DAY_S // _HOUR_S):02} h"


def count(number: float | None) -> str:
    """Format a whole number with thousands separators; None is `unknown`, never zero."""
    return UNKNOWN if number is None else f"{round(number):,}"
