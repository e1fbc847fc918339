"""`python -m memmodel`: estimates of shards, and coefficients fitted to receipts."""

from typing import Final

from runtime import cli
from runtime.command_group import LazyCommand, new_program
from runtime.errors import EXIT_USAGE

EXIT_CODES: Final = {"SpecError": EXIT_USAGE}
_COMMANDS: Final = "Commands"

# Summaries fit a line of 80 columns.
COMMANDS: Final = (
    LazyCommand("estimate", "memmodel.commands.estimate", "Estimate a shard's memory", _COMMANDS),
    LazyCommand("labels", "memmodel.commands.labels", "Count labels of a scale", _COMMANDS),
    LazyCommand("fit", "memmodel.commands.fit", "Fit coefficients to measured peaks", _COMMANDS),
)

app = new_program(
    "Memory model: estimates of a shard, labels of a scale, fitted coefficients.", COMMANDS
)


if __name__ == "__main__":
    cli.run(app, EXIT_CODES)
