"""Launching a run: create or resume, publish, wait."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version

from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.dead_letters import drain
from delivery.ledger.failures import FailureSummary
from delivery.ledger.launches import Launches
from delivery.ledger.output_revision import OUTPUT_REVISION
from delivery.ledger.plan import Plan
from delivery.ledger.run import Run, RunInfo, new_run_id
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from delivery.messages import now
from delivery.progress import Progress
from delivery.progress_display import Display, display
from delivery.reconciler import Reconciler
from memmodel.run_context import tier_chooser
from producer import worker_pools
from producer.failure_groups import failures_of
from producer.fleet_process import FleetProcess
from producer.info import write_info
from producer.preflight import LaunchConfig, Preflight
from producer.wait import wait
from runtime import log, log_events
from runtime.cli import print_stderr
from runtime.storage import OWNER, open_storage

_log = log.get()


@dataclass(frozen=True)
class PublishReport:
    """Outcome of publishing the ready shards.

    Attributes:
        keys: shards published.
        dead: failed shards, among them those that no tier holds.
        status: of the run after publishing.
        queued: messages that were in the run's queue already.
    """

    keys: Sequence[str]
    dead: Sequence[FailureSummary]
    status: RunStatus
    queued: int = 0


@dataclass(frozen=True)
class LaunchResult:
    """Outcome of a launch.

    Attributes:
        published: outcome of publishing.
        progress: of the ended run, where the launch waited for its end.
        status: likewise.
    """

    published: PublishReport
    progress: Progress | None
    status: RunStatus | None = None

    @property
    def lost(self) -> int:
        """Number of shards that failed, were given up, or are blocked."""
        scales = self.progress.scales if self.progress else ()
        return sum(scale.failed + scale.given_up + scale.blocked for scale in scales)

    @property
    def incomplete(self) -> Mapping[str, int]:
        """Chunks that shards lack so far, because they do not decode, by key."""
        return (self.status or self.published.status).incomplete

    @property
    def succeeded(self) -> bool:
        """Whether no shard is lost so far, and none lacks a chunk."""
        if self.incomplete:
            return False
        if self.progress is not None or self.published.status.succeeded:
            return not self.lost
        return not self.published.dead


def create_or_resume(found: Preflight, config: LaunchConfig, run_id: str | None = None) -> Run:
    """Return the run to continue, or create one; writes `info`, publishes nothing.

    A new run cancels those that are out of date, with `overwrite` all unfinished ones.

    Raises:
        LaunchedMeanwhile: another run of the destination began since the preflight.
    """
    if found.continues is not None:
        _sweep(found, found.continues.run.run_id)
        write_info(open_storage(found.request.dest), found.request.volume)
        if found.request.bad_chunks == "skip":
            found.continues.run.request_without_bad_chunks()
        return found.continues.run
    if found.planned is None:
        raise ValueError("neither a run to continue nor a plan")
    return _create(found, found.planned.plan, config, run_id)


def _create(found: Preflight, plan: Plan, config: LaunchConfig, run_id: str | None) -> Run:
    request = found.request
    dest = open_storage(request.dest)
    dest.check_writable()
    run_id = run_id or new_run_id()
    _sweep(found, run_id)
    cancels = _cancels(found, run_id)
    info = _run_info(found, run_id, config)
    run = Launches(config.state).begin(info, plan, found.after, cancels)
    for cancelled in cancels:
        _log.info(log_events.RUN_CANCELLED, run=cancelled, by=run_id)
    write_info(dest, request.volume)
    _log.info(log_events.RUN_CREATED, run=run.uri)
    return run


def _cancels(found: Preflight, by: str) -> dict[str, str]:
    """The runs that end when this one begins, by id, with the reason."""
    runs = {
        earlier.run.run_id: f"out of date: {reason}; run {by} takes its place"
        for earlier, reason in found.outdated
    }
    if found.request.overwrite:
        runs |= {one.run.run_id: f"run {by} overwrites it" for one in found.history.conflicting()}
    return runs


def _sweep(found: Preflight, run_id: str) -> None:
    """Remove what writers of this run, and of runs that do not go on, left at the destination."""
    over = {one.run.run_id for one in found.history.runs if not one.unfinished}
    open_storage(found.request.dest).sweep_temporaries({OWNER, run_id, *over})


def cancel_outdated(found: Preflight) -> None:
    """Cancel the runs that are out of date; their workers stop before they publish an output."""
    for earlier, reason in found.outdated:
        earlier.run.cancel(f"out of date: {reason}")
        _log.info(log_events.RUN_CANCELLED, run=earlier.run.run_id, by=None)


def publish_and_wait(
    run: Run,
    config: LaunchConfig,
    *,
    again: bool = False,
    wait_for_end: bool = False,
    on_published: Callable[[PublishReport], None],
) -> LaunchResult:
    """Publish the ready shards of a run to its own queue; optionally wait for its end.

    Args:
        run: the run.
        config: lease and options of the fleet.
        again: the run was published before, so that its queue may hold all ready shards.
        wait_for_end: wait until the run has ended; on one machine a fleet is started.
        on_published: called before waiting.
    """
    with open_broker(run.queue, run.info.tiers, config.lease_s) as broker:
        broker.add_state_root(run.state_url)  # a worker follows messages of these alone
        report = republish(run, broker) if again else publish(run, broker)
        on_published(report)
        if not report.status.ended:
            worker_pools.start(run, broker.url)
        progress = None
        if wait_for_end and not report.status.succeeded:
            progress = _wait(run, broker, config)
    return LaunchResult(report, progress, read_status(run) if progress else None)


def _wait(run: Run, broker: Broker, config: LaunchConfig) -> Progress:
    """Wait until the run has ended, with its progress on stderr."""
    options = ("--lease", str(config.lease_s), *config.fleet_options)
    try:
        return work_and_wait(run, broker, options, display)
    except KeyboardInterrupt:
        print_stderr(f"note: stopping; the same command continues run {run.run_id}")
        raise


def work_and_wait(
    run: Run,
    broker: Broker,
    fleet_options: Sequence[str],
    display_of: Callable[[str], Display],
    say: Callable[[str], None] = print_stderr,
) -> Progress:
    """Wait until a run has ended; meanwhile a fleet works here, or the pools are watched.

    Args:
        run: the run.
        broker: its queues.
        fleet_options: of the fleet that is started on one machine.
        display_of: makes the display of progress from what is under way at first.
        say: takes notes for people.
    """
    fleet, pools = None, worker_pools.configured(broker.url)
    starts = broker.one_machine or pools
    beginning = "starting workers" if starts else "waiting for workers"
    with ExitStack() as stack, display_of(beginning) as shown:
        if broker.one_machine:
            fleet = stack.enter_context(FleetProcess(run, broker.url, fleet_options))
        elif pools:
            stack.enter_context(worker_pools.PoolWatch(run, broker.url))
        return wait(run, broker, shown, fleet, pools=pools, say=say)


def publish(run: Run, broker: Broker) -> PublishReport:
    """Publish all ready shards, the longest first; those that no tier holds become dead letters."""
    reconciler = Reconciler(broker, tier_chooser)
    keys = reconciler.publish_ready(run)
    reconciler.drain(run.state)
    return _report(run, keys)


def republish(run: Run, broker: Broker) -> PublishReport:
    """Publish the ready shards of an unfinished run, unless its queue holds as many already."""
    # Messages may have been lost or never sent; duplicates are harmless.
    drain(broker, run.state)
    ready = read_status(run).keys(ShardState.READY)
    backlogs = [broker.backlog(tier) for tier in broker.tiers]
    queued = sum((b.waiting or 0) + (b.leased or 0) for b in backlogs)
    known = all(backlog.known for backlog in backlogs)
    if known and queued >= len(ready):
        return _report(run, [], queued)
    return publish(run, broker)


def _report(run: Run, keys: Sequence[str], queued: int = 0) -> PublishReport:
    status = read_status(run)
    dead = failures_of(status)
    gone = {failure.key for failure in dead}
    return PublishReport([key for key in keys if key not in gone], dead, status, queued)


def _run_info(found: Preflight, run_id: str, config: LaunchConfig) -> RunInfo:
    request = found.request
    return RunInfo.model_validate(
        {
            "run_id": run_id,
            "created": now(),
            "source": request.source,
            "dest": request.dest,
            "scales": request.scales,
            "downres": request.downres,
            "rule": request.rule,
            "label_type": request.label_type,
            "z_compress": request.z_compress,
            "gzip_level": request.gzip_level,
            "tiers": tuple(tier.name for tier in config.tiers),
            "queue": config.queue,
            "version": version("shardlift"),
            "fingerprint": request.fingerprint,
            "output_revision": OUTPUT_REVISION,
            "volume": request.volume.to_info(),
            "overwrite": request.overwrite,
            "bad_chunks": request.bad_chunks,
            "partial": tuple(found.problems),
            "adopted": bool(found.planned and found.planned.unknown),
            "token": uuid.uuid4().hex[:12],
            "selection": found.selection,
        }
    )
