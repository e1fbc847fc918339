"""Options that several commands share as a group: a dataclass whose fields are options.

A command takes the group as one parameter, and Typer sees its options in its place.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, get_type_hints

_BY_NAME: Final = inspect.Parameter.KEYWORD_ONLY


def spread(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options of each group as parameters of its own.

    Args:
        command: function that is called by the names of its parameters.
    """
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in types.items() if is_dataclass(kind)}
    if not groups:
        return command

    @functools.wraps(command)
    def with_options(**given: object) -> object:
        for name, group in groups.items():
            given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
        return command(**given)

    signature = inspect.signature(command)
    options: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in groups:
            options += _options(groups[name])
        else:
            options.append(parameter.replace(kind=_BY_NAME, annotation=types[name]))
    with_options.__dict__["__signature__"] = signature.replace(parameters=options)
    with_options.__annotations__ = {one.name: one.annotation for one in options}
    return with_options


def _options(group: type[Any]) -> Iterator[inspect.Parameter]:
    """A parameter for each field of a group, in order."""
    types = get_type_hints(group, include_extras=True)
    for one in fields(group):
        default = inspect.Parameter.empty if one.default is MISSING else one.default
        yield inspect.Parameter(one.name, _BY_NAME, default=default, annotation=types[one.name])
