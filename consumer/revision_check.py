"""Check at the start that there is a run whose bytes this program makes."""

from consumer.run_discovery import RunDiscovery, open_shards
from delivery.ledger.output_revision import OtherRevision, check_revision
from delivery.ledger.run import Run


def check_revisions(discovery: RunDiscovery) -> None:
    """Refuse to start where every unfinished run was planned for other bytes.

    Raises:
        OtherRevision: of the first of these runs.
    """
    others = [(run, error) for run in discovery.refresh() if (error := _other(run))]
    unfinished = [error for run, error in others if open_shards(run)]
    named = {run.uri for run, _ in others}
    if unfinished and not any(
        open_shards(run) for run in discovery.refresh() if run.uri not in named
    ):
        raise unfinished[0]


def _other(run: Run) -> OtherRevision | None:
    try:
        check_revision(run)
    except OtherRevision as error:
        return error
    return None
