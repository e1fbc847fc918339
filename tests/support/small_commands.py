"""A small export and `python -m producer` on it, with real workers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import run_here
from tests.support.small_runs import make_export, small_spec

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
        """`python -m producer ...` in this folder; a fleet it starts is a process of its own."""
        done = run_here("producer", *arguments, folder=self.folder)
        return Ended(done.returncode, done.stdout, done.stderr)

    def of_run(self, *arguments: str) -> Ended:
        """A command about the newest run."""
        return self.run(*arguments, "--dest", str(self.volume))

    def enqueue(self, *more: str) -> Ended:
        """Everything, on a tier of half a GiB."""
        places = ("--source", "export", "--dest", "volume", "--spec", "spec.json")
        scales = ("--scales", "0", "--downres", "1", "--tiers", "0.5", "--queue", "sqlite:queue.db")
        return self.run("enqueue", *places, *scales, *more)


def make_desk(folder: Path) -> Desk:
    """An export and its spec; nothing is converted yet."""
    folder.mkdir(exist_ok=True)
    spec = small_spec(SIZE, SCALES)
    (folder / "spec.json").write_text(json.dumps(spec.to_info()))
    make_export(folder / "export", SIZE)
    return Desk(folder)


def finished_desk(folder: Path) -> Desk:
    """A desk whose run made everything."""
    desk = make_desk(folder)
    assert desk.enqueue("--wait").code == 0
    return desk


def corrupt_zstd(arrow: Path) -> bytes:
    """Damage the compressed block of a file of one row; returns what the file was."""
    whole = arrow.read_bytes()
    at = whole.index(b"\x28\xb5\x2f\xfd")  # a zstd frame begins so
    data = bytearray(whole)
    for place in range(at + 12, at + 40):
        data[place] ^= 0x5A
    arrow.write_bytes(data)
    return whole
