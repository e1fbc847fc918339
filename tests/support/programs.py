"""The real programs, as somebody types them; and small exports for them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braid.precomputed.volume_spec import VolumeSpec
from producer.synthetic_export import SyntheticVolume, write_export
from tests.support.commands import run_here
from tests.support.small_runs import small_spec

Triple = tuple[int, int, int]
SIZE = (200, 150, 100)  # 4 x 3 x 2 chunks, a shard each; clipped on every axis
SCALES = 3
TIERS = "0.5,1"


@dataclass(frozen=True)
class Bench:
    """A folder with an export, a spec and room for volumes; commands run in it."""

    folder: Path
    sample: SyntheticVolume
    spec: VolumeSpec

    @property
    def export(self) -> Path:
        """The DVID export."""
        return self.folder / "export"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m producer ...`, to its end, in this process."""
        environment = clean_environment()
        return run_here("producer", *arguments, folder=self.folder, environment=environment)

    def run_really(
        self, *arguments: str, program: str = "producer"
    ) -> subprocess.CompletedProcess[str]:
        """`python -m PROGRAM ...`, to its end, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def start(
        self, *arguments: str, program: str = "producer", **environment: str
    ) -> subprocess.Popen[str]:
        """The same, in a session of its own, not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", program, *arguments],
            cwd=self.folder,
            env=clean_environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def enqueue(self, *more: str, dest: str = "out") -> list[str]:
        """Arguments of an `enqueue` of this export."""
        common = ["--source", "export", "--dest", dest, "--spec", "spec.json", "--tiers", TIERS]
        return ["enqueue", *common, *more]

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """The one JSON document that a command prints on stdout."""
        done = self.run(*arguments, "--json")
        return json.loads(done.stdout)

    def files(self, folder: str = "out") -> dict[str, bytes]:
        """Every file below a folder, by its path in there."""
        root = self.folder / folder
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


def make_bench(folder: Path, size: Triple = SIZE, scales: int = SCALES) -> Bench:
    """A bench whose export has one file per block."""
    spec, sample = small_spec(size, scales), SyntheticVolume(size)
    write_export(folder / "export", small_spec(size, 1).scales[0], sample)
    (folder / "spec.json").write_text(json.dumps(spec.to_info()))
    return Bench(folder, sample, spec)


def clean_environment() -> dict[str, str]:
    """Ours, without settings that a developer's shell may have; a short lease."""
    names = ("SOURCE_PATH", "DEST_PATH", "NG_SPEC_PATH", "SCALES", "STATE_PATH", "QUEUE_URL")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"LEASE_S": "5", "LOG_FORMAT": "json"}


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The error line of a command that failed; there must be one, and no traceback."""
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in lines if line.startswith("error: ")]
    assert len(said) == 1, done.stderr
    return said[0]


def keys(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The keys of some records."""
    return {str(row["key"]) for row in rows}
