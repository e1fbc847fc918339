"""Settings with defaults and checks; the only reader of the environment.

A flag wins over the environment, which wins over a `.env` in the working directory. Flags and
environment meet in options, such as those of `runtime.common_options`; what has no flag is read
here.
An empty variable counts as unset.
"""

import difflib
import os
from pathlib import Path
from typing import Final

from runtime.env_file import read_env_file
from runtime.errors import UsageError
from runtime.urls import GS, is_remote, resolve_path, split_bucket

SOURCE_PATH: Final = "SOURCE_PATH"
DEST_PATH: Final = "DEST_PATH"
NG_SPEC_PATH: Final = "NG_SPEC_PATH"
SCALES: Final = "SCALES"
DOWNRES_SCALES: Final = "DOWNRES_SCALES"
LABEL_TYPE: Final = "LABEL_TYPE"
PROJECT_ID: Final = "PROJECT_ID"
REGION: Final = "REGION"
BASE_JOB_NAME: Final = "BASE_JOB_NAME"
QUEUE_URL: Final = "QUEUE_URL"
STATE_PATH: Final = "STATE_PATH"
TIERS: Final = "TIERS"
LEASE_S: Final = "LEASE_S"
MAX_INSTANCES: Final = "MAX_INSTANCES"
MAX_INSTANCES_PER_TIER: Final = "MAX_INSTANCES_PER_TIER"
MAX_DOLLARS: Final = "MAX_DOLLARS"
MAX_DOLLARS_PER_HOUR: Final = "MAX_DOLLARS_PER_HOUR"
MAX_VCPUS: Final = "MAX_VCPUS"
MAX_MEMORY_GIB: Final = "MAX_MEMORY_GIB"
GZIP_LEVEL: Final = "GZIP_LEVEL"
LOG_LEVEL: Final = "LOG_LEVEL"
LOG_FORMAT: Final = "LOG_FORMAT"
WORKER_IMAGE: Final = "WORKER_IMAGE"
WORKER_MEMORY: Final = "WORKER_MEMORY"
WORKER_SERVICE_ACCOUNT: Final = "WORKER_SERVICE_ACCOUNT"
AUTOSCALER_SERVICE_ACCOUNT: Final = "AUTOSCALER_SERVICE_ACCOUNT"
BUILD_SERVICE_ACCOUNT: Final = "BUILD_SERVICE_ACCOUNT"
WORKER_SLOTS: Final = "WORKER_SLOTS"
MEMORY_COEFFICIENTS: Final = "MEMORY_COEFFICIENTS"
STORAGE_RETRY_S: Final = "STORAGE_RETRY_S"
USER_PROJECT: Final = "USER_PROJECT"  # pays for reading buckets whose requesters pay
WORK_BALLAST_BYTES: Final = "WORK_BALLAST_BYTES"
WORK_PAUSE_S: Final = "WORK_PAUSE_S"
STORAGE_EMULATOR_HOST: Final = "STORAGE_EMULATOR_HOST"
PUBSUB_EMULATOR_HOST: Final = "PUBSUB_EMULATOR_HOST"

NAMES: Final = frozenset(
    value for name, value in globals().items() if name.isupper() and value == name
)
FOR_TESTS: Final = frozenset([WORK_BALLAST_BYTES, WORK_PAUSE_S])

_in_file: Final[dict[str, str]] = {}  # what the last `.env` that was read holds

DEFAULT_QUEUE_URL: Final = "sqlite:.braid/queue.db"
DEFAULT_TIERS: Final = "2,4,8,16,24,32"  # GiB
DEFAULT_LEASE_S: Final = 60
DEFAULT_GZIP_LEVEL: Final = 6
DEFAULT_MAX_DOLLARS: Final = 100.0  # of a run
DEFAULT_STORAGE_RETRY_S: Final = 120.0
DEFAULT_BASE_JOB_NAME: Final = "shardlift"

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("human", "json")

_RUNS_SUFFIX: Final = ".runs"
_ALIKE: Final = 0.85  # of two names, so that one is taken for the other's slip


def load_dotenv(directory: Path | None = None) -> None:
    """Read `.env` of `directory` (default: the working directory); set variables win over it.

    Of our own settings an empty one counts as unset; programs of others may tell the two apart.

    Raises:
        UsageError: the file cannot be read.
    """
    _in_file.clear()
    _in_file.update(read_env_file((directory or Path()) / ".env"))
    for name, value in _in_file.items():
        present = os.environ.get(name)
        if present is None or (not present and name in NAMES):
            os.environ[name] = value


def origin(name: str) -> str | None:
    """`environment` or `.env`, whichever a variable's value is from; None where it is unset."""
    value = get(name)
    if value is None:
        return None
    return ".env" if _in_file.get(name) == value else "environment"


def misspelt() -> dict[str, str]:
    """Names in the `.env` that are no settings but look like one, and that one."""
    found = {}
    for name in _in_file.keys() - NAMES:
        if close := difflib.get_close_matches(name.upper(), NAMES, 1, _ALIKE):
            found[name] = close[0]
    return dict(sorted(found.items()))


