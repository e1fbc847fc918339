"""Work of TensorStore on a bucket, in a process of its own: `... write|read ARGUMENTS`.

Prints wall time and processor time as JSON; imports and decoding's first use are in neither.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import tensorstore as ts

from benchmarks.with_tensorstore import boxes, limits, write_rows
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import ShardRangeReader

_TRANSACTION = 100  # chunks; what people use


def main() -> None:
    """Do one piece of work and say how long it took."""
    what, arguments = sys.argv[1], json.loads(sys.argv[2])
    began, cpu = time.perf_counter(), time.process_time()
    (write if what == "write" else read)(**arguments)
    print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))


def write(arrow: str, volume: dict[str, Any], bucket: str, prefix: str, chunks: int) -> None:
    """Decode the first chunks of an export file and write them in transactions."""
    target = _open(bucket, prefix)
    scale = VolumeSpec.parse(volume, "network").scales[0]
    with ShardRangeReader(arrow) as reader:
        for first in range(0, chunks, _TRANSACTION):
            rows = np.arange(first, min(first + _TRANSACTION, chunks))
            write_rows(target, scale, reader, rows)


def read(bucket: str, prefix: str, end: list[int]) -> None:
    """Read a box of voxels from the origin on."""
    source = _open(bucket, prefix)
    for box in boxes((0, 0, 0), end):
        source[box].read().result()


def _open(bucket: str, prefix: str) -> Any:  # noqa: ANN401 - TensorStore is not typed
    """Scale 0 of a volume in a bucket."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "gcs", "bucket": bucket, "path": prefix},
        "scale_index": 0,
        "context": limits(),
    }
    return ts.open(spec).result()


if __name__ == "__main__":
    main()
