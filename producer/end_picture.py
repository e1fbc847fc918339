"""Picture of a volume at the end of `enqueue --wait`, on a terminal that can show one."""

import sys
from typing import Final

from braid.exceptions import BraidError
from delivery.ledger.run import Run
from memmodel.run_context import RunContext
from producer.segment_colours import colour_labels
from producer.terminal_picture import Graphics, graphics, show_picture
from producer.volume_slice import read_overview
from runtime.cli import print_stderr
from runtime.errors import ShardliftError
from runtime.storage import open_storage
from runtime.verbosity import is_quiet

_MOST_PIXELS: Final = 384  # of an edge


def show_end_picture(run: Run) -> None:
    """Show a slice of what a run has made; where it cannot be shown or read, nothing is said."""
    if is_quiet() or graphics(sys.stderr) is Graphics.NONE:
        return
    try:
        volume = RunContext(run).volume
        found = read_overview(open_storage(run.info.dest), volume, _MOST_PIXELS)
    except (ShardliftError, BraidError, OSError):  # the run is done without it
        return
    if found is not None:
        show_picture(colour_labels(found.labels), sys.stderr)
        print_stderr(f"a slice at z {found.begin[2]:,} of scale {found.scale}")
