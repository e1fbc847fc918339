"""Whole volumes: shards written by our writer, read back by TensorStore and cloud-volume."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import deflate
import numpy as np
import tensorstore as ts

from braid.io.byte_source import BytesSource
from braid.io.crc32c import crc32c, crc32c_text
from braid.precomputed import morton
from braid.precomputed.chunk_codec import encode_chunk
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import all_shards, shard_numbers, shard_path
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from tests.support.shards import shard_of
from tests.support.votes_reference import Voxels


def shard_bytes(scale: ScaleSpec, voxels: Voxels) -> dict[int, bytes]:
    """The files of a scale's shards that are not empty, by number."""
    chunks = sorted(_payloads(scale, voxels))
    shards: dict[int, bytes] = {}
    for shard in all_shards(scale):
        mine = [(i, p) for i, p in chunks if int(shard_numbers([i], scale.sharding)[0]) == shard]
        if mine:
            shards[shard] = shard_of(mine, scale.sharding, shard)
    return shards


def write_shards(dest: Path, scale: ScaleSpec, shards: Mapping[int, bytes]) -> None:
    """Write shard files to their paths in a volume."""
    for shard, data in shards.items():
        path = dest / shard_path(scale, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_volume(dest: Path, info: Mapping[str, Any], voxels: Voxels) -> VolumeSpec:
    """A volume with its info and the shards of scale 0."""
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "info").write_text(json.dumps(info))
    volume = VolumeSpec.parse(info)
    write_shards(dest, volume.scales[0], shard_bytes(volume.scales[0], voxels))
    return volume


def crc_of(data: bytes) -> str:
    """CRC32C in the ledger's form."""
    return crc32c_text(crc32c(data))


def tensorstore_voxels(dest: Path, scale: int) -> Voxels:
    """A scale as TensorStore reads it, (z, y, x)."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": f"file://{dest.absolute()}/",
        "scale_index": scale,
    }
    return np.asarray(ts.open(spec).result()[..., 0].read().result()).T


def cloudvolume_voxels(dest: Path, scale: int) -> Voxels:
    """A scale as cloud-volume reads it, (z, y, x)."""
    from cloudvolume import CloudVolume  # noqa: PLC0415 - a second of imports

    volume = CloudVolume(
        f"precomputed://file://{dest.absolute()}", mip=scale, fill_missing=True, progress=False
    )
    return np.asarray(volume[:, :, :])[..., 0].T


class DictInputs:
    """Fine shards in memory; remembers what was opened and finished."""

    def __init__(self, scale: ScaleSpec, shards: Mapping[int, bytes]) -> None:
        self.scale = scale
        self.shards = shards
        self.opened: list[int] = []
        self.finished_with: dict[int, str | None] = {}

    def open(self, shard: int) -> ShardFile | None:
        """See `braid.downsample.cells.Inputs`."""
        self.opened.append(shard)
        if shard not in self.shards:
            return None
        return ShardFile.open(BytesSource(self.shards[shard], f"{shard}.shard"), self.scale, shard)

    def finished(self, shard: int, file: ShardFile) -> None:
        """See `braid.downsample.cells.Inputs`."""
        assert shard not in self.finished_with
        self.finished_with[shard] = file.crc32c


def _payloads(scale: ScaleSpec, voxels: Voxels) -> list[tuple[int, bytes]]:
    payloads = []
    nx, ny, nz = map(range, scale.grid)
    for coord in itertools.product(nx, ny, nz):
        (x, y, z), (ex, ey, ez) = scale.chunk_box(coord)
        part = np.ascontiguousarray(voxels[z:ez, y:ey, x:ex])
        if part.any():
            chunk = encode_chunk(scale, part)
            if scale.sharding.data_encoding == "gzip":
                chunk = bytes(deflate.gzip_compress(chunk, 6))
            payloads.append((int(morton.encode([coord], scale.grid)[0]), chunk))
    return payloads


def write_tiled(dest: Path, info: Mapping[str, Any], pool: Sequence[bytes]) -> VolumeSpec:
    """A volume of whole chunks whose scale 0 repeats these payloads in id order."""
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "info").write_text(json.dumps(info))
    volume = VolumeSpec.parse(info)
    scale = volume.scales[0]
    per_shard = 1 << (scale.sharding.preshift_bits + scale.sharding.minishard_bits)
    for shard in all_shards(scale):
        ids = range(shard * per_shard, min((shard + 1) * per_shard, 1 << scale.id_bits))
        chunks = [(i, pool[i % len(pool)]) for i in ids]
        write_shards(dest, scale, {shard: shard_of(chunks, scale.sharding, shard)})
    return volume


def made_payloads(scale: ScaleSpec, labels: int, count: int = 8) -> list[bytes]:
    """Payloads of chunks with about so many labels."""
    rng = np.random.default_rng(labels)
    x, y, z = scale.chunk_size
    edge = max(1, round((x * y * z / labels) ** (1 / 3)))
    payloads = []
    for _ in range(count):
        seeds = rng.integers(1, 2**63, [-(-n // edge) + 1 for n in (z, y, x)], np.uint64)
        wobble = rng.integers(0, edge, 3)
        cells = [(np.arange(n) + w) // edge for n, w in zip((z, y, x), wobble, strict=True)]
        voxels = np.ascontiguousarray(seeds[np.ix_(*cells)])
        rough = rng.random(voxels.shape) < 0.05
        voxels[rough] = np.roll(voxels, 1, axis=2)[rough]
        payloads.append(bytes(deflate.gzip_compress(encode_chunk(scale, voxels), 6)))
    return payloads
