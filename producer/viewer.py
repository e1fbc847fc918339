"""Neuroglancer viewer of a volume, on servers of this machine.

The client is part of the PyPI package, so that no network is needed. Local volumes are served by
`producer.file_server`; gs:// volumes are read by the browser.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

from braid.typing import Vec3
from producer.existing_scales import existing_scales_info
from producer.file_server import FileServer, ServedRequest
from producer.info import INFO
from producer.viewer_position import Point
from producer.viewer_state import viewer_state, volume_name
from producer.volume_look import VolumeLook, look_at_volume
from runtime.errors import UnreachableError
from runtime.storage import Storage, open_storage
from runtime.urls import is_remote

FIRST_PORT: Final = 9000  # the first that is tried where none is given
_TRIED_PORTS = 100
_HOST: Final = "127.0.0.1"
_OTHER_HOSTS = r"(?!(?:127\.0\.0\.1|localhost)$).*$"
_MAX_POST_BYTES = 16 << 20  # the viewer's state, which the page posts


@dataclass(frozen=True)
class OpenViewer:
    """A running viewer, or the link to a public one.

    Attributes:
        url: its link.
        dest: URL of the volume.
        layer: name of layer and window.
        summary: which scales exist and what is shown first, one line.
        position: voxel of scale 0 that is shown first; None: the viewer chooses.
        scales: indices of those that hold anything; None where the volume was not read.
        of_scales: number of scales of the volume; None likewise.
        notes: what other viewers would not read, or show as nothing.
    """

    url: str
    dest: str
    layer: str
    summary: str
    position: Point | None = None
    scales: tuple[int, ...] | None = None
    of_scales: int | None = None
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, look: VolumeLook, url: str, dest: str, layer: str) -> Self:
        """The viewer of a volume that was read."""
        return cls(
            url=url,
            dest=dest,
            layer=layer,
            summary=look.summary,
            position=look.start.position,
            scales=look.scales,
            of_scales=len(look.volume.scales),
            notes=look.notes,
        )


@dataclass(frozen=True)
class _Shown:
    """A volume under its name, and what a look at it found."""

    dest: Storage
    name: str
    look: VolumeLook


@contextmanager
def open_viewer(
    dest: str,
    *,
    port: int | None = None,
    voxel: Vec3 | None = None,
    name: str | None = None,
    on_served: Callable[[ServedRequest], None] = lambda _: None,
) -> Iterator[OpenViewer]:
    """Run a viewer of a volume while the block runs.

    Args:
        dest: directory or gs:// prefix of a volume.
        port: of the viewer; files of a local volume are served on the next one. None: the first
            two that are free from 9000 on; 0: any free ports.
        voxel: of scale 0, to begin at; None: at a voxel of a common segment.
        name: of layer and window; None: the last part of the destination.
        on_served: called after each request for a file of a local volume.

    Raises:
        UnreachableError: there is no volume, or the port is taken.
        SpecError: its `info` is not supported.
        UsageError: the voxel lies outside.
    """
    storage = open_storage(dest)
    look = look_at_volume(storage, voxel)
    shown = _Shown(storage, name or volume_name(storage.url), look)
    with ExitStack() as stack:
        url = _start_servers(stack, shown, port, on_served)
        yield OpenViewer.of(look, url, storage.url, shown.name)


def _start_servers(
    stack: ExitStack, shown: _Shown, port: int | None, on_served: Callable[[ServedRequest], None]
) -> str:
    """Start viewer and file server; the viewer's link. Ports that were taken meanwhile are left."""
    *first, last = [port] if port is not None else [*_free_ports(), 0]
    for candidate in first:
        with ExitStack() as attempt, suppress(UnreachableError):
            url = _serve_viewer(attempt, shown, candidate, on_served)
            stack.push(attempt.pop_all())
            return url
    return _serve_viewer(stack, shown, last, on_served)


def _serve_viewer(
    stack: ExitStack, shown: _Shown, port: int, on_served: Callable[[ServedRequest], None]
) -> str:
    source, files = shown.dest.url, None
    if not is_remote(source):
        files = _serve(shown.dest, Path(source), port + 1 if port else 0, on_served)
        source = stack.enter_context(files).url
    layer = (shown.name, f"precomputed://{source}")
    url = stack.enter_context(_viewer(layer, shown.look, port))
    if files is not None:
        files.allow_origin(url)
    return url


def _free_ports() -> Iterator[int]:
    """Ports from 9000 on that are free, as the next ones are."""
    for port in range(FIRST_PORT, FIRST_PORT + _TRIED_PORTS):
        if _free(port) and _free(port + 1):
            yield port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _serve(
    dest: Storage, root: Path, port: int, on_served: Callable[[ServedRequest], None]
) -> FileServer:
    rewrites = {INFO: partial(existing_scales_info, dest)}
    try:
        return FileServer(root, _HOST, port, on_served, rewrites)
    except OSError as error:
        raise _cannot_listen(port, error) from None


@contextmanager
def _viewer(layer: tuple[str, str], look: VolumeLook, port: int) -> Iterator[str]:
    import neuroglancer  # noqa: PLC0415 - the import takes a second

    neuroglancer.set_server_bind_address(_HOST, port)
    try:
        viewer = neuroglancer.Viewer()
    except OSError as error:
        raise _cannot_listen(port, error) from None
    try:
        _bound_requests(neuroglancer.server.global_server)
        viewer.set_state(viewer_state(neuroglancer, layer, look.volume, look.start))
        yield str(viewer.get_viewer_url())
    finally:
        neuroglancer.stop()


def _bound_requests(server: Any) -> None:  # noqa: ANN401 - it publishes no types
    """Let the viewer's own server answer to this machine's names only, and take no large bodies.

    Its paths hold a token already; without one a body would be read before it is refused.
    """
    from tornado.web import ErrorHandler  # noqa: PLC0415 - neuroglancer's; loaded by now

    misdirected = {"status_code": int(HTTPStatus.MISDIRECTED_REQUEST)}
    server.app.add_handlers(_OTHER_HOSTS, [(r".*", ErrorHandler, misdirected)])
    server.http_server.conn_params.max_body_size = _MAX_POST_BYTES


def _cannot_listen(port: int, error: OSError) -> UnreachableError:
    return UnreachableError(
        f"cannot listen on {_HOST}:{port}: {error.strerror}",
        hint="choose another --port; it and the next one must be free",
    )
