"""Notes of a launch: what people should know of an export and of scales that stay."""

import math

from braid.transcode.file_extent import begins_extent, extent_edges
from producer.export_listing import ScaleListing
from producer.planner import PlanResult, has_shards
from producer.prior_runs import PriorRuns
from producer.run_request import Request
from runtime.storage import Storage


def export_notes(request: Request, listings: dict[int, ScaleListing]) -> list[str]:
    """Notes on files without an index, and on names that do not fit the spec."""
    notes = []
    for index, found in listings.items():
        if without := found.without_index:
            notes.append(
                f"scale {index}: files without an index, read whole to find their rows: "
                f"{len(without)}; `producer offsets` would write one"
            )
        edges = extent_edges(request.volume.scales[index], request.slices(index) - 1)
        odd = [file.path for file in found.files if not begins_extent(file.origin, edges)]
        if odd:
            notes.append(
                f"scale {index}: files named after no extent of this spec: {len(odd)}, such as "
                f"{odd[0]}: is it the export's spec?"
            )
        if (pitch := _common_pitch(found)) > max(edges):
            notes.append(
                f"scale {index}: all files are named after multiples of {pitch} voxels, and the "
                f"extents of this spec are {max(edges)} wide: is it the export's spec? Files with "
                "rows beyond their extent are refused"
            )
    return notes


def _common_pitch(found: ScaleListing) -> int:
    """The largest power of two that divides all origins; 0 for one file."""
    common = math.gcd(*(part for file in found.files for part in file.origin))
    return common & -common if len(found.files) > 1 else 0


def coarser_notes(
    dest: Storage, request: Request, history: PriorRuns, planned: PlanResult
) -> list[str]:
    """Notes on coarser scales that exist and stay, although what they are made from changes."""
    notes = []
    changed = {forecast.row.scale for forecast in planned.forecasts}
    for scale in sorted(changed):
        coarser = _coarser(dest, request, history, scale)
        if coarser:
            named = ",".join(map(str, coarser))
            notes.append(
                f"scale {coarser[0]} is made from scale {scale} and stays as it is: it is old "
                f"where shards of scale {scale} are made again; --downres {named} makes it anew"
            )
    return notes


def _coarser(dest: Storage, request: Request, history: PriorRuns, scale: int) -> list[int]:
    """Scales after this one that exist, were downsampled, and are not made by the request."""
    found = []
    for spec in request.volume.scales[scale + 1 :]:
        maker = history.newest_making(spec.index)
        downsampled = maker is None or spec.index in maker.run.info.downres
        if spec.index in request.made or not downsampled or not has_shards(dest, spec):
            break
        found.append(spec.index)
    return found
