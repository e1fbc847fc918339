"""`python -m producer`: the commands for people."""

from braid.exceptions import BraidError, SpecError
from producer.commands import (
    cancel,
    dead_letters,
    demo,
    enqueue,
    errors,
    init,
    offsets,
    replay,
    report,
    runs,
    spec,
    status,
    validate,
    verify,
    view,
)
from runtime import cli
from runtime.errors import EXIT_FINDINGS, EXIT_USAGE

app = cli.new_app(
    "DVID exports to Neuroglancer volumes: plan, publish, watch, repair, verify, view.\n\n"
    "A first try: python -m producer demo. Your own data: spec (or the spec you gave DVID), init, "
    "enqueue --wait, verify, view."
)

for command in (
    spec,
    init,
    validate,
    offsets,
    enqueue,
    runs,
    status,
    errors,
    cancel,
    dead_letters,
    replay,
    verify,
    report,
    view,
    demo,
):
    command.register(app)


if __name__ == "__main__":
    cli.run(app, {SpecError: EXIT_USAGE, BraidError: EXIT_FINDINGS}, log_level="warning")
