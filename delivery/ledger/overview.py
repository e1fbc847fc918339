"""Overview of a run: what one listing of its folder tells, without the records in it.

A worker needs it often: is the run cancelled, was its id used again, were shards ever requested
again? Mostly the answer is no, and then nothing else needs to be read.
"""

import time
from dataclasses import dataclass
from typing import Final

from runtime.storage import Storage, source_stamp

RUN: Final = "run.json"
CANCELLED: Final = "cancelled.json"
REDO: Final = "redo"
SKIP_BAD: Final = "skip-bad"


@dataclass(frozen=True, slots=True)
class RunOverview:
    """What lies in a run's folder.

    Attributes:
        cancelled: whether there is a cancellation.
        redo: whether shards were ever requested again.
        skip_bad: whether shards were ever requested without bad chunks.
        stamp: of run.json; None: it is gone.
        taken_s: when it was requested, by the clock of `time.monotonic`.
    """

    cancelled: bool
    redo: bool
    skip_bad: bool
    stamp: str | None
    taken_s: float

    @property
    def age_s(self) -> float:
        """Seconds since it was requested."""
        return time.monotonic() - self.taken_s


class Overviews:
    """The overviews of one run; the last one is kept. Threads may share it.

    Args:
        storage: rooted at the run.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._last: RunOverview | None = None

    def take(self, most_age_s: float = 0.0) -> RunOverview:
        """The last overview if it is no older than this, else a new one.

        Args:
            most_age_s: 0: a new one, which shows all that was written before the call.
        """
        last = self._last
        if last is not None and most_age_s > 0 and last.age_s <= most_age_s:
            return last
        taken_s = time.monotonic()
        found = self._storage.overview()
        info = found.files.get(RUN)
        taken = RunOverview(
            cancelled=CANCELLED in found.files,
            redo=REDO in found.folders,
            skip_bad=SKIP_BAD in found.folders,
            stamp=None if info is None else source_stamp(info),
            taken_s=taken_s,
        )
        self._last = taken
        return taken  # not what another thread took meanwhile, which may have begun earlier
