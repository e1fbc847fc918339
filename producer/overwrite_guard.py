"""Guard over finished work: on a terminal `--overwrite` needs a yes."""

from producer.preflight import Preflight
from producer.render import shards
from runtime.cli import confirm


def confirm_overwrite(found: Preflight, *, yes: bool) -> None:
    """Ask on a terminal before shards that exist are made again; scripts go on.

    Args:
        found: with the plan of the run.
        yes: `--yes` was given: do not ask.

    Raises:
        typer.Abort: the answer is no.
    """
    if found.overwritten:
        deed = f"make {shards(found.overwritten)} of {found.request.dest} again"
        confirm(deed, yes=yes, needs_answer=False)
