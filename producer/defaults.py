"""Defaults of options, which help pages name and Python code shares; imports nothing."""

from typing import Final

READERS: Final = 32  # files of an export read at a time
POINTS: Final = 1000  # voxels compared with a DVID server
PICTURE_PIXELS: Final = 1024  # of an edge
