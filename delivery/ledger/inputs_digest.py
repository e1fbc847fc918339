"""Digest of what a dependent is made from; changes with any remake of an input."""

import hashlib
import json
from collections.abc import Iterable

from delivery.ledger.receipts import ReceiptSummary


def inputs_digest(redo: int, input_receipts: Iterable[ReceiptSummary]) -> str:
    """Digest of a dependent's redo and inputs; changes with any remake of an input.

    A publish marker holds it, so that an old marker never suppresses a publication that is due.
    """
    made = [(r.key, r.redo, r.content, r.finished.isoformat()) for r in input_receipts]
    text = json.dumps([redo, sorted(made)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
