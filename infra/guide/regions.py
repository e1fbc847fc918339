"""Regions of Cloud Run, as they were known on a date."""

import difflib
from typing import Final

from runtime.errors import UsageError

KNOWN_ON: Final = "2026-11-26"
REGIONS: Final = tuple(
    f"{area}{number}"
    for area, numbers in {
        "africa-south": "1",
        "asia-east": "12",
        "asia-northeast": "123",
        "asia-south": "12",
        "asia-southeast": "123",
        "australia-southeast": "12",
        "europe-central": "2",
        "europe-north": "12",
        "europe-southwest": "1",
        "europe-west": ("1", "2", "3", "4", "6", "8", "9", "10", "12"),
        "me-central": "12",
        "me-west": "1",
        "northamerica-northeast": "12",
        "northamerica-south": "1",
        "southamerica-east": "1",
        "southamerica-west": "1",
        "us-central": "1",
        "us-east": "145",
        "us-south": "1",
        "us-west": "1234",
    }.items()
    for number in numbers
)
_NAMED: Final = 3


def check_region(text: str) -> None:
    """Raise an error unless the region is known, with those that look like it."""
    if text in REGIONS:
        return
    near = difflib.get_close_matches(text.lower(), REGIONS, _NAMED, 0.5)
    raise UsageError(
        f"{text!r} is not a region that was known on {KNOWN_ON}",
        hint=f"is it {' or '.join(near)}?" if near else "such as us-central1 or europe-west4",
    )
