"""List prices of Google Cloud (us-central1, dollars): the one table, each with source and date.

Free tiers, discounts and taxes are left out. Sizes are GiB and TiB, as Google bills them.
"""

from dataclasses import dataclass
from typing import Final

RUN: Final = "cloud.google.com/run/pricing"
STORAGE: Final = "cloud.google.com/storage/pricing"
SPOT: Final = "cloud.google.com/spot-vms/pricing"
PUBSUB: Final = "cloud.google.com/pubsub/pricing"
REGION: Final = "us-central1"  # whose prices these are


@dataclass(frozen=True, slots=True)
class Price:
    """A list price.

    Attributes:
        name: of what is sold.
        dollars: for one unit.
        unit: such as `vCPU-second`.
        source: page of the list.
        read: date when it was read there.
        note: what to know of it.
    """

    name: str
    dollars: float
    unit: str
    source: str
    read: str
    note: str = ""


POOL_VCPU: Final = Price(
    "worker pool, CPU", 11.2e-6, "vCPU-second", RUN, "2026-11-22", "no second source"
)
POOL_GIB: Final = Price(
    "worker pool, memory", 1.2e-6, "GiB-second", RUN, "2026-11-22", "no second source"
)
JOB_VCPU: Final = Price("job, CPU", 18e-6, "vCPU-second", RUN, "2026-11-26")
JOB_GIB: Final = Price("job, memory", 2e-6, "GiB-second", RUN, "2026-11-26")
SPOT_VCPU: Final = Price("Spot VM E2, CPU", 0.00872, "vCPU-hour", SPOT, "2026-11-26", "varies")
SPOT_GIB: Final = Price("Spot VM E2, memory", 0.001169, "GiB-hour", SPOT, "2026-11-26", "varies")
CLASS_A: Final = Price(
    "writing request", 0.005 / 1000, "request of class A", STORAGE, "2026-09-20", "lists, composes"
)
CLASS_B: Final = Price(
    "reading request", 0.0004 / 1000, "request of class B", STORAGE, "2026-09-20"
)
STORED: Final = Price(
    "standard storage", 0.020, "GiB-month", STORAGE, "2026-09-20", "$0.000027397 per GiB-hour"
)
STORED_MULTI: Final = Price(
    "standard storage, multi-region", 0.026, "GiB-month", STORAGE, "2026-11-26", "US, EU, ASIA"
)
REPLICATED: Final = Price(
    "writing to several regions", 0.02, "GiB", STORAGE, "2026-11-26", "not confirmed"
)
SAME_CONTINENT: Final = Price(
    "to another region near by",
    0.02,
    "GiB",
    STORAGE,
    "2026-11-26",
    "America, Europe; not confirmed",
)
OTHER_CONTINENT: Final = Price(
    "to a region far away", 0.08, "GiB", STORAGE, "2026-11-26", "0.05 to 0.14; not confirmed"
)
INTERNET: Final = Price("out of Google Cloud", 0.12, "GiB", STORAGE, "2026-09-20", "up to 10 TiB")
NEARLINE_READ: Final = Price("reading Nearline", 0.01, "GiB", STORAGE, "2026-11-26", "30 days")
COLDLINE_READ: Final = Price("reading Coldline", 0.02, "GiB", STORAGE, "2026-11-26", "90 days")
ARCHIVE_READ: Final = Price("reading Archive", 0.05, "GiB", STORAGE, "2026-11-26", "365 days")
AUTOCLASS: Final = Price(
    "autoclass", 0.0025 / 1000, "object-month", STORAGE, "2026-11-26", "not confirmed since"
)
MESSAGES: Final = Price("queue", 40.0, "TiB, sent or received", PUBSUB, "2026-11-22")

PRICES: Final = (
    POOL_VCPU, POOL_GIB, JOB_VCPU, JOB_GIB, SPOT_VCPU, SPOT_GIB, CLASS_A, CLASS_B, STORED,
    STORED_MULTI, REPLICATED, SAME_CONTINENT, OTHER_CONTINENT, INTERNET,
    NEARLINE_READ, COLDLINE_READ, ARCHIVE_READ, AUTOCLASS, MESSAGES,
)  # fmt: skip
"""All of them, in the order of a page."""

PRICES_OF: Final = max(price.read for price in PRICES)
"""The date to be shown with an estimate."""

MESSAGE_LEAST_BYTES: Final = 1000  # the least that Pub/Sub bills
WAYS: Final = 2  # a message is published and delivered
