"""Memory coefficients: a factor for each term of the estimate, measured by `memmodel fit`.

A term is a size in bytes that follows from the code and the shard; its factor is how much of the
process that size stands for (copies, buffers, an allocator's waste). A file made by `fit` replaces
the defaults wherever MEMORY_COEFFICIENTS names it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from runtime import settings
from runtime.errors import ObjectNotFound, UsageError
from runtime.storage import open_storage
from runtime.urls import is_remote

DEFAULTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "base": 1.0,
        "source": 1.0,
        "fetching": 1.0,
        "rows": 1.0,
        "blocks": 2.0,
        "windows": 1.5,
        "cells": 2.2,
        "labels": 1.0,
        "index": 1.0,
        "pieces": 1.0,
        "voxels": 1.3,
        "tensorstore": 1.0,
    }
)
_SCHEMA: Final = 1


@dataclass(frozen=True)
class Coefficients:
    """A factor per term; terms that are not named have their default."""

    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.values) - set(DEFAULTS))
        if unknown:
            raise UsageError(f"memory coefficients name unknown terms: {', '.join(unknown)}")
        for name, value in self.values.items():
            if not math.isfinite(value) or value < 0:
                raise UsageError(f"memory coefficient {name} is {value}; it must not be negative")

    def __getitem__(self, term: str) -> float:
        return self.values.get(term, DEFAULTS[term])

    def dump(self, about: Mapping[str, Any]) -> bytes:
        """Render the file; `about` has the origin of the values."""
        values = {name: round(self[name], 4) for name in DEFAULTS}
        document = {"schema": _SCHEMA, "coefficients": values, **about}
        return json.dumps(document, indent=2).encode() + b"\n"


def parse(data: bytes, name: str) -> Coefficients:
    """Parse a file that `dump` rendered.

    Raises:
        UsageError: it is another kind of file.
    """
    try:
        document = json.loads(data)
        schema, values = document["schema"], document["coefficients"]
        if schema != _SCHEMA:
            raise UsageError(f"{name}: schema {schema} is not {_SCHEMA}; fit again")
        return Coefficients({str(name): float(value) for name, value in values.items()})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(
            f"{name} holds no memory coefficients", hint="`python -m memmodel fit` writes them"
        ) from None


def load(url: str) -> Coefficients:
    """Read a coefficients file, local or on GCS.

    Raises:
        UsageError: it does not exist, or is another kind of file.
    """
    folder, name = str(PurePosixPath(url).parent), PurePosixPath(url).name
    if is_remote(url):
        folder = url[: -len(name) - 1]
    try:
        return parse(open_storage(folder).read(name), url)
    except ObjectNotFound:
        raise UsageError(f"{url}: no such file of memory coefficients") from None


def current() -> Coefficients:
    """Coefficients of the file in MEMORY_COEFFICIENTS, else the defaults."""
    url = settings.memory_coefficients()
    return Coefficients() if url is None else _load_once(url)


@lru_cache(maxsize=8)
def _load_once(url: str) -> Coefficients:
    return load(url)
