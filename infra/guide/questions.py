"""Questions of a guided session as data, in the order in which they are asked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.guide import checks
from infra.guide.checks import Answers
from runtime import settings


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose answer is a setting.

    Attributes:
        setting: its variable.
        label: a word.
        text: what is asked for, in a line.
        check: raises a ShardliftError if an answer is of no use, else says what was seen.
        offer: an answer to be taken by Enter, by the answers before; None for none.
    """

    setting: str
    label: str
    text: str
    check: Callable[[str, Answers], str]
    offer: Callable[[Answers], str | None]


def _nothing(_: Answers) -> str | None:
    return None


def _project(_: Answers) -> str | None:
    """The project of gcloud's own variables, as a default."""
    return settings.get("GOOGLE_CLOUD_PROJECT") or settings.get("CLOUDSDK_CORE_PROJECT")


def _region(_: Answers) -> str | None:
    return settings.get("CLOUDSDK_RUN_REGION") or "us-central1"


def _dest(answers: Answers) -> str | None:
    return f"gs://{answers[settings.PROJECT_ID]}-{_BASE}/volume"


def _spec(_: Answers) -> str | None:
    return checks.only_spec(Path())


def _scales(_: Answers) -> str | None:
    return "0"


_BASE: Final = settings.DEFAULT_BASE_JOB_NAME

QUESTIONS: Final = (
    Question(
        settings.PROJECT_ID,
        "project",
        "id of the Google Cloud project that pays",
        checks.project,
        _project,
    ),
    Question(
        settings.REGION,
        "region",
        "where the workers run; best where the export is",
        checks.region,
        _region,
    ),
    Question(
        settings.SOURCE_PATH,
        "source",
        "the DVID export, gs://BUCKET/FOLDER with s0/, s1/, ... in it",
        checks.source,
        _nothing,
    ),
    Question(
        settings.DEST_PATH,
        "destination",
        "the volume to be made, gs://BUCKET/FOLDER",
        checks.dest,
        _dest,
    ),
    Question(
        settings.NG_SPEC_PATH,
        "spec",
        "the volume's spec, a JSON file as given to DVID",
        checks.spec,
        _spec,
    ),
    Question(
        settings.SCALES,
        "scales",
        "scales to convert from the export, such as 0 or 0-2",
        checks.scales,
        _scales,
    ),
    Question(
        settings.DOWNRES_SCALES,
        "downsampled",
        "scales to make from the scale before, or none",
        checks.downres,
        checks.other_scales,
    ),
)
