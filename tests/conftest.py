"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and specs beside the clone; a user's clone has none and skips."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (real data beside the clone)")
    return SHARED
