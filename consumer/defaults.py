"""Limits of options, which help pages name; imports no module."""

from typing import Final

MOST_SLOTS: Final = 256  # of a worker
