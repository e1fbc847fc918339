"""A small export and `python -m producer` on it, for tests of commands with real processes."""

import contextlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from braid.exceptions import SpecError
from producer.__main__ import app
from runtime import cli
from runtime.errors import EXIT_USAGE
from tests.small_runs import make_export, small_spec

SIZE = (190, 120, 100)  # 3 x 2 x 2 shards of one chunk, every upper face clipped
SCALES = 2


@dataclass(frozen=True)
class Ended:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The one JSON document on stdout."""
        assert self.out, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Desk:
    """A folder with an export, a spec, a volume and a queue."""

    folder: Path

    @property
    def export(self) -> Path:
        """The DVID export."""
        return self.folder / "export"

    @property
    def volume(self) -> Path:
        """The destination."""
        return self.folder / "volume"

    def arrow(self, number: int = 0) -> Path:
        """One of the export's Arrow files, in name order."""
        return sorted((self.export / "s0").glob("*.arrow"))[number]

    def shards(self, scale: int = 0) -> list[Path]:
        """The shard files of a scale."""
        return sorted((self.volume / "x".join([str(8 << scale)] * 3)).glob("*.shard"))

    def run(self, *arguments: str) -> Ended:
        """`python -m producer ...` in this folder; never a traceback.

        Run in this process, because a start takes longer than most commands: arguments, output and
        exit code go the same way as in a process of its own.
        """
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", ["producer", *arguments]),
            _same_signals(),
        ):
            code = _exit_code()
        assert "a bug" not in err.getvalue(), err.getvalue()
        return Ended(code, out.getvalue(), err.getvalue())

    def start(self, *arguments: str) -> Ended:
        """The same as a real process, which may start others."""
        done = subprocess.run(
            [sys.executable, "-m", "producer", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def of_run(self, *arguments: str) -> Ended:
        """A command about the newest run."""
        return self.run(*arguments, "--dest", str(self.volume))

    def enqueue(self, *more: str) -> Ended:
        """Everything, on a tier of half a GiB."""
        places = ("--source", "export", "--dest", "volume", "--spec", "spec.json")
        scales = ("--scales", "0", "--downres", "1", "--tiers", "0.5", "--queue", "sqlite:queue.db")
        return self.start("enqueue", *places, *scales, *more)


def _exit_code() -> int:
    """Run the program as its `__main__` does."""
    try:
        cli.run(app, {SpecError: EXIT_USAGE})
    except SystemExit as ended:
        return int(ended.code or 0)


@contextlib.contextmanager
def _same_signals() -> Iterator[None]:
    """A program takes SIGTERM for itself; afterwards it is the test session's again."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def make_desk(folder: Path) -> Desk:
    """An export and its spec; nothing is converted yet."""
    folder.mkdir(exist_ok=True)
    spec = small_spec(SIZE, SCALES)
    (folder / "spec.json").write_text(json.dumps(spec.to_info()))
    make_export(folder / "export", SIZE)
    return Desk(folder)


def corrupt_zstd(arrow: Path) -> bytes:
    """Damage the compressed block of a file of one row; returns what the file was."""
    whole = arrow.read_bytes()
    at = whole.index(b"\x28\xb5\x2f\xfd")  # a zstd frame begins so
    data = bytearray(whole)
    for place in range(at + 12, at + 40):
        data[place] ^= 0x5A
    arrow.write_bytes(data)
    return whole
