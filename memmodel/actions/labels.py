"""Labels of a scale's inputs, counted; and the tiers of its shards."""

from dataclasses import asdict

from memmodel import output
from memmodel.documents import LabelsDocument
from memmodel.labels import summarise
from memmodel.run_lookup import find
from runtime import cli


def count_labels(
    target_scale: int, run: str | None, state: str | None, dest: str | None, *, as_json: bool
) -> None:
    """Print how many labels the inputs of a scale hold."""
    found = summarise(find(run, state, dest), target_scale)
    if as_json:
        cli.print_document(LabelsDocument.model_validate(asdict(found)))
    else:
        output.print_labels(found)
