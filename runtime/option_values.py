"""Values that need no conversion: Typer's imports pydantic, and takes as long as a help page.

A group's own options are read before the help page of a command below it, so these go without.
"""

from collections.abc import Iterable
from typing import Any


def keep_plain_values(options: Iterable[Any]) -> None:
    """Let options pass a number of times, or that they were not typed, to their callbacks as it is.

    Args:
        options: Click's, whose classes are part of Typer in some versions.
    """
    for option in options:
        if "process_value" not in vars(option):
            option.process_value = _PlainValues(option)


class _PlainValues:
    """Processing of one option's value, in place of the method of its class."""

    def __init__(self, option: Any) -> None:
        self._option, self._convert = option, option.process_value

    def __call__(self, ctx: Any, value: Any) -> Any:
        """Value of the option: the callback's if there is one."""
        option = self._option
        one = option.nargs == 1 and not option.multiple
        plain = value is None and one and not option.required
        if not plain and not getattr(option, "count", False):
            return self._convert(ctx, value)
        return option.callback(ctx, option, value) if option.callback else value
