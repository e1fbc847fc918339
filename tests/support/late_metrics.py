"""Lengths of queues as Cloud Monitoring serves them: sampled, and seen only some time later."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Self

from delivery.broker.pubsub_names import PubSubNames
from tests.support.google_api.monitoring import Monitoring

UNDELIVERED: Final = "pubsub.googleapis.com/subscription/num_undelivered_messages"
_SAMPLE_S: Final = 0.5


class LateMetrics:
    """Context manager that serves what a function counts, late.

    Args:
        monitoring: server of the metrics.
        names: of the queue.
        count: messages that are not acked, by tier.
        late_s: age at which a sample is first served.
    """

    def __init__(
        self,
        monitoring: Monitoring,
        names: PubSubNames,
        count: Callable[[], Mapping[str, int]],
        late_s: float,
    ) -> None:
        self._monitoring, self._names = monitoring, names
        self._count, self._late_s = count, late_s
        self._samples: list[tuple[float, Mapping[str, int]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._over.is_set():
            self._samples.append((time.monotonic(), self._count()))
            self._serve()
            self._over.wait(_SAMPLE_S)

    def _serve(self) -> None:
        aged = [(time.monotonic() - at_s, counts) for at_s, counts in self._samples]
        old = [(age_s, counts) for age_s, counts in aged if age_s >= self._late_s]
        for tier in old[0][1] if old else ():
            points = [(age_s, counts[tier]) for age_s, counts in old]
            self._monitoring.set(UNDELIVERED, self._names.subscription_id(tier), *points)
