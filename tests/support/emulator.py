"""Google's Pub/Sub emulator, started from the gcloud SDK's jar; and queues on it.

Missing, it makes tests skip at home and fail in CI (`CI=true`).
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery.broker.pubsub_names import PubSubNames
from infra.desired import queues
from infra.pubsub_admin import PubSubAdmin
from infra.topics import Topics

PROJECT = "shardlift-tests"
HOST_VARIABLE = "PUBSUB_EMULATOR_HOST"
START_S = 60.0  # on a busy machine; about one second otherwise


def emulator_jar() -> Path | None:
    """The emulator in the SDK that `gcloud` belongs to, or None."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return None
    sdk = Path(gcloud).resolve().parents[1]
    return next(sdk.glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"), None)


@contextmanager
def running_emulator(log: Path, port: int | None = None) -> Iterator[str]:
    """An emulator of our own as `host:port`; it forgets everything when it ends."""
    jar = emulator_jar()
    if jar is None:
        why = "needs java and the gcloud SDK's pubsub-emulator"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    port = port or _free_port()
    command = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-jar", str(jar)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host=127.0.0.1", f"--port={port}"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, log)
        yield f"127.0.0.1:{port}"
    finally:
        _stop(process)


@contextmanager
def environment_of(host: str) -> Iterator[None]:
    """Clients made meanwhile, here and in processes started here, talk to this emulator."""
    before = os.environ.get(HOST_VARIABLE)
    os.environ[HOST_VARIABLE] = host
    try:
        yield
    finally:
        if before is None:
            del os.environ[HOST_VARIABLE]
        else:
            os.environ[HOST_VARIABLE] = before


def new_queue_url() -> str:
    """A queue that no other test uses."""
    return f"pubsub://{PROJECT}/t{uuid.uuid4().hex[:8]}"


def make_topology(url: str, tiers: Sequence[str], lease_s: int = 10) -> None:
    """Topics and subscriptions with their dead-letter chain, as `python -m infra up` makes them."""
    wanted = queues(PubSubNames.parse(url), tiers, lease_s)
    with _topics(url) as topics:
        topics.make(wanted, list(topics.compare(wanted)))


def remove_topology(url: str) -> None:
    """Remove them again, whatever tiers there are."""
    with _topics(url) as topics:
        topics.remove(topics.leftovers())


@contextmanager
def _topics(url: str) -> Iterator[Topics]:
    admin = PubSubAdmin(url)
    yield Topics(admin, PubSubNames.parse(url), emulator=True)
    admin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it answers; on a busy port it hangs with a word in its log, so watch that too."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        said = log.read_text(errors="replace")
        if process.poll() is not None or "BindException" in said:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"the Pub/Sub emulator did not start: {log.read_text(errors='replace')[-500:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
