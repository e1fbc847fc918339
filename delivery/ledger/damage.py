"""Damage to the ledger's own objects: one line that names the object and the way on.

A damaged object concerns its run alone. Whoever looks at many runs passes over the damaged one and
says so; see `delivery.ledger.run.list_runs`.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from delivery.messages import first_fault
from runtime.errors import PermanentError, ShardliftError
from runtime.storage import Storage

REPLAY: Final = "delete it and run `python -m producer replay --missing`"
NEWER: Final = "; if a newer version wrote it, install that version instead"

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


class LedgerDamaged(ShardliftError):  # noqa: N818 - a state of the ledger, not a fault of the work
    """An object of a run is not what this program writes; no other run is concerned."""


def damaged(where: str, why: str, hint: str) -> LedgerDamaged:
    """The error for one object.

    Args:
        where: path or URL of the object.
        why: what is wrong with it; becomes one line.
        hint: the way on.
    """
    return LedgerDamaged(f"{where} is damaged ({' '.join(why.split())})", hint=hint + NEWER)


def read_object(storage: Storage, path: str, where: str, hint: str) -> bytes:
    """The bytes of an object.

    Raises:
        ObjectNotFound: there is none, or a folder in its place.
        LedgerDamaged: a pipe or a device lies in its place.
    """
    try:
        return storage.read(path)
    except PermanentError:
        raise damaged(where, "it is a pipe, a socket or a device", hint) from None


def parse(model: type[Model], data: bytes | str, where: str, hint: str) -> Model:
    """The object of these bytes.

    Raises:
        LedgerDamaged: it has another shape, or is not JSON.
    """
    return _checked(model.model_validate_json, data, where, hint)


def parse_as(adapter: TypeAdapter[Value], data: bytes, where: str, hint: str) -> Value:
    """As `parse`, for what is not a model.

    Raises:
        LedgerDamaged: it has another shape, or is not JSON.
    """
    return _checked(adapter.validate_json, data, where, hint)


def _checked(
    validate: Callable[[bytes | str], Value], data: bytes | str, where: str, hint: str
) -> Value:
    try:
        return validate(data)
    except ValidationError as error:
        raise damaged(where, first_fault(error), hint) from None
