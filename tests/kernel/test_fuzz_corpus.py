"""Every input that fuzzing has saved is replayed: seeds, and whatever once went wrong."""

from pathlib import Path

import pytest

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_saved_inputs(name: str) -> None:
    """No saved input of a target crashes, hangs or raises anything but its typed error."""
    paths = sorted((CORPUS / name).iterdir())
    assert paths, f"no saved inputs for {name}"
    for path in paths:
        try:
            TARGETS[name](path.read_bytes())
        except BaseException as error:
            error.add_note(f"input: {path}")
            raise


def test_every_corpus_has_its_target() -> None:
    """A folder whose target was renamed would be replayed no more."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
