"""Logs: structlog to stderr, for people on a terminal and as JSON lines elsewhere.

An event's name is a constant here, so that whoever filters logs finds all of them in one place;
everything else about it goes into fields.
"""

import logging
import sys
from typing import Any, Final

import structlog

from runtime import settings

COMMAND_FAILED: Final = "command_failed"
STORAGE_RETRIED: Final = "storage_retried"
TEMPORARIES_SWEPT: Final = "temporaries_swept"

RUN_CREATED: Final = "run_created"
RUN_CONTINUED: Final = "run_continued"
RUN_CANCELLED: Final = "run_cancelled"
RUN_ENDED: Final = "run_ended"
RUN_GIVEN_UP: Final = "run_given_up"
PUBLISHED: Final = "published"
PUBLISHED_AGAIN: Final = "published_again"

LEASED: Final = "leased"
LEASE_EXTENDED: Final = "lease_extended"
LEASE_NOT_EXTENDED: Final = "lease_not_extended"
LEASE_LOST: Final = "lease_lost"
SHARD_DONE: Final = "shard_done"
SHARD_ALREADY_DONE: Final = "shard_already_done"
SHARD_NOT_READY: Final = "shard_not_ready"
SHARD_CANCELLED: Final = "shard_cancelled"
SHARD_ESCALATED: Final = "shard_escalated"
SHARD_HANDED_BACK: Final = "shard_handed_back"
SHARD_DEAD: Final = "shard_dead"
INPUTS_ABSENT: Final = "inputs_absent"
LETTER_DRAINED: Final = "letter_drained"
MESSAGE_UNREADABLE: Final = "message_unreadable"
HEARTBEAT_MISSED: Final = "heartbeat_missed"
BROKER_RETRIED: Final = "broker_retried"
BACKLOG_UNKNOWN: Final = "backlog_unknown"

WORKER_STARTED: Final = "worker_started"
WORKER_WAITS: Final = "worker_waits"
WORKER_STOPPED: Final = "worker_stopped"
WORK_PROCESS_STARTED: Final = "work_process_started"
WORK_PROCESS_ENDED: Final = "work_process_ended"
WORKER_DIED: Final = "worker_died"
FLEET_STARTED: Final = "fleet_started"
FLEET_STOPPED: Final = "fleet_stopped"


def configure(json: bool | None = None, level: str = "info") -> None:
    """Set up logging once per process.

    Args:
        level: the least that is printed, unless LOG_LEVEL says otherwise.
        json: one JSON object per line, or text for people; None asks LOG_FORMAT, then whether
            stderr is a terminal.
    """
    least = getattr(logging, settings.log_level(level).upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_json_processors() if _wants_json(json) else _human_processors()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # Asked for at each event, since a progress bar takes its place while it is shown. One write
        # per line: the workers of a fleet share one stderr.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(**fields: Any) -> structlog.typing.FilteringBoundLogger:  # noqa: ANN401 - any value logs
    """A logger that adds `fields` to each event."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**fields)
    return logger


def trace(error: BaseException) -> None:
    """Keep the traceback of an error that a command reports in one line: at level debug only."""
    if structlog.is_configured():
        get().debug(COMMAND_FAILED, exc_info=error)


def _wants_json(asked: bool | None) -> bool:
    if asked is not None:
        return asked
    chosen = settings.log_format()
    return chosen == "json" if chosen else not sys.stderr.isatty()


def _json_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str),
    ]


def _human_processors() -> list[structlog.typing.Processor]:
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