def names_in_file() -> frozenset[str]:
    """Names that the `.env` sets."""
    return frozenset(_in_file)


def disable_bucket_metadata_requests() -> None:
    """Disable the requests for bucket properties that Google's client sends for its traces."""
    # They are sent even without tracing, need a right that workers lack, and one more follows each
    # object that is not found.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


def get(name: str, default: str | None = None) -> str | None:
    """Text of a variable, or `default` where it is unset or empty."""
    return os.environ.get(name) or default


def default_queue_url() -> str:
    """QUEUE_URL, else the embedded broker in the working directory."""
    return os.environ.get(QUEUE_URL) or DEFAULT_QUEUE_URL


def default_state_url(dest: str) -> str:
    """STATE_PATH, else `dest` with `.runs` appended to its last name.

    Raises:
        UsageError: `dest` has no last name (a bare bucket, the root) and STATE_PATH is unset.
    """
    return get(STATE_PATH) or _default_state(dest)


def _default_state(dest: str) -> str:
    if is_remote(dest):
        bucket, prefix = split_bucket(dest.rstrip("/"))
        if prefix:
            return f"{GS}{bucket}/{prefix}{_RUNS_SUFFIX}"
    elif (path := resolve_path(dest.removeprefix("file://"))).name:
        return _existing_state(dest, str(path) + _RUNS_SUFFIX)
    raise UsageError(
        f"no default for the state of runs: {dest} has no last name to append {_RUNS_SUFFIX} to",
        hint=f"set {STATE_PATH} or pass --state, for instance a prefix in another bucket",
    )


def _existing_state(dest: str, state: str) -> str:
    """The default state; where only version 0.1.0's exists, which resolved no links, that one."""
    former = str(Path(dest).absolute()) + _RUNS_SUFFIX
    if dest.startswith("~") or Path(state).exists() or not Path(former).is_dir():
        return state
    return former


def lease_s() -> int:
    """LEASE_S in whole seconds; 1 to 600 (Pub/Sub itself allows 10 to 600)."""
    return _whole(LEASE_S, DEFAULT_LEASE_S, 1, 600)


def gzip_level() -> int:
    """GZIP_LEVEL, libdeflate's 1 (fast) to 12 (small)."""
    return _whole(GZIP_LEVEL, DEFAULT_GZIP_LEVEL, 1, 12)


def tiers() -> str:
    """TIERS as written, GiB separated by commas; parsed by `memmodel.tiers`."""
    return os.environ.get(TIERS) or DEFAULT_TIERS


def memory_coefficients() -> str | None:
    """MEMORY_COEFFICIENTS: file or URL written by `memmodel fit`; None for the built-in ones."""
    return get(MEMORY_COEFFICIENTS)


def storage_retry_s() -> float:
    """STORAGE_RETRY_S: seconds for which transient storage errors are retried in place."""
    return _seconds(STORAGE_RETRY_S, DEFAULT_STORAGE_RETRY_S)


def work_ballast_bytes() -> int:
    """WORK_BALLAST_BYTES, for tests only: extra memory held by the executor."""
    return _whole(WORK_BALLAST_BYTES, 0, 0, 1 << 40)


def work_pause_s() -> float:
    """WORK_PAUSE_S, for tests only: delay before the executor requests to publish."""
    return _seconds(WORK_PAUSE_S, 0.0)


def log_level(default: str = "info") -> str:
    """LOG_LEVEL: debug, info, warning or error; by default info for workers."""
    return _one_of(LOG_LEVEL, default, LOG_LEVELS)


def put(name: str, value: str) -> None:
    """Set a variable for this process and those that it starts, as an answer does."""
    os.environ[name] = value


def set_log_level(level: str) -> None:
    """Set LOG_LEVEL for this process and those that it starts, as -v and -q do."""
    os.environ[LOG_LEVEL] = level


def plain_terminal() -> bool:
    """Whether the terminal has no colours, or none are wanted (NO_COLOR)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "dumb") == "dumb"


def log_format() -> str | None:
    """LOG_FORMAT: human or json; None if unset (then a terminal decides)."""
    return _one_of(LOG_FORMAT, "", LOG_FORMATS) or None


def _seconds(name: str, default: float) -> float:
    text = get(name)
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{name} must be a number of seconds, found {text!r}")
    return seconds


def _whole(name: str, default: int, least: int, most: int) -> int:
    text = get(name)
    if text is None:
        return default
    if not text.strip().isascii() or not text.strip().isdigit():
        raise UsageError(f"{name} must be a whole number, found {text!r}")
    digits = text.strip().lstrip("0") or "0"
    if len(digits) > len(str(most)) or not least <= int(digits) <= most:
        raise UsageError(f"{name} must lie between {least} and {most}, found {text[:20]}")
    return int(digits)


def _one_of(name: str, default: str, allowed: tuple[str, ...]) -> str:
    text = (get(name) or default).lower()
    if text != default and text not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, found {text!r}")
    return text
