"""Peak memory of a conversion, the whole process counted, on full shards of 32,768 chunks."""

import subprocess
import sys
from pathlib import Path

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import ShardRangeReader
from consumer.protocol.tasks import ConvertTask, Outcome
from producer import export_writer
from producer.export_writer import Dialect
from producer.synthetic_export import write_large
from tests.support.specs import made_info

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MIB = 1 << 20
INFO = made_info((2048, 2048, 2048), (), bits=((9, 6),))
CHILD = """
import sys
from consumer.executor.convert import convert_shard
from consumer.protocol.tasks import ConvertTask
from memmodel import process_memory
from runtime.storage import open_storage
task = ConvertTask.model_validate_json(sys.stdin.read())
process_memory.reset_peak()
dest, source = open_storage(task.dest), open_storage(task.source)
outcome = convert_shard(task, dest, source, lambda: None, lambda _: None)
print(process_memory.peak_bytes(), outcome.model_dump_json(), sep="\\n")
"""


@pytest.fixture(scope="module", params=[(28, 150, 400), (4, 1000, 450)], ids=["150MB", "1GB"])
def export(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """A full shard's Arrow file of at least so many megabytes, and the peak that is allowed."""
    pitch, least_mb, most_mib = request.param
    root = tmp_path_factory.mktemp("export")
    path = write_large(root, VolumeSpec.parse(INFO).scales[0], 32_768, pitch=pitch)
    assert path.stat().st_size >= least_mb * 1_000_000
    return path, most_mib * MIB


def rewrite_index(path: Path, dialect: Dialect) -> None:
    """The same file with an index of another dialect."""
    found = ShardRangeReader(path).index
    rows = zip(
        map(tuple, found.coords.tolist()),
        found.offset.tolist(),
        found.size.tolist(),
        found.batch_row.tolist(),
        strict=True,
    )
    index = export_writer._Index(found.schema_size, list(rows))
    for old in path.parent.glob("*.csv"):
        old.unlink()
    export_writer._write_csv(path.with_suffix(""), index, dialect)


def convert(path: Path, dest: Path, threads: int) -> tuple[int, Outcome]:
    """Peak bytes and outcome of a process that does nothing else."""
    task = ConvertTask(
        run="r",
        key="s0/0",
        volume=INFO,
        scale=0,
        shard=0,
        dest=str(dest),
        source=str(path.parent.parent),
        sources=(f"s0/{path.name}",),
        threads=threads,
        gzip_level=1,  # the memory is the same, the test faster
    )
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=task.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    peak, outcome = done.stdout.splitlines()
    return int(peak), Outcome.model_validate_json(outcome)


def test_peak_is_bounded_for_every_dialect(export: tuple[Path, int], tmp_path: Path) -> None:
    """With byte offsets or without, one thread or two; and all dialects give the same bytes."""
    path, most_bytes = export
    seen = set()
    for dialect in Dialect:
        rewrite_index(path, dialect)
        peak, outcome = convert(path, tmp_path, threads=2)
        assert outcome.chunks == 32_768
        assert peak <= most_bytes, f"{dialect}: {peak / MIB:.0f} MiB"
        print(f"{path.stat().st_size / 1e6:.0f} MB {dialect}: {peak / MIB:.0f} MiB")  # noqa: T201
        seen.add(outcome.crc32c)
    assert len(seen) == 1
