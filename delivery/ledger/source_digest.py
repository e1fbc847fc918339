"""Digest of the source files of a shard: what its receipt holds it to."""

import hashlib
import json
from collections.abc import Mapping


def source_digest(stamps: Mapping[str, str]) -> str:
    """Digest of the stamps of a shard's source files, Arrow and CSV, by path.

    It changes with any file that comes, goes or changes, and only then.
    """
    text = json.dumps(sorted(stamps.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
