"""Problems of the export that a request converts from: what it lacks, by listing and log."""

from collections.abc import Mapping

from producer.export_listing import ListingProblem, ScaleListing, list_scale, outside_volume
from producer.export_log import log_problems, read_log
from producer.run_request import Request
from runtime.errors import UsageError
from runtime.storage import open_storage


def list_scales(request: Request) -> dict[int, ScaleListing]:
    """List the export's files of each scale to be converted."""
    if request.source is None:
        return {}
    source = open_storage(request.source)
    source.check_readable()
    return {scale: list_scale(source, scale) for scale in request.scales}


def find_problems(request: Request, listings: Mapping[int, ScaleListing]) -> list[ListingProblem]:
    """What an export lacks, as far as its names, sizes and log tell.

    Raises:
        UsageError: no file of a scale lies in the volume.
    """
    found: list[ListingProblem] = []
    for index, listing in listings.items():
        scale = request.volume.scales[index]
        outside = outside_volume(listing, scale, request.slices(index) - 1)
        if len(outside) == len(listing.files):
            raise UsageError(
                f"no file of the export meets the volume: {outside[0].text}",
                hint="is it the spec of this export? `producer validate` compares them",
            )
        found += [*listing.problems, *outside]
    if request.source is not None:
        found += log_problems(read_log(open_storage(request.source)), listings.values())
    return found
