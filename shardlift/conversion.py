"""Conversion of an export, as `shardlift enqueue` begins it, from Python."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from braid.downsample.downsampler import Rule
from braid.exceptions import BraidError
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType
from delivery.broker import absolute_queue_url
from delivery.ledger.run import find_run
from delivery.ledger.selection import Selection
from memmodel.spec_file import read_spec
from memmodel.tiers import parse_tiers
from producer.begin import begin
from producer.info import read_volume
from producer.launch import publish_and_wait
from producer.preflight import LaunchConfig, LaunchOptions
from producer.run_lookup import state_root
from producer.run_request import Request
from producer.selection_request import parse_selection
from runtime import log, settings
from runtime.errors import UsageError
from runtime.storage import absolute, open_storage
from shardlift.run import Run

Path = str | os.PathLike[str]
Box = str | Sequence[tuple[int, int]]


def convert(
    source: Path | None,
    dest: Path,
    spec: Path | Mapping[str, Any] | None = None,
    *,
    scales: Iterable[int] = (0,),
    downres: Iterable[int] = (),
    downres_rule: Literal["mode", "nonzero-mode"] = "mode",
    label_type: Literal["labels", "supervoxels"] = "labels",
    z_compress: int = 0,
    bbox: Box | None = None,
    shards: Iterable[str] | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    partial: bool = False,
    adopt: bool = False,
    bad_chunks: Literal["fail", "skip"] = "fail",
    new_run: bool = False,
    run_id: str | None = None,
    state: Path | None = None,
    queue: str | None = None,
    tiers: str = settings.DEFAULT_TIERS,
    lease_s: int = settings.DEFAULT_LEASE_S,
    gzip_level: int = settings.DEFAULT_GZIP_LEVEL,
) -> Run:
    """Plan a run and publish its shards; `Run.wait` works on it and waits for its end.

    The same call again continues an unfinished run, and returns a finished one where all is done.

    Args:
        source: folder or gs:// prefix of the export; None if no scale is converted.
        dest: folder or gs:// prefix of the volume.
        spec: file or content of the volume's spec; None: the `info` at the destination.
        scales: to convert from the export.
        downres: to make from the scale before each.
        downres_rule: majority of all voxels, or of those that are not 0.
        label_type: `supervoxels` are the pieces that bodies are merged from.
        z_compress: slices to leave out after each kept one, at scale 0.
        bbox: make only shards that meet this box of voxels of scale 0: `"x0:x1,y0:y1,z0:z1"`, or
            three pairs.
        shards: make only these, by key.
        limit: make only the first shards.
        overwrite: also make shards that exist; cancels other runs.
        partial: convert what is there of an export that lacks files.
        adopt: take existing shards that no known run made.
        bad_chunks: of a chunk that does not decode: fail its shard, or make it without.
        new_run: do not continue an unfinished run.
        run_id: of a new run.
        state: where runs keep plans and receipts; None: the destination with `.runs`.
        queue: URL; None: QUEUE_URL, else a file in the working directory.
        tiers: worker sizes in GiB.
        lease_s: a silent worker's shard goes to another after so many seconds.
        gzip_level: effort of compression, 1 to 12.

    Raises:
        UsageError: the request cannot be served, or would mix the bytes of two runs.
        UnreachableError: a path or a service cannot be reached.
    """
    log.configure_once()
    converted, downsampled = tuple(sorted(set(scales))), tuple(sorted(set(downres)))
    try:
        request = Request(
            volume=_volume(spec, os.fspath(dest)),
            source=_source(source, converted),
            dest=absolute(os.fspath(dest)),
            scales=converted,
            downres=downsampled,
            rule=Rule(downres_rule),
            label_type=LabelType(label_type),
            z_compress=z_compress,
            gzip_level=gzip_level,
            overwrite=overwrite,
            bad_chunks=bad_chunks,
            selection=_selection(bbox, shards, limit),
        )
        config = LaunchConfig(
            state_root(None if state is None else os.fspath(state), os.fspath(dest)),
            absolute_queue_url(queue or settings.default_queue_url()),
            parse_tiers(tiers),
            lease_s,
            queue_given=queue is not None,
        )
        return _begin(request, config, LaunchOptions(run_id, new_run, partial, adopt))
    except (BraidError, ValueError) as error:  # of the spec, or of a word that is not an option
        raise UsageError(str(error)) from error


def open_run(dest: Path | None = None, *, run: str | None = None, state: Path | None = None) -> Run:
    """Open a run that exists.

    Args:
        dest: the volume, from which the state root follows.
        run: id or URI; None: the newest.
        state: where runs keep plans and receipts, if not beside the volume.

    Raises:
        UsageError: there is no such run.
    """
    log.configure_once()
    if run is not None and "/" in run:
        return Run(find_run("", run))
    root = state_root(
        None if state is None else os.fspath(state), None if dest is None else os.fspath(dest)
    )
    return Run(find_run(root, run))


def _begin(request: Request, config: LaunchConfig, options: LaunchOptions) -> Run:
    begun = begin(request, config, options)
    if begun.run is not None:
        publish_and_wait(begun.run, config, again=begun.again, on_published=lambda _: None)
        return Run(begun.run, notes=begun.found.notes, lease_s=config.lease_s)
    makers = begun.found.history.producers(request)
    if not makers:
        raise UsageError(
            "there is nothing that a shard could be made from",
            hint="check source and scales: no file of the export meets the volume",
        )
    return Run(makers[0].run, notes=begun.found.notes, lease_s=config.lease_s)


def _volume(spec: Path | Mapping[str, Any] | None, dest: str) -> VolumeSpec:
    if spec is None:
        return read_volume(open_storage(dest))
    if isinstance(spec, Mapping):
        return VolumeSpec.parse(json.dumps(spec), "spec")
    return read_spec(os.fspath(spec))


def _source(source: Path | None, scales: Sequence[int]) -> str | None:
    if source is None and scales:
        raise UsageError("source is missing: scales are converted from an export")
    return absolute(os.fspath(source)) if source is not None and scales else None


def _selection(
    bbox: Box | None, shards: Iterable[str] | None, limit: int | None
) -> Selection | None:
    if bbox is not None and not isinstance(bbox, str):
        bbox = ",".join(f"{begin}:{end}" for begin, end in bbox)
    return parse_selection(bbox, None if shards is None else ",".join(shards), limit)
