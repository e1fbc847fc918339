"""Fixtures of the kernel tests: AVX2 and portable loops, and the real shard as arrays."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, settings

import _braid

# `lanes` only chooses which loops run: it is the same for every example of a test.
settings.register_profile(
    "kernel", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("kernel")


def pytest_report_header() -> str:
    """Name the build of the kernels that is tested."""
    return f"kernels: {_braid.__file__}"


def pytest_sessionstart() -> None:
    """Refuse to run the plain build where the sanitized one is expected."""
    folder = os.environ.get("SHARDLIFT_SANITIZED", "")
    if not _braid.__file__.startswith(folder):
        pytest.exit(f"expected the sanitized kernels of {folder}, found {_braid.__file__}", 4)


@pytest.fixture(params=["wide", "portable"])
def lanes(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run with AVX2 (skipped where there is none) and with portable C."""
    if _braid.use_wide_lanes(request.param == "wide") != (request.param == "wide"):
        pytest.skip("needs AVX2")
    yield request.param
    _braid.use_wide_lanes(True)


@dataclass
class RealShard:
    """The rows of the real shard, blocks without zstd.

    Attributes:
        blocks, start: the blocks and their (n + 1,) starts.
        mapping: labels, label starts, supervoxels, supervoxel starts.
    """

    blocks: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    mapping: tuple[npt.NDArray[Any], ...]

    def __len__(self) -> int:
        return len(self.start) - 1


@pytest.fixture(scope="session")
def real_shard(shared: Path) -> RealShard:
    """All 258 rows of the male fly CNS shard."""
    path = shared / "data/mcns-edge/s1/30720_24576_28672.arrow"
    table = pa.ipc.open_stream(path).read_all().combine_chunks()
    sizes = table["uncompressed_size"].to_numpy().astype(np.int64)
    decompressor = zstandard.ZstdDecompressor()
    frames = zip(table["dvid_compressed_block"].to_pylist(), sizes, strict=True)
    blocks = [decompressor.decompress(frame, max_output_size=int(size)) for frame, size in frames]
    mapping = []
    for name in ("labels", "supervoxels"):
        column = table[name].chunk(0)
        mapping += [
            column.flatten().to_numpy(),
            column.offsets.to_numpy().astype(np.int64),
        ]
    return RealShard(
        np.frombuffer(b"".join(blocks), np.uint8),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        tuple(mapping),
    )
