"""State of a viewer with one segmentation layer, and links that carry it to a public viewer."""

from typing import Any, Final

from braid.precomputed.volume_spec import VolumeSpec
from braid.typing import Vec3
from producer.viewer_position import PANEL_PIXELS, ViewerPosition
from runtime.text import printable

PUBLIC_VIEWER: Final = "https://neuroglancer-demo.appspot.com"
_FAINT = 0.35  # opacity of segments that are not selected
_OBLIQUE = (0.36, 0.24, 0.06, 0.9)  # quaternion: from above and the side


def volume_name(url: str) -> str:
    """Name of a volume, as window and layer show it: the last part of its destination."""
    return printable(url.rstrip("/").rpartition("/")[2]) or "volume"


def viewer_state(
    neuroglancer: Any,  # noqa: ANN401 - it publishes no types
    layer: tuple[str, str],
    volume: VolumeSpec,
    start: ViewerPosition,
) -> Any:  # noqa: ANN401
    """State of a viewer with one segmentation layer.

    Args:
        neuroglancer: the module, whose import is slow.
        layer: its name, and its source `precomputed://...`.
        volume: of the source.
        start: initial position.
    """
    state = neuroglancer.ViewerState()
    name, source = layer
    state.title = name
    resolution = list(volume.scales[0].resolution)
    state.dimensions = neuroglancer.CoordinateSpace(
        names=["x", "y", "z"], units="nm", scales=resolution
    )
    state.layers[name] = neuroglancer.SegmentationLayer(
        source=source, segments=list(start.segments), not_selected_alpha=_FAINT
    )
    state.position = list(start.position)
    state.cross_section_scale = start.zoom
    state.projection_scale = start.zoom * PANEL_PIXELS * 1.3
    state.projection_orientation = _OBLIQUE
    state.layout = "4panel"
    return state


def plain_state(
    neuroglancer: Any,  # noqa: ANN401 - it publishes no types
    layer: tuple[str, str],
    voxel: Vec3 | None,
) -> Any:  # noqa: ANN401
    """State for a volume that was not read: the viewer itself finds the middle and a zoom.

    Args:
        neuroglancer: the module.
        layer: its name, and its source.
        voxel: of scale 0, to be shown first.
    """
    state = neuroglancer.ViewerState()
    name, source = layer
    state.title = name
    state.layers[name] = neuroglancer.SegmentationLayer(source=source)
    if voxel is not None:
        state.position = [at + 0.5 for at in voxel]
    state.layout = "4panel"
    return state


def public_link(neuroglancer: Any, state: Any) -> str:  # noqa: ANN401 - it publishes no types
    """Link that opens a state in the public viewer; the state is URL-encoded."""
    link: str = neuroglancer.to_url(state, prefix=PUBLIC_VIEWER)
    return link
