"""Begin of a launch: preflight, then a run to work on, whoever else launches at the same time."""

from collections.abc import Callable
from dataclasses import dataclass

from delivery.ledger.launches import LaunchedMeanwhile
from delivery.ledger.run import Run
from producer.info import write_info
from producer.launch import cancel_outdated, create_or_resume
from producer.preflight import LaunchConfig, LaunchOptions, Preflight, preflight
from producer.run_queue import prepare_queue
from producer.run_request import Request
from runtime import log, log_events
from runtime.errors import UnreachableError
from runtime.storage import open_storage

_MOST_LOOKS = 50  # each shows what another launch has done

_log = log.get()


@dataclass(frozen=True)
class Begun:
    """A launch that has begun.

    Attributes:
        found: by the preflight.
        run: to be worked on; None where there is nothing to do, and of a dry run.
        moved: whether the run was moved to another queue.
    """

    found: Preflight
    run: Run | None = None
    moved: bool = False

    @property
    def again(self) -> bool:
        """Whether the run was published before, so that its queue may hold all ready shards."""
        return self.found.continues is not None and not self.moved


def begin(
    request: Request,
    config: LaunchConfig,
    options: LaunchOptions,
    guard: Callable[[Preflight], None] | None = None,
) -> Begun:
    """Look, then create a run or resume one; look again while other launches come first.

    Where there is nothing to do, runs that are out of date end, and `info` is written.

    Args:
        request: the request.
        config: root of the runs, queue and tiers.
        options: what the launch may do.
        guard: refuses what costs too much, before anything is written.
    """
    for _ in range(_MOST_LOOKS):
        found = preflight(request, config, options)
        if options.dry_run:
            return Begun(found)
        if found.idle:
            cancel_outdated(found)
            write_info(open_storage(request.dest), request.volume)
            return Begun(found)
        if guard is not None:
            guard(found)
        moved = prepare_queue(found, config, options.run_id)
        try:
            return Begun(found, create_or_resume(found, config, options.run_id), moved)
        except LaunchedMeanwhile as error:
            _log.info(log_events.LAUNCHED_MEANWHILE, reason=str(error))
    raise UnreachableError(
        f"other commands began a run of {request.dest} each time this one looked",
        hint="run the same command again when they have ended",
    )
