"""Checks of a selection: refused where it cannot be what is meant, before anything is written."""

from delivery.messages import parse_key
from producer.planner import PlanResult
from producer.run_request import Request
from runtime.errors import UsageError
from runtime.text import counted


def check_selection(request: Request) -> None:
    """Check a selection against the volume and the scales to be made.

    Raises:
        UsageError: the box lies outside the volume, or a key names a scale that is not made.
    """
    selection, size = request.selection, request.volume.scales[0].size
    if selection is None:
        return
    box = selection.box
    if box is not None and any(at >= end for at, end in zip(box[0], size, strict=True)):
        raise UsageError(
            f"--bbox lies outside the volume: {selection.text}, and scale 0 has "
            f"{' x '.join(map(str, size))} voxels",
            hint="the numbers are voxels of scale 0: x0:x1,y0:y1,z0:z1",
        )
    for key in selection.shards:
        scale, _ = parse_key(key)
        if scale not in request.made:
            raise UsageError(
                f"--shards names {key}, and scale {scale} is not made by this command",
                hint=f"name scale {scale} with --scales or --downres, too",
            )


def check_planned(request: Request, planned: PlanResult) -> None:
    """Check that a selection holds what it names.

    Raises:
        UsageError: it holds no shard, one that it names has no voxels, or is made from one that
            would be a hole.
    """
    selection = request.selection
    if selection is None:
        return
    for key in selection.shards:
        if key not in planned.chosen:
            raise UsageError(
                f"--shards names {key}, which has no source: no file of the export meets it, or "
                "the volume has no such shard",
                hint="`enqueue --dry-run --json` lists the shards of the whole",
            )
        if lacks := planned.left_out.get(key, ""):
            raise UsageError(
                f"--shards names {key}, which is made from {lacks}: that is neither made nor named",
                hint=f"name {lacks}, too, and the others that {key} is made from",
            )
    if not planned.chosen:
        raise UsageError(
            f"nothing is selected: no file of the export meets {selection.text}",
            hint="--bbox is in voxels of scale 0; `enqueue --dry-run` shows the whole",
        )


def selection_notes(request: Request, planned: PlanResult) -> list[str]:
    """Notes on a box that is cut, and on shards that would have to be made from holes."""
    selection, size = request.selection, request.volume.scales[0].size
    if selection is None:
        return []
    notes = []
    if selection.box and any(end > most for end, most in zip(selection.box[1], size, strict=True)):
        voxels = " x ".join(map(str, size))
        notes.append(f"--bbox reaches beyond the volume of {voxels} voxels: it is cut there")
    if lacking := {key: lacks for key, lacks in planned.left_out.items() if lacks}:
        key, lacks = next(iter(lacking.items()))
        shards = counted(len(lacking), "shard")
        one = len(lacking) == 1
        notes.append(
            f"{shards} of the selection {'is' if one else 'are'} left to a run of the whole, since "
            f"not all that {'it is' if one else 'they are'} made from is there: {key} needs {lacks}"
        )
    return notes
