"""`.env.example`: every setting that the code knows, and no other."""

import itertools
import re
from pathlib import Path

from runtime import settings
from runtime.env_file import read_env_file

EXAMPLE = Path(__file__).resolve().parents[3] / ".env.example"
LINE = re.compile(r"# ([A-Z][A-Z_]+)=(.+)")
NAMES = {value for name, value in vars(settings).items() if name.isupper() and value == name}


def examples() -> dict[str, str]:
    """Values by name, without the marks that make them comments."""
    lines = EXAMPLE.read_text().splitlines()
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    values = {match[1]: match[2] for match in found}
    assert len(values) == len(found)
    return values


def test_every_setting_is_explained() -> None:
    """Each has a comment above it, or shares the one of the line before."""
    assert examples().keys() == NAMES
    lines = [line for line in EXAMPLE.read_text().splitlines() if line]
    for before, line in itertools.pairwise(lines):
        if LINE.fullmatch(line):
            assert before.startswith("# ")
            assert not before.startswith("# --")


def test_defaults_are_the_codes() -> None:
    """Where an example is a default, it is the one of the code."""
    found = examples()
    assert found["TIERS"] == settings.DEFAULT_TIERS
    assert found["LEASE_S"] == str(settings.DEFAULT_LEASE_S)
    assert found["QUEUE_URL"] == settings.DEFAULT_QUEUE_URL
    assert found["GZIP_LEVEL"] == str(settings.DEFAULT_GZIP_LEVEL)
    assert found["BASE_JOB_NAME"] == settings.DEFAULT_BASE_JOB_NAME
    assert float(found["MAX_DOLLARS"]) == settings.DEFAULT_MAX_DOLLARS
    assert float(found["STORAGE_RETRY_S"]) == settings.DEFAULT_STORAGE_RETRY_S


def test_a_copy_sets_nothing(tmp_path: Path) -> None:
    """Until a line's mark is removed; then it is that value."""
    assert read_env_file(EXAMPLE) == {}
    copy = tmp_path / ".env"
    copy.write_text(LINE.sub(r"\1=\2", EXAMPLE.read_text()))
    assert read_env_file(copy) == examples()
