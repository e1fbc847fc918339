"""Folder with an export and its spec, in which the commands of `producer` and `consumer` run."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from braid.precomputed.volume_spec import VolumeSpec
from producer.synthetic_export import SyntheticVolume, write_export
from tests.support.commands import CommandResult, run_in_process
from tests.support.run_harness import small_spec

Triple = tuple[int, int, int]
SIZE = (200, 150, 100)  # 4 x 3 x 2 chunks, a shard each; clipped on every axis
SCALES = 3


@dataclass(frozen=True)
class Workspace:
    """Export, spec and room for volumes.

    Attributes:
        folder: current directory of every command.
        sample: voxels of the export.
        spec: of the volume.
        tiers: value of `--tiers`.
    """

    folder: Path
    sample: SyntheticVolume
    spec: VolumeSpec
    tiers: str = "0.5,1"

    @property
    def export(self) -> Path:
        """The DVID export."""
        return self.folder / "export"

    @property
    def volume(self) -> Path:
        """The usual destination."""
        return self.folder / "out"

    def arrow(self, number: int = 0) -> Path:
        """One of the export's Arrow files, in name order."""
        return sorted((self.export / "s0").glob("*.arrow"))[number]

    def shards(self, scale: int = 0) -> list[Path]:
        """The shard files of a scale."""
        return sorted((self.volume / self.spec.scales[scale].key).glob("*.shard"))

    def run(self, *arguments: str) -> CommandResult:
        """Run `python -m producer ...` within this process; fleets are processes of their own."""
        environment = clean_environment()
        return run_in_process("producer", *arguments, folder=self.folder, environment=environment)

    def run_subprocess(self, *arguments: str, program: str = "producer") -> CommandResult:
        """Run `python -m PROGRAM ...` in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return CommandResult(done.args, done.returncode, done.stdout, done.stderr)

    def start(
        self, *arguments: str, program: str = "producer", **environment: str
    ) -> subprocess.Popen[str]:
        """Start `python -m PROGRAM ...` in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", program, *arguments],
            cwd=self.folder,
            env=clean_environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def enqueue_command(self, *more: str, dest: str = "out") -> list[str]:
        """Arguments of an `enqueue` of this export."""
        common = ["--source", "export", "--dest", dest, "--spec", "spec.json"]
        return ["enqueue", *common, "--tiers", self.tiers, *more]

    def enqueue(self, *more: str) -> CommandResult:
        """Enqueue every scale on the queue `queue.db`."""
        coarse = ",".join(str(scale.index) for scale in self.spec.scales[1:])
        scales = ("--scales", "0", "--downres", coarse, "--queue", "sqlite:queue.db")
        return self.run(*self.enqueue_command(*scales, *more))

    def of_run(self, *arguments: str) -> CommandResult:
        """Run a command about the newest run of the usual destination."""
        return self.run(*arguments, "--dest", str(self.volume))

    def files(self, folder: str = "out") -> dict[str, bytes]:
        """Every file below a folder, by its path in there."""
        root = self.folder / folder
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


def make_workspace(
    folder: Path, size: Triple = SIZE, scales: int = SCALES, tiers: str = "0.5,1"
) -> Workspace:
    """A workspace whose export has one file per block; nothing is converted."""
    folder.mkdir(exist_ok=True)
    spec, sample = small_spec(size, scales), SyntheticVolume(size)
    write_export(folder / "export", small_spec(size, 1).scales[0], sample)
    (folder / "spec.json").write_text(json.dumps(spec.to_info()))
    return Workspace(folder, sample, spec, tiers)


def make_small_workspace(folder: Path) -> Workspace:
    """A workspace of 12 + 2 shards on one tier."""
    return make_workspace(folder, (190, 120, 100), scales=2, tiers="0.5")


def converted_workspace(folder: Path) -> Workspace:
    """A small workspace whose run is done."""
    workspace = make_small_workspace(folder)
    assert workspace.enqueue("--wait").returncode == 0
    return workspace


def clean_environment() -> dict[str, str]:
    """The environment without settings that a developer's shell may have; a short lease."""
    names = ("SOURCE_PATH", "DEST_PATH", "NG_SPEC_PATH", "SCALES", "STATE_PATH", "QUEUE_URL")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"LEASE_S": "5", "LOG_FORMAT": "json"}


def error_line(done: CommandResult) -> str:
    """The only error line of a command that failed, without a traceback."""
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def corrupt_zstd(arrow: Path) -> bytes:
    """Damage the compressed block of a file of one row; returns the sound file."""
    sound = arrow.read_bytes()
    begin = sound.index(b"\x28\xb5\x2f\xfd")  # the magic number of a zstd frame
    data = bytearray(sound)
    for position in range(begin + 12, begin + 40):
        data[position] ^= 0x5A
    arrow.write_bytes(data)
    return sound
