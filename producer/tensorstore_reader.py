"""Independent reader of a volume: TensorStore, which shares no code with the writer."""

from typing import Any

import numpy as np

from braid.typing import BoolArray, UInt64Array, Vec3
from runtime import settings
from runtime.errors import ShardliftError
from runtime.urls import is_remote, split_bucket


class Volume:
    """Reader of a precomputed volume by boxes.

    Args:
        url: directory or gs:// prefix.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._scales: dict[int, Any] = {}

    def read(self, scale: int, begin: Vec3, end: Vec3) -> UInt64Array:
        """Voxels (z, y, x) of the box [begin, end), in x, y, z; missing chunks are zeros.

        Raises:
            ShardliftError: TensorStore cannot read them.
        """
        box = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
        try:
            voxels = self._opened(scale)[(*box, 0)].read().result()
        except ValueError as error:  # all of TensorStore's
            text = str(error).partition(" [tensorstore_spec=")[0]
            raise ShardliftError(f"TensorStore: {' '.join(text.split())}") from None
        return np.ascontiguousarray(np.asarray(voxels, np.uint64).transpose(2, 1, 0))

    def _opened(self, scale: int) -> Any:  # noqa: ANN401 - TensorStore publishes no types
        if scale not in self._scales:
            ts = _tensorstore()
            self._scales[scale] = ts.open(
                {
                    "driver": "neuroglancer_precomputed",
                    "kvstore": kvstore(self._url),
                    "scale_index": scale,
                    "recheck_cached_data": "open",
                },
                read=True,
                open=True,
            ).result()
        return self._scales[scale]


def kvstore(url: str) -> dict[str, Any]:
    """TensorStore's kvstore spec of a directory or gs:// prefix."""
    if is_remote(url):
        bucket, prefix = split_bucket(url)
        spec = {"driver": "gcs", "bucket": bucket, "path": f"{prefix}/" if prefix else ""}
        payer = settings.get(settings.USER_PROJECT)
        return {**spec, "gcs_user_project": {"project_id": payer}} if payer else spec
    return {"driver": "file", "path": f"{url}/"}


def halved(voxels: UInt64Array, factors: Vec3) -> UInt64Array:
    """Downsample with TensorStore: majority, ties to the smallest label.

    Args:
        voxels: (z, y, x) uint64.
        factors: x, y, z.
    """
    ts = _tensorstore()
    coarse = ts.downsample(ts.array(voxels), list(reversed(factors)), "mode")
    return np.asarray(coarse.read().result(), np.uint64)


def _tensorstore() -> Any:  # noqa: ANN401 - TensorStore publishes no types
    """Import TensorStore on first use; the import takes a third of a second."""
    import tensorstore  # noqa: PLC0415 (slow)

    return tensorstore


def vote(voxels: UInt64Array, factors: Vec3, rule: str) -> UInt64Array:
    """Majority per window in plain numpy: the reference for outputs.

    Args:
        voxels: (z, y, x) uint64; windows at its upper faces may be clipped.
        factors: x, y, z; each 1 or 2.
        rule: `mode` (zeros vote) or `nonzero-mode` (zeros do not); ties go to the smallest label.
    """
    fz, fy, fx = reversed(factors)
    stacked, present = _windows(voxels, (fz, fy, fx))
    best = np.zeros(stacked.shape[1:], np.uint64)
    best_votes = np.zeros(best.shape, np.int64)
    for candidate, exists in zip(stacked, present, strict=True):
        votes = ((stacked == candidate) & present).sum(axis=0)
        votes[~exists] = 0
        if rule == "nonzero-mode":
            votes[candidate == 0] = 0
        better = (votes > best_votes) | ((votes == best_votes) & (votes > 0) & (candidate < best))
        best[better], best_votes[better] = candidate[better], votes[better]
    return best


def _windows(voxels: UInt64Array, factors: Vec3) -> tuple[UInt64Array, BoolArray]:
    """Voxels of all windows, one array per position in the window, and a mask of existing ones."""
    padding = [(0, -n % f) for n, f in zip(voxels.shape, factors, strict=True)]
    padded = np.pad(voxels, padding)
    exists = np.pad(np.ones(voxels.shape, np.bool_), padding)
    offsets = np.ndindex(*factors)
    cuts = [tuple(slice(o, None, f) for o, f in zip(p, factors, strict=True)) for p in offsets]
    return np.stack([padded[cut] for cut in cuts]), np.stack([exists[cut] for cut in cuts])
