"""Notes on a spec that is valid and yet costs more, or harms more, than people expect."""

from collections.abc import Iterable, Iterator, Sequence

from braid.precomputed.spec_design import SharedFiles, find_shared_files
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from memmodel.usage import RAW_OVER_GZIP


def spec_notes(
    volume: VolumeSpec,
    made: Iterable[int] | None = None,
    exported: Iterable[int] | None = None,
    z_compress: int = 0,
) -> list[str]:
    """Notes for people, one line each.

    Args:
        volume: as parsed from the spec file; an `info` has no defaulted fields.
        made: scales whose shards are to be made; None: all.
        exported: scales that DVID writes files of; None: all.
        z_compress: slices of scale 0 left out after each one kept.
    """
    stored = _chosen(volume, made)
    notes = list(_raw_by_default(stored))
    for scale in _chosen(volume, exported):
        shared = find_shared_files(scale, z_compress + 1 if scale.index == 0 else 1)
        if shared is not None:
            notes.append(_shared_files(shared))
    return notes


def unserved_notes(volume: VolumeSpec) -> list[str]:
    """Notes on the scales that are kept in `info` and cannot be made."""
    return [f"{scale.unserved}; this scale can be kept, not made" for scale in _unserved(volume)]


def _unserved(volume: VolumeSpec) -> Iterator[ScaleSpec]:
    return (scale for scale in volume.scales if scale.unserved)


def _chosen(volume: VolumeSpec, indices: Iterable[int] | None) -> list[ScaleSpec]:
    wanted = range(len(volume.scales)) if indices is None else sorted(indices)
    return [volume.scales[index] for index in wanted if not volume.scales[index].unserved]


def _raw_by_default(scales: Sequence[ScaleSpec]) -> Iterator[str]:
    found = [str(scale.index) for scale in scales if "data_encoding" in scale.defaulted]
    if found:
        yield (
            f"scale {', '.join(found)}: sharding lacks data_encoding, which means raw: chunks take "
            f'about {RAW_OVER_GZIP} times the bytes; "data_encoding": "gzip" compresses them'
        )


def _shared_files(shared: SharedFiles) -> str:
    bits = (shared.preshift_bits, shared.minishard_bits, shared.shard_bits)
    preshift, minishard, shard = bits
    return (
        f"scale {shared.scale.index}: DVID writes several shards into one file, and nothing can "
        f"read it: {shared.count:,} of {shared.files:,} files; export with preshift_bits "
        f"{preshift}, minishard_bits {minishard}, shard_bits {shard}"
    )
