"""Places of a launch, compared with one another: none may lie among the files of another."""

from producer.run_request import Request
from runtime.errors import UsageError


def check_places(request: Request, state: str) -> None:
    """Raise UsageError where files of export, volume and runs would mix.

    Args:
        request: with source and destination as `absolute` names them.
        state: root of the runs, likewise.
    """
    source, dest = request.source, request.dest
    if source is not None and _inside(dest, source):
        raise UsageError(
            f"--dest {dest} lies in the export (--source {source})",
            hint="name a folder outside with --dest: the volume's files would lie among the "
            "export's",
        )
    if source is not None and _inside(source, dest):
        raise UsageError(
            f"the export (--source {source}) lies in the volume (--dest {dest})",
            hint="name another folder with --dest: viewers are served all that lies there",
        )
    if _inside(state, dest):
        raise UsageError(
            f"--state {state} lies in the volume (--dest {dest})",
            hint="name a folder outside with --state or STATE_PATH; runs that are there already "
            "can be moved with their folder, once they have ended",
        )


def _inside(place: str, other: str) -> bool:
    return f"{place}/".startswith(f"{other.rstrip('/')}/")
