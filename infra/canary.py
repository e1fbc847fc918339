"""Canary of `infra check --canary`: one instance of a pool for at most three minutes, then none.

A pool without instances says nothing of its image, its variables or its account's rights. So one
instance is started, asked for a sign of life through the state root (`delivery/ledger/canary.py`),
and stopped, however the check ends. Where no sign comes, the pool's condition and its log say why.
"""

import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final
from uuid import uuid4

from google.api_core import exceptions as api

from delivery.broker.pubsub_names import PubSubNames
from delivery.ledger import canary
from delivery.ledger.canary import CanaryAnswer, CanaryQuestion
from delivery.messages import now
from infra.bucket_findings import Use
from infra.changes import Action, Change
from infra.defaults import CANARY_S
from infra.log_entries import LogEntries
from infra.pool_client import CANARY, FoundPool, PoolClient
from infra.pool_configuration import state_root
from infra.pool_resources import MOST_TRIES, PAUSE_S, not_ready_note
from infra.rest_service import DeniedError
from runtime.errors import ShardliftError, UnreachableError, UsageError
from runtime.storage import open_storage

KIND: Final = "canary"
POLL_S: Final = 2.0
LOG_EVERY_S: Final = 10.0
_LINES: Final = 30
_RESTARTED: Final = 2  # times that a worker ended with the same error, which then is final
_MAY_PASS: Final = re.compile(r"\b(401|403)\b|permission|denied|forbidden", re.IGNORECASE)


class Canary:
    """Starts one instance of a pool, and stops it.

    Args:
        client: of the pools' project and region.
        names: of the queue.
        region: of the pools.
        places: of the runs; there is a state root.
        most_s: in which a sign of life is to come.
        poll_s: between two looks.
    """

    def __init__(
        self,
        client: PoolClient,
        names: PubSubNames,
        region: str,
        places: Mapping[Use, str | None],
        *,
        most_s: float = CANARY_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._client = client
        self._names = names
        self._region = region
        self._places = places
        self._state = open_storage(state_root(places[Use.STATE]) or "")
        self._most_s = most_s
        self._poll_s = poll_s
        self._logs = LogEntries(names.project)

    def check(self, tier: str, pool: FoundPool) -> Change:
        """What the workers of a pool answered, or why they do not.

        Raises:
            UsageError: this account may not start an instance, or may not write the state root.
            UnreachableError: Cloud Run cannot be reached; the text says if an instance may be left.
        """
        token = uuid4().hex
        source, dest = self._places[Use.SOURCE], self._places[Use.DEST]
        begun, begun_s = now(), time.monotonic()
        try:
            question = CanaryQuestion(token=token, source=source, dest=dest)
            canary.ask(self._state, self._names.url, tier, question)
            self._start(pool, token, begun_s + self._most_s)
            return self._await(tier, pool, token, begun, begun_s)
        finally:
            with _uninterrupted():
                self._stop(pool, token)
                canary.remove(self._state, self._names.url, tier)

    def _start(self, pool: FoundPool, token: str, until_s: float) -> None:
        """Set the count to 1; rights that were just granted may take minutes to hold."""
        found: FoundPool | None = pool
        while found is not None:
            try:
                self._client.set_count(found, 1, CANARY + token)
            except api.Conflict:  # also by this call, if its answer was lost
                time.sleep(PAUSE_S)
                found = self._client.get(pool.name)
                if found is not None and _is_stamped(found, token):
                    return
            except UsageError as error:
                denied = isinstance(error.__cause__, api.Forbidden)
                if not denied or time.monotonic() > until_s:
                    raise
                time.sleep(self._poll_s)
            else:
                return
        raise UsageError(f"pool {pool.pool_id} is gone", hint="`python -m infra up` makes it")

    def _stop(self, pool: FoundPool, token: str) -> None:
        """Set the count back to 0, unless another program has set it since."""
        for tried in range(MOST_TRIES):
            try:
                found = self._client.get(pool.name)
                if found is None or not found.count or not _is_stamped(found, token):
                    return
                self._client.run.wait([self._client.set_count(found, 0)])
            except api.Conflict:
                time.sleep(tried * PAUSE_S)
            except ShardliftError as error:
                raise UnreachableError(
                    f"pool {pool.pool_id} may still have an instance: {error}",
                    hint="python -m infra stop",
                ) from error
            else:
                return
        raise UnreachableError(
            f"pool {pool.pool_id} may still have an instance: another program changes it",
            hint="python -m infra stop",
        )

    def _await(
        self, tier: str, pool: FoundPool, token: str, begun: datetime, begun_s: float
    ) -> Change:
        log_s, failed = begun_s, 0
        while (waited_s := time.monotonic() - begun_s) < self._most_s:
            found = canary.answered(self._state, self._names.url, tier, token)
            if found is not None:
                return _as_change(pool, found, waited_s)
            reason = self._condition(pool)
            failed = failed + 1 if reason else 0
            if failed > 1:  # one may be of the state before
                return Change(Action.WARN, KIND, pool.pool_id, reason)
            if time.monotonic() - log_s > min(LOG_EVERY_S, self._most_s / 4):
                log_s = time.monotonic()
                if final := self._final_error(pool, begun):
                    return Change(Action.WARN, KIND, pool.pool_id, final)
            time.sleep(self._poll_s)
        why = f"no sign of life within {self._most_s:.0f} s; {self._last_word(pool, begun)}"
        return Change(Action.WARN, KIND, pool.pool_id, why)

    def _condition(self, pool: FoundPool) -> str:
        """Why Cloud Run cannot start an instance, such as an image that is not there."""
        found = self._client.get(pool.name)
        return "" if found is None else not_ready_note(found)

    def _final_error(self, pool: FoundPool, begun: datetime) -> str:
        """An error with which the worker ended again and again, and which will not pass."""
        try:
            errors = [line for line in self._lines(pool, begun) if line.startswith("error: ")]
        except ShardliftError:
            return ""
        last = errors[-1] if errors else ""
        if errors.count(last) < _RESTARTED or _MAY_PASS.search(last):
            return ""
        return f"the worker ends at its start: {last.removeprefix('error: ')}"

    def _last_word(self, pool: FoundPool, begun: datetime) -> str:
        """What the log says, most telling line first."""
        try:
            lines = self._lines(pool, begun)
        except DeniedError:
            return "its log cannot be read here, which needs roles/logging.viewer"
        except ShardliftError as error:
            return f"its log cannot be read: {error}"
        errors = [line for line in lines if line.startswith(("error: ", "worker backoff"))]
        if said := (errors or lines):
            return f"its log says: {said[-1]}"
        return "its log is empty: no instance has started yet"

    def _lines(self, pool: FoundPool, begun: datetime) -> list[str]:
        chosen = (
            f'resource.labels.worker_pool_name="{pool.pool_id}"',
            f'resource.labels.location="{self._region}"',
            f'timestamp>="{begun.isoformat()}"',
        )
        return self._logs.last(_LINES, " AND ".join(chosen))


def _is_stamped(pool: FoundPool, token: str) -> bool:
    """Whether the count was set by this canary, and by no program since that stamps, too."""
    return pool.stamp == CANARY + token


def _as_change(pool: FoundPool, found: CanaryAnswer, waited_s: float) -> Change:
    said = f"{found.worker} of version {found.version} answered after {waited_s:.0f} s"
    if found.problems:
        return Change(Action.WARN, KIND, pool.pool_id, "; ".join([said, *found.problems]))
    return Change(Action.OK, KIND, pool.pool_id, said)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let neither Ctrl-C nor SIGTERM come between."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
