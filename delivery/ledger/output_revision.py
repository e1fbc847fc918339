"""Output revision: which bytes equal settings give."""

from typing import Final

from delivery.ledger.run import Run
from runtime.errors import UsageError

OUTPUT_REVISION: Final = 1
"""Revision of the bytes that equal requests make.

Increase it with any change after which the same request makes other bytes: the compressed
segmentation encoder, gzip, the order of chunks in a shard, the vote of downsampling. Requests of
another revision have another fingerprint and do not continue a run, and workers of another
revision do not work on it; releases that leave the bytes alone keep it, so that they do.
"""


class OtherRevision(UsageError):  # noqa: N818 - a state of the run, not a fault
    """A run was planned for bytes that this program does not make."""


def check_revision(run: Run) -> None:
    """Raise OtherRevision unless this program makes the bytes that the run was planned for."""
    planned = run.info.output_revision
    if planned != OUTPUT_REVISION:
        raise OtherRevision(
            f"run {run.run_id} was planned by version {run.info.version}, for output revision "
            f"{planned}, and this program makes {OUTPUT_REVISION}: one volume would hold both",
            hint=f"use workers of version {run.info.version}; or enqueue it anew, with --overwrite",
        )
