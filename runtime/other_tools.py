"""What commands and options of other tools are here: for hints where one is typed, and for pages.

Users come from tensorstore-export and igneous; their names in fingers and scripts are worth a line.
"""

import re
from collections.abc import Mapping
from typing import Final

TENSORSTORE_EXPORT_COMMANDS: Final[Mapping[str, str]] = {
    "deploy": "infra up",
    "setup-destination": "init, which enqueue does too",
    "export": "enqueue",
    "generate-scale": "enqueue --downres 1,2,3",
    "precompute-manifest": "enqueue --dry-run shows tiers; there are no manifests",
    "aggregate-labels": "nothing to run: receipts hold the labels that estimates need",
    "export-status": "status",
    "export-errors": "errors",
    "verify-export": "verify",
    "validate-dvid": "validate",
    "find-failed": "dead-letters list",
    "compute-offsets": "offsets",
}
"""Commands of tensorstore-export, and what does their work here."""

TENSORSTORE_EXPORT_OPTIONS: Final[Mapping[str, str]] = {
    "--downres-mode": "--downres 1,2,3 alone",
    "--only-missing": "nothing to pass: the same enqueue again makes what is missing",
    "--async": "nothing to pass: enqueue returns at once, --wait stays until the run has ended",
    "--manifest-dir": "nothing to pass: a queue per tier takes the place of manifests",
    "--job-suffix": "nothing to pass: retries go to the same queues",
    "--retry-tier": "dead-letters requeue --all --tier 16gi",
    "--target-scale": "enqueue --downres 3",
    "--parallelism": "consumer fleet takes what the machine has; MAX_INSTANCES caps worker pools",
}
"""Options of tensorstore-export that are called otherwise here, or that nothing needs."""

IGNEOUS_COMMANDS: Final[Mapping[str, str]] = {
    "xfer": "enqueue",
    "downsample": "enqueue --downres 1,2,3",
    "execute": "consumer fleet, or consumer work --tier 4gi",
    "queue": "status; replay --missing",
    "ptq": "status",
}
"""Commands of igneous, and what does their work here."""

_COMMANDS: Final = {**IGNEOUS_COMMANDS, **TENSORSTORE_EXPORT_COMMANDS}
_NAMED: Final = re.compile(r"No such (?:command|option):? '?(?P<name>[\w-]+)")


def hint(message: str) -> str | None:
    """Hint for an error about an unknown command or option; None if no other tool has it."""
    found = _NAMED.match(message)
    if found is None:
        return None
    ours = _COMMANDS.get(found["name"]) or TENSORSTORE_EXPORT_OPTIONS.get(found["name"])
    return f"what other tools call {found['name']} is here: {ours}" if ours else None
