"""Answer of a worker to `infra check --canary`: that it lives, and what it cannot read or write."""

import contextlib
from collections.abc import Callable
from importlib.metadata import version

from consumer.worker.config import WorkerConfig
from delivery.broker.base import Broker
from delivery.ledger import canary
from delivery.ledger.canary import CanaryAnswer, CanaryQuestion
from delivery.messages import now
from runtime import log, log_events
from runtime.errors import ShardliftError
from runtime.storage import open_storage

_log = log.get()


class CanaryReply:
    """Answers questions to a worker's tier below its state roots, once.

    Args:
        broker: of the worker.
        config: of the worker.
    """

    def __init__(self, broker: Broker, config: WorkerConfig) -> None:
        self._broker = broker
        self._config = config
        self._due = not broker.one_machine  # else it is not Cloud Run that runs it

    def send_once(self) -> None:
        """Answer, the first time; the queue has been asked for a message before."""
        roots = self._config.roots if self._due else ()
        self._due = False
        for root in roots:
            with contextlib.suppress(ShardliftError):  # the worker goes on, and says what it lacks
                self._send(root)

    def _send(self, root: str) -> None:
        state, tier = open_storage(root), self._config.tier.name
        question = canary.question(state, self._broker.url, tier)
        if question is None:
            return
        answer = _answer(question, self._config)
        canary.answer(state, self._broker.url, tier, answer)
        problems = list(answer.problems)
        _log.info(log_events.CANARY_ANSWERED, worker=self._config.worker, problems=problems)


def _answer(question: CanaryQuestion, config: WorkerConfig) -> CanaryAnswer:
    tried = [
        *_problem(question.source, lambda url: open_storage(url).check_readable()),
        *_problem(question.dest, lambda url: open_storage(url).check_writable()),
    ]
    return CanaryAnswer(
        token=question.token,
        worker=config.worker,
        version=version("shardlift"),
        at=now(),
        problems=tuple(tried),
    )


def _problem(url: str | None, check: Callable[[str], None]) -> list[str]:
    """Why a place cannot be used, if so."""
    if url is None:
        return []
    try:
        check(url)
    except ShardliftError as error:
        return [". ".join(filter(None, (str(error), error.hint)))]
    return []
