"""`python -m infra`: the cloud resources of a queue, and the autoscaler of its worker pools."""

from typing import Final

from runtime import cli
from runtime.command_group import LazyCommand, new_program

_RESOURCES: Final = "Resources"
_WORKERS: Final = "Workers"

# Summaries fit a line of 80 columns.
COMMANDS: Final = (
    LazyCommand(
        "up", "infra.commands.up", "Create what is missing, update what differs", _RESOURCES
    ),
    LazyCommand(
        "check", "infra.commands.check", "Compare; exit code 1 where they differ", _RESOURCES
    ),
    LazyCommand("down", "infra.commands.down", "Delete pools and queues; volumes stay", _RESOURCES),
    LazyCommand("start", "infra.commands.start", "Run tasks of the worker jobs", _WORKERS),
    LazyCommand(
        "stop", "infra.commands.stop", "Stop all workers; they release their shards", _WORKERS
    ),
    LazyCommand(
        "autoscale", "infra.commands.autoscale", "Keep the pools as large as is worth it", _WORKERS
    ),
    LazyCommand(
        "render", "infra.commands.render", "Print the workers for Kubernetes, SLURM, ...", _WORKERS
    ),
    LazyCommand("instances", "infra.commands.instances", "Show the pools' instances", _WORKERS),
)

app = new_program("Create, compare and delete the cloud resources of a queue.", COMMANDS)


if __name__ == "__main__":
    cli.run(app)
