"""Note on the last trouble of an unfinished run, which no failure record tells."""

from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus
from delivery.ledger.trouble import Trouble, read_trouble
from runtime.interpreter import as_typed


def last_trouble(run: Run, status: RunStatus) -> Trouble | None:
    """What last kept a worker from a shard; None once the run ended or a shard was made since."""
    if status.ended:
        return None
    trouble = read_trouble(run.storage)
    made = max((receipt.finished for receipt in status.receipts.values()), default=None)
    if trouble is None or (made is not None and made > trouble.at):
        return None
    return trouble


def describe(trouble: Trouble) -> str:
    """The note, in one line."""
    at = f"{trouble.at:%Y-%m-%d %H:%M:%S} UTC"
    reason = as_typed(trouble.reason)
    return f"last trouble, at {at}, worker {trouble.worker}: {trouble.key}: {reason}"
