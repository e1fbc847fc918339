"""`python -m consumer work | fleet`: the commands that make shards."""

from typing import Final

from runtime import cli
from runtime.command_group import LazyCommand, new_program

_WORKERS: Final = "Workers"

# Summaries fit a line of 80 columns.
COMMANDS: Final = (
    LazyCommand(
        "fleet",
        "consumer.commands.fleet",
        "Run workers of all tiers on this machine",
        _WORKERS,
        log_level="info",
    ),
    LazyCommand(
        "work", "consumer.commands.work", "Run one worker of one tier", _WORKERS, log_level="info"
    ),
)

app = new_program(
    "Workers: lease shards from the queue, make them, record them in the ledger.", COMMANDS
)


if __name__ == "__main__":
    cli.run(app)
