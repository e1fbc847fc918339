"""Counts and times of a pipeline's steps, which threads keep apart and add up at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self


@dataclass
class StepStats:
    """What has been done so far; times are summed over threads. Each pipeline adds its own."""

    chunks: int = 0
    labels: int = 0  # distinct ones, summed over the chunks made
    gzip_s: float = 0.0

    def add(self, other: Self) -> None:
        """Take in another tally of the same kind."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the time spent inside to one of the times."""
        began = time.perf_counter()
        yield
        setattr(self, name, getattr(self, name) + time.perf_counter() - began)


@dataclass
class TranscodeStats(StepStats):
    """What transcoding has done so far."""

    decompress_s: float = 0.0
    transcode_s: float = 0.0
