"""Demo export: a small segmentation as DVID writes it, to try everything on."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from braid.precomputed.volume_spec import VolumeSpec
from producer.synthetic_export import SyntheticVolume, sample_spec, write_export

SIZE = (320, 256, 192)  # voxels


class DemoExport(NamedTuple):
    """Paths of a demo export.

    Attributes:
        source: its folder.
        spec: of the volume to make of it.
    """

    source: str
    spec: str


def demo_export(
    folder: str | os.PathLike[str],
    *,
    size: tuple[int, int, int] = SIZE,
    scales: int = 3,
) -> DemoExport:
    """Write a small export and a spec.

    Args:
        folder: to be made, with `export` and `spec.json` in it.
        size: voxels, x first.
        scales: of the spec; the export has the first.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    spec = sample_spec(size, scales)
    write_export(
        root / "export", VolumeSpec.parse(spec, "the demo").scales[0], SyntheticVolume(size)
    )
    (root / "spec.json").write_text(json.dumps(spec, indent=1), encoding="utf-8")
    return DemoExport(str(root / "export"), str(root / "spec.json"))
