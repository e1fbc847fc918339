"""Requests that a server saw, by what they are for."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

KINDS: Final[tuple[tuple[str, str], ...]] = (
    ("ledger list", r"GET .*/b/state/o\?"),
    ("ledger read", r"GET .*/b/state/o/.*alt=media"),
    ("ledger look", r"GET .*/b/state/o/"),
    ("ledger write", r"POST .*/b/state/"),
    ("ledger delete", r"DELETE .*/b/state/"),
    ("index read", r"GET .*/b/source/o/[^?]*\.csv\?"),
    ("source read", r"GET .*/b/source/o/.*alt=media"),
    ("source look", r"GET .*/b/source/"),
    ("shard list", r"GET .*/b/volume/o\?"),
    ("shard read", r"GET .*/b/volume/o/.*alt=media"),
    ("shard look", r"GET .*/b/volume/o/"),
    ("upload at once", r"POST .*/b/volume/o\?.*uploadType=multipart"),
    ("upload start", r"POST .*/b/volume/o\?.*uploadType=resumable"),
    ("upload part", r"PUT .*/b/volume/"),
    ("compose", r"POST .*/b/volume/o/.*/compose"),
    ("shard delete", r"DELETE .*/b/volume/"),
)
"""Requests by kind: the first match names it."""

DATA_KINDS: Final = ("source read", "shard read", "upload part", "upload at once")
"""What carries the data; the other requests are what a shard costs besides."""


def by_kind(seen: Sequence[str], shards: int) -> dict[str, float]:
    """Requests per shard of each kind."""
    counted = Counter(_kind(line) for line in seen)
    return {kind: count / shards for kind, count in counted.items()}


def _kind(line: str) -> str:
    return next((kind for kind, pattern in KINDS if re.match(pattern, line)), line)
