"""The volume as TensorStore sees it: a reader that shares no code with what wrote it."""

from typing import Any

import numpy as np
import numpy.typing as npt

Triple = tuple[int, int, int]
Voxels = npt.NDArray[np.uint64]
_GS = "gs://"


class Volume:
    """A precomputed volume, read box by box.

    Args:
        url: directory or gs:// prefix.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._scales: dict[int, Any] = {}

    def read(self, scale: int, begin: Triple, end: Triple) -> Voxels:
        """Voxels (z, y, x) uint64 of the box [begin, end), in x, y, z; missing chunks are zeros."""
        box = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
        voxels = self._opened(scale)[(*box, 0)].read().result()
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


def kvstore(url: str) -> dict[str, str]:
    """TensorStore's name for a directory or gs:// prefix."""
    if url.startswith(_GS):
        bucket, _, prefix = url.removeprefix(_GS).partition("/")
        return {"driver": "gcs", "bucket": bucket, "path": f"{prefix}/" if prefix else ""}
    return {"driver": "file", "path": f"{url}/"}


def halved(voxels: Voxels, factors: Triple) -> Voxels:
    """The next scale as TensorStore makes it: majority, ties to the smallest label.

    Args:
        voxels: (z, y, x) uint64.
        factors: x, y, z.
    """
    ts = _tensorstore()
    coarse = ts.downsample(ts.array(voxels), list(reversed(factors)), "mode")
    return np.asarray(coarse.read().result(), np.uint64)


def _tensorstore() -> Any:  # noqa: ANN401 - TensorStore publishes no types
    """Imported where it is needed: other commands should not wait a third of a second for it."""
    import tensorstore  # noqa: PLC0415 (see above)

    return tensorstore


def vote(voxels: Voxels, factors: Triple, rule: str) -> Voxels:
    """Majority per window, plainly: the reference that outputs are held to.

    Args:
        voxels: (z, y, x) uint64; windows at its upper faces may be clipped.
        factors: x, y, z; each 1 or 2.
        rule: `mode` (zeros vote) or `nonzero-mode` (they do not); ties go to the smallest label.
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


def _windows(voxels: Voxels, factors: Triple) -> tuple[Voxels, npt.NDArray[np.bool_]]:
    """Voxels of every window, one slice each, and which of them exist: (w, z, y, x) both."""
    padding = [(0, -n % f) for n, f in zip(voxels.shape, factors, strict=True)]
    padded = np.pad(voxels, padding)
    exists = np.pad(np.ones(voxels.shape, np.bool_), padding)
    places = np.ndindex(*factors)
    cuts = [tuple(slice(o, None, f) for o, f in zip(p, factors, strict=True)) for p in places]
    return np.stack([padded[cut] for cut in cuts]), np.stack([exists[cut] for cut in cuts])
