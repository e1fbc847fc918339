"""Differences between a run and a request on which the bytes of a volume depend."""

from braid.downsample.downsampler import Rule
from braid.exceptions import SpecError
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType
from delivery.ledger.run import Run
from producer.run_request import Request, facts_that_matter, output_revision


def makes_same_bytes(run: Run, request: Request) -> bool:
    """Whether a run makes the same bytes as a request, however its places were spelled."""
    same = request.makes_same_bytes(run.info.fingerprint)
    return same or not differences(run, request)


def differences_that_matter(
    run: Run, request: Request, scale: int
) -> dict[str, tuple[object, object]]:
    """Differences on which the bytes of one scale depend."""
    downsampled = scale in request.downres
    matter = {"spec", *facts_that_matter(scale, downsampled=downsampled)}
    found = differences(run, request)
    ways = {True: "downsampled", False: "converted"}
    theirs = scale in run.info.downres
    if run.info.makes(scale) and theirs != downsampled:
        found["scale"] = (ways[theirs], ways[downsampled])
        matter.add("scale")
    return {name: values for name, values in found.items() if name in matter}


def differences(run: Run, request: Request) -> dict[str, tuple[object, object]]:
    """Facts in which a run and a request differ, by name: the run's and the request's."""
    theirs, ours = _facts(run), request.facts()
    return {name: (theirs[name], ours[name]) for name in ours if theirs[name] != ours[name]}


def _facts(run: Run) -> dict[str, object]:
    """The facts of an earlier run, from its run.json."""
    info = run.info
    try:
        volume = VolumeSpec.parse(info.volume, run.uri)
    except SpecError:  # another version accepted a spec that this one refuses
        volume = VolumeSpec(data_type="uint64", scales=())
    request = Request(
        volume,
        info.source,
        info.dest,
        info.scales,
        info.downres,
        rule=Rule(info.rule),
        label_type=LabelType(info.label_type),
        z_compress=info.z_compress,
        gzip_level=info.gzip_level,
    )
    return {**request.facts(), "output_revision": output_revision(info)}
