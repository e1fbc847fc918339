"""`python -m producer`: the commands for people."""

from typing import Final

from runtime import cli
from runtime.command_group import LazyCommand, new_program
from runtime.errors import EXIT_FINDINGS, EXIT_USAGE

EXIT_CODES: Final = {"SpecError": EXIT_USAGE, "BraidError": EXIT_FINDINGS}
_BEFORE: Final = "Before a run"
_MAKE: Final = "Make the volume"
_WATCH: Final = "Watch a run"
_REPAIR: Final = "Repair"
_CHECK: Final = "Check and see the volume"

# Summaries fit a line of 80 columns.
COMMANDS: Final = (
    LazyCommand(
        "demo", "producer.commands.demo", "Try it: make a small volume, verify it", _BEFORE
    ),
    LazyCommand("spec", "producer.commands.spec", "Design a spec, print it as JSON", _BEFORE),
    LazyCommand("init", "producer.commands.init", "Check a spec, write the volume's info", _BEFORE),
    LazyCommand(
        "validate", "producer.commands.validate", "Check whether an export is sound", _BEFORE
    ),
    LazyCommand(
        "offsets", "producer.commands.offsets", "Write indices of exports that lack them", _BEFORE
    ),
    LazyCommand(
        "enqueue", "producer.commands.enqueue", "Plan a run, publish its shards, wait for it", _MAKE
    ),
    LazyCommand("status", "producer.commands.status", "Show how far a run is", _WATCH),
    LazyCommand("errors", "producer.commands.errors", "Show why shards failed", _WATCH),
    LazyCommand("runs", "producer.commands.runs", "List the runs of a volume", _WATCH),
    LazyCommand("report", "producer.commands.report", "Write a page about a run", _WATCH),
    LazyCommand("replay", "producer.commands.replay", "Publish shards of a run again", _REPAIR),
    LazyCommand(
        "dead-letters",
        "producer.commands.dead_letters",
        "List failed shards, publish them again, give them up",
        _REPAIR,
    ),
    LazyCommand("cancel", "producer.commands.cancel", "Cancel a run; its shards stay", _REPAIR),
    LazyCommand(
        "verify", "producer.commands.verify", "Compare the volume with plan and export", _CHECK
    ),
    LazyCommand("view", "producer.commands.view", "Show the volume in Neuroglancer", _CHECK),
    LazyCommand("thumb", "producer.commands.thumb", "Write a picture of each scale", _CHECK),
)

app = new_program(
    "DVID exports to Neuroglancer volumes: plan, publish, watch, repair, verify, view.\n\n"
    "A first try: python -m producer demo. Your own data: spec (or the spec you gave DVID), init, "
    "enqueue --wait, verify, view.",
    COMMANDS,
)


if __name__ == "__main__":
    cli.run(app, EXIT_CODES, log_level="warning")
