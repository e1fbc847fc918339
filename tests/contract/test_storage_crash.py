"""A writer killed at any moment: no object, no half of one; what it left is swept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.storage import Pieces, open_storage

WRITER = """
import sys, time
from runtime.storage import open_storage

url, moment = sys.argv[1:]

def pause(here):
    if here == moment:
        print("now", flush=True)
        time.sleep(60)

def pieces():
    for _ in range(5):
        yield bytes(4 << 20)
    pause("body")
    return b"HEAD"

storage = open_storage(url)
storage.write_shard("s/1.shard", pieces(), 4, lambda: pause("confirm"))
pause("published")
"""


@pytest.fixture(params=["local", "gcs"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for each storage."""
    if request.param == "local":
        return str(tmp_path)
    return f"gs://{request.getfixturevalue('bucket')}/p"


@pytest.mark.parametrize("moment", ["body", "confirm", "published"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_killed_writer_leaves_all_or_nothing(url: str, moment: str, before: bytes | None) -> None:
    """SIGKILL while the body streams, before publishing, and after it."""
    storage = open_storage(url)
    if before:
        storage.write("s/1.shard", before)
    kill_writer_at(url, moment)
    if moment == "published":
        assert storage.read("s/1.shard") == b"HEAD" + bytes(20 << 20)
    elif before:
        assert storage.read("s/1.shard") == before
    else:
        assert not storage.exists("s/1.shard")
        assert list(storage.list()) == []
    storage.sweep_temporaries(older_than_s=-60)
    assert storage.sweep_temporaries(older_than_s=-60) == 0
    storage.write_shard("s/1.shard", pieces(), 4, lambda: None)
    assert [info.path for info in storage.list()] == ["s/1.shard"]


def kill_writer_at(url: str, moment: str) -> None:
    """Start a writer, wait until it is there, kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url, moment], stdout=subprocess.PIPE, env=os.environ.copy()
    ) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"now\n"
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL


def pieces() -> Pieces:
    """Another writer does it over."""
    yield b"new"
    return b"HEAD"
