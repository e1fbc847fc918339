"""Logs: structlog to stderr, for people on a terminal and as JSON lines elsewhere."""

import logging
import sys
from typing import Any

import structlog

from runtime import cloud_log, log_events, settings
from runtime.log_format import human_processors, json_processors


def configure(json: bool | None = None, level: str = "info") -> None:
    """Set up logging once per process.

    Args:
        json: one JSON object per line, or text for people; None: as LOG_FORMAT says, else by
            whether stderr is a terminal.
        level: the lowest level printed, unless LOG_LEVEL sets another.
    """
    least = getattr(logging, settings.log_level(level).upper())
    as_json = _wants_json(json)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(json_processors() if as_json else human_processors()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # Looked up at each event: a progress bar replaces stderr while it is shown. One write per
        # line: the workers of a fleet share one stderr.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def configure_once(level: str = "warning") -> None:
    """Set up logging for a program of others, unless it or we did."""
    if not structlog.is_configured():
        configure(level=level)


def environment() -> dict[str, str]:
    """Variables of a process whose stderr this one passes on: lines of the same format."""
    if not structlog.is_configured():
        return {}
    as_json = cloud_log.add_fields in structlog.get_config()["processors"]
    return {settings.LOG_FORMAT: "json" if as_json else "human"}


def get(**fields: Any) -> structlog.typing.FilteringBoundLogger:  # noqa: ANN401 - any value logs
    """A logger that adds `fields` to each event."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**fields)
    return logger


def trace(error: BaseException) -> None:
    """Log, at level debug, the traceback of an error that a command reports in one line."""
    if structlog.is_configured():
        get().debug(log_events.COMMAND_FAILED, exc_info=error)


def _wants_json(choice: bool | None) -> bool:
    if choice is not None:
        return choice
    log_format = settings.log_format()
    return log_format == "json" if log_format else not sys.stderr.isatty()
