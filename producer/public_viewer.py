"""Link to a public viewer that shows a volume; no server is started, and no look is needed."""

from functools import partial
from typing import Any, Final

from braid.typing import Vec3
from producer.info import NoVolumeError
from producer.viewer import OpenViewer
from producer.viewer_position import OutsideError
from producer.viewer_state import plain_state, public_link, viewer_state, volume_name
from producer.volume_look import VolumeLook, look_at_volume
from runtime.errors import NoSuchBucketError, UnreachableError, UsageError
from runtime.storage import absolute, open_storage
from runtime.storage.gcs_errors import without_retries
from runtime.time_limit import call_within
from runtime.urls import is_remote

LOOK_S: Final = 5.0  # for a look into a bucket; the link works without it
_WEB: Final = "https://"


def link_to_public_viewer(
    dest: str, *, voxel: Vec3 | None = None, name: str | None = None, look_s: float = LOOK_S
) -> OpenViewer:
    """Link that shows a volume in a public viewer.

    A bucket that cannot be read from here, or not in time, is linked all the same: its readers may
    have other rights, or a network.

    Args:
        dest: gs:// prefix, which is looked into, or https:// address, which is not.
        voxel: of scale 0, to begin at.
        name: of layer and window; None: the last part of the destination.
        look_s: seconds that the look may take.

    Raises:
        UsageError: no public viewer can read the destination, or the voxel lies outside.
        UnreachableError: there is no such bucket, or no volume in it.
    """
    import neuroglancer  # noqa: PLC0415 - the import takes a second

    if not dest.startswith(_WEB) and not is_remote(dest):
        raise UsageError(
            f"no public viewer can read {dest}",
            hint="--link is for gs:// and https:// volumes; without it the viewer runs here",
        )
    url = dest if dest.startswith(_WEB) else absolute(dest)
    layer = (name or volume_name(url), f"precomputed://{url}")
    found = _look(url, voxel, look_s)
    if isinstance(found, VolumeLook):
        state = viewer_state(neuroglancer, layer, found.volume, found.start)
        return OpenViewer.of(found, public_link(neuroglancer, state), url, layer[0])
    return _unseen(neuroglancer, url, layer, voxel, found)


def _look(url: str, voxel: Vec3 | None, look_s: float) -> VolumeLook | str:
    """What a short look finds, or why there is none."""
    if url.startswith(_WEB):
        return "a web address is not read, only linked"
    try:
        return call_within(look_s, partial(_read, url, voxel), f"{url} could not be read")
    except (NoSuchBucketError, NoVolumeError, OutsideError):  # a link would show nothing
        raise
    except (UnreachableError, UsageError) as error:
        return f"{error}; the link is made without a look, so which scales exist is unknown"


def _read(url: str, voxel: Vec3 | None) -> VolumeLook:
    with without_retries():
        return look_at_volume(open_storage(url), voxel)


def _unseen(
    neuroglancer: Any,  # noqa: ANN401 - it publishes no types
    url: str,
    layer: tuple[str, str],
    voxel: Vec3 | None,
    why: str,
) -> OpenViewer:
    """Link to a volume that was not read: the viewer itself finds the middle and a zoom."""
    where = "voxel {}, {}, {}".format(*voxel) if voxel else "the middle of the volume"
    position = None if voxel is None else (voxel[0] + 0.5, voxel[1] + 0.5, voxel[2] + 0.5)
    return OpenViewer(
        url=public_link(neuroglancer, plain_state(neuroglancer, layer, voxel)),
        dest=url,
        layer=layer[0],
        summary=f"showing {where}",
        position=position,
        notes=(why,),
    )
