"""Counts and times of a pipeline's steps: each thread has its own, summed at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self


@dataclass
class StepStats:
    """Counts and times that all pipelines share; times are summed over threads."""

    chunks: int = 0
    labels: int = 0  # distinct ones, summed over the chunks made
    gzip_s: float = 0.0

    def add(self, other: Self) -> None:
        """Add every field of another of the same class."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the time spent inside to one of the times."""
        began = time.perf_counter()
        yield
        setattr(self, name, getattr(self, name) + time.perf_counter() - began)
