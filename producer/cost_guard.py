"""Guard over the cost of a run: above MAX_DOLLARS a run needs a yes."""

import math
from typing import Final

from delivery.broker import PUBSUB
from producer import bill_table
from producer.preflight import LaunchConfig, Preflight
from runtime.cli import confirm, print_stderr

_CENTS: Final = 100  # of a dollar


def confirm_cost(found: Preflight, config: LaunchConfig, max_dollars: float, *, yes: bool) -> None:
    """Ask before a new run on rented workers that would cost more than the limit.

    Storage, which recurs, does not count. Workers of the embedded queue are not rented.

    Args:
        found: with the plan of the run.
        config: with its queue.
        max_dollars: the limit.
        yes: `--yes` was given: do not ask.

    Raises:
        UsageError: the run costs more, and no terminal can be asked.
        typer.Abort: the answer is no.
    """
    if yes or found.planned is None or not config.queue.startswith(PUBSUB):
        return
    bill = bill_table.bill_of(found.planned.forecasts, found.request)
    total = bill.total()
    if total <= max_dollars:
        return
    for line in bill_table.bill_table(bill).splitlines():
        print_stderr(line)
    confirm(
        f"start a run of about ${math.ceil(total * _CENTS) / _CENTS:,.2f}, "
        f"more than the ${max_dollars:,.2f} of MAX_DOLLARS",
        yes=False,
    )
