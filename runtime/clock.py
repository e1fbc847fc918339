"""Clock of leases: seconds since the system started, while it was suspended too."""

import time
from typing import Final

_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", None)  # only Linux has it


def uptime_s() -> float:
    """Seconds that only grow; unlike `time.monotonic()` also while the machine is suspended."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
