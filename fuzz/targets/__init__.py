"""What can be fuzzed: one function of bytes per entry; whatever it raises is a finding.

A new target is one more line in `TARGETS` and, if it has any, files in `fuzz/corpus/<name>/`.
"""

from collections.abc import Callable

from fuzz.targets import kernels, payloads, readers, votes

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "arrow_metadata": kernels.arrow_metadata,
    "arrow_rows": kernels.arrow_rows,
    "block_decode": kernels.block_decode,
    "palette_transcode": kernels.palette_transcode,
    "cseg_decode": kernels.cseg_decode,
    "cseg_encode": kernels.cseg_encode,
    "zstd_frames": kernels.zstd_frames,
    "gzip_chunks": kernels.gzip_chunks,
    "payloads": payloads.payloads,
    "downsample_cells": votes.downsample_cells,
    "arrow_shard": readers.arrow_shard,
    "arrow_scan": readers.arrow_scan,
    "csv_index": readers.csv_index,
    "shard_file": readers.shard_file,
}
