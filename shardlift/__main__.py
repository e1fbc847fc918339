"""`shardlift`, also `python -m shardlift`: every command under one name."""

from typing import Final

import consumer.__main__ as workers
import producer.__main__ as people
from runtime import cli
from runtime.command_group import LazyCommand, new_program

_HERE: Final = "This machine"
_CLOUD: Final = "Cloud"
_EXPERTS: Final = "For experts"

# Summaries fit a line of 80 columns.
COMMANDS: Final = (
    *people.COMMANDS,
    *workers.COMMANDS,
    LazyCommand(
        "doctor", "shardlift.commands.doctor", "Check this machine and the places of a job", _HERE
    ),
    LazyCommand(
        "settings", "shardlift.commands.settings", "Show each setting and where it is from", _HERE
    ),
    LazyCommand(
        "infra",
        "infra.__main__",
        "Queues and worker pools in Google's cloud",
        _CLOUD,
        log_level="info",
    ),
    LazyCommand("memory", "memmodel.__main__", "Memory model: estimate, labels, fit", _EXPERTS),
)

app = new_program(
    "DVID segmentation exports to sharded Neuroglancer volumes.\n\n"
    "Example: python -m producer demo\n\n"
    "Example: python -m producer enqueue --source export --dest volume --spec spec.json --scales 0 "
    "--downres 1,2,3 --wait\n\n"
    "Example: python -m producer view --dest volume",
    COMMANDS,
    completion=True,
)


def main() -> None:
    """Run the command line of this process."""
    cli.run(app, people.EXIT_CODES, log_level="warning")


if __name__ == "__main__":
    main()
