"""A fleet within the test's process: the worker and the executor's code, without their processes.

It stands in for the process that `enqueue --wait` starts, so that a whole run takes a fraction of
a second. It can be interrupted between two steps of a shard, and do something in between.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Self, cast
from unittest import mock

from consumer.executor.__main__ import TaskExecution
from consumer.protocol.events import (
    Command,
    Done,
    Ending,
    Event,
    Failed,
    Progress,
    PublishCommand,
    Ready,
)
from consumer.protocol.tasks import Task
from consumer.signals import ShutdownFlags
from consumer.worker.config import WorkerConfig
from consumer.worker.executor_client import ExecutorClient, TaskCallbacks
from consumer.worker.worker import Worker
from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import read_status
from delivery.messages import decode
from delivery.reconciler import Reconciler
from memmodel.run_context import tier_chooser
from memmodel.tiers import tier_of

_LEASE_S = 60.0
_MOST_REPUBLISHES = 2
Step = Callable[[str], None]
"""Called with `leased` before a shard is worked on, and `published` once its output appeared."""


class _Channel:
    """The pipes of an executor, answered at once by the worker's callbacks."""

    def __init__(self, callbacks: TaskCallbacks) -> None:
        self._callbacks = callbacks

    def send(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._callbacks.on_progress(event.chunks)
        else:
            assert isinstance(event, Ending | Ready)

    def receive(self) -> Command:
        return self._callbacks.check_publish() or PublishCommand()


class _Executor:
    """An `ExecutorClient` that makes shards itself."""

    pid = None
    rss_bytes = recent_bytes = 0
    alive = True

    def __init__(self, step: Step) -> None:
        self._step = step

    def run(self, task: Task, callbacks: TaskCallbacks) -> Done | Failed:
        self._step("leased")
        result = TaskExecution(_Channel(callbacks), task).execute()  # type: ignore[arg-type]  # alike
        self._step("published")
        return result

    def stop(self) -> None:
        """Nothing to stop."""


class InProcessFleet:
    """Stands in for `producer.fleet_process.FleetProcess`; works when it is entered."""

    elsewhere = False
    ended = False

    def __init__(self, run: Run, queue: str, step: Step) -> None:
        self._run = run
        self._queue = queue
        self._step = step

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None: ...

    def start(self) -> bool:
        """Work until the run has ended; publish again what is ready if the queues are empty."""
        run = Run(self._run.uri)
        with open_broker(self._queue, run.info.tiers, _LEASE_S) as broker:
            reconciler = Reconciler(broker, tier_chooser)
            for _ in range(1 + _MOST_REPUBLISHES):
                self._drain(run, broker)
                reconciler.drain(run.state)
                if read_status(run).ended or run.cancelled():
                    return True
                reconciler.publish_ready(run)
        raise AssertionError(f"the run does not end: {read_status(run).states}")

    def _drain(self, run: Run, broker: Broker) -> None:
        executor = cast("ExecutorClient", _Executor(self._step))
        tiers = [tier_of(name) for name in run.info.tiers]
        for tier in (*tiers, *tiers):  # what a tier hands down is seen, too
            roots, me = (run.state_url,), f"me-{tier.name}"
            config = WorkerConfig(tier, tier.limit_bytes, roots=roots, worker=me)
            worker = Worker(broker, config, ShutdownFlags(), executor=lambda *_, **__: executor)
            with contextlib.closing(worker):
                while (delivery := broker.lease(tier.name, wait_s=0)) is not None:
                    try:
                        worker.handle(delivery)
                    except KeyboardInterrupt:  # a fleet releases what it has
                        broker.hand_over(delivery, tier.name, decode(delivery.data))
                        raise


@contextlib.contextmanager
def in_process_fleets(step: Step = lambda _: None) -> Iterator[None]:
    """Let `enqueue --wait` work within this process."""

    def made(run: Run, queue: str, _options: Sequence[str] = ()) -> InProcessFleet:
        return InProcessFleet(run, queue, step)

    with mock.patch("producer.launch.FleetProcess", made):
        yield
