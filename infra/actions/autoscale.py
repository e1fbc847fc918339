"""Autoscaling of a queue's worker pools: once, until all runs have ended, or until SIGTERM."""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import typer

from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.broker.pubsub_names import PubSubNames
from infra.actions.inputs import needed_region, queue_names
from infra.actions.instances import counts_text
from infra.autoscaler import Autoscaler, Look
from infra.commands.options import CapOptions, QueueOptions
from infra.defaults import POLL_S
from infra.documents import AutoscaleDocument
from infra.pool_client import PoolClient
from infra.queue_runs import QueueRuns
from infra.scaling_policy import Caps
from memmodel.tiers import parse_tiers, tier_of
from runtime import cli, log, log_events, settings
from runtime.errors import EXIT_FINDINGS, UnreachableError, UsageError

OVERDUE_POLLS: Final = 6  # after which nothing seems to watch the pools
CRON_S: Final = 900.0  # likewise after `--once`

_log = log.get()


@dataclass(frozen=True, slots=True)
class Watch:
    """How long the pools are watched.

    Attributes:
        poll_s: between two looks.
        once: look once.
        start: start the autoscaler's own pool.
        until_stopped: look until SIGTERM, as in a pool of its own.
    """

    poll_s: float = POLL_S
    once: bool = False
    start: bool = False
    until_stopped: bool = False

    @property
    def overdue_s(self) -> float:
        """After which the next look is overdue."""
        if self.once and not self.start:
            return CRON_S
        return OVERDUE_POLLS * (POLL_S if self.once else max(self.poll_s, POLL_S))


def watch_queue(
    target: QueueOptions,
    region: str | None,
    state: Sequence[str] | None,
    caps: CapOptions,
    watch: Watch,
    *,
    tiers: str,
    lease_s: int,
    json: bool,
) -> None:
    """Set the instances of the queue's pools, until the watch is over.

    Args:
        target: the queue.
        region: of its pools.
        state: roots of its runs.
        caps: upper limits.
        watch: how long.
        tiers: as options have them.
        lease_s: of a message.
        json: print the look of `--once`, else the last one, as a document.
    """
    names = queue_names(target, "which queue? Worker pools serve queues on Pub/Sub")
    runs = QueueRuns(names.url, _roots(state))

    def open_with(more: Sequence[str]) -> Broker:
        known = {*more, *(tier.name for tier in parse_tiers(tiers))}
        sorted_names = sorted(known, key=lambda name: tier_of(name).limit_bytes)
        return open_broker(names.url, sorted_names, lease_s)

    with closing(
        Autoscaler(
            PoolClient(f"projects/{names.project}/locations/{needed_region(region)}"),
            names,
            runs,
            open_with,
            caps=_caps(caps),
            region=region or "",
            in_own_pool=watch.until_stopped,
        )
    ) as autoscaler:
        if watch.once:
            look = autoscaler.tick(watch.overdue_s, start=watch.start)
            _print(names, look, json=json)
        else:
            look = _loop(autoscaler, watch)
            if json:
                _print(names, look, json=True)
        if autoscaler.given_up:
            cli.print_stderr(f"given up: {autoscaler.given_up}")
            raise typer.Exit(EXIT_FINDINGS)


def _loop(autoscaler: Autoscaler, watch: Watch) -> Look:
    """Look again and again, until nothing is left and all pools are at 0; the last look."""
    start = watch.start
    while True:
        try:
            look = autoscaler.tick(watch.overdue_s, start=start)
            if look.over and not watch.until_stopped:
                return look
            start = False
        except UnreachableError as error:
            _log.warning(log_events.AUTOSCALING_FAILED, reason=str(error))
        time.sleep(watch.poll_s)


def _print(names: PubSubNames, look: Look, *, json: bool) -> None:
    left = None if look.left is None else {name: one.shards for name, one in look.left.items()}
    if json:
        document = AutoscaleDocument(
            queue=names.url, counts=dict(look.counts), left=left, over=look.over
        )
        cli.print_document(document)
        return
    shards = "unknown" if left is None else f"{sum(left.values()):,}"
    cli.print_line(f"{counts_text(look.counts)}; shards left: {shards}")


def _caps(given: CapOptions) -> Caps:
    """Limits, infinite where there are none."""
    rest = (given.total, given.dollars, given.vcpus, given.memory)
    return Caps(given.per_tier, *(math.inf if one is None else one for one in rest))


def _roots(state: Sequence[str] | None) -> Sequence[str]:
    given = settings.get(settings.STATE_PATH)
    roots = state or ([given] if given else [])
    if not roots:
        raise UsageError(
            "where are the runs of the queue? No state root is given",
            hint="pass --state, or set STATE_PATH; several: --state ROOT --state ROOT",
        )
    return roots
