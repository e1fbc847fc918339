"""Comparison and overlay of the fields that are set; what the service fills in is passed over."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_LAST_WRITER: Final = frozenset({"client", "client_version"})  # any tool sets them to itself
_UNITS: Final = {"m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}

Fields = Mapping[str, Any]


def differences(wanted: object, found: object, path: str = "") -> Iterator[str]:
    """Paths of fields that were set otherwise.

    Lists of named parts, such as variables, are compared by name; amounts, such as `4Gi`, by value.
    """
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key, value in wanted.items():
            yield from differences(value, found.get(key), f"{path}.{key}".lstrip("."))
    elif _are_named(wanted) and _are_named(found):
        yield from _named_differences(_by_name(wanted), _by_name(found), path)
    elif wanted != found and not (path.endswith(("cpu", "memory")) and _equal(wanted, found)):
        yield path


def differing_fields(wanted: Fields, found: Fields) -> list[str]:
    """Paths of fields of a whole resource that were set otherwise."""
    return list(differences({k: v for k, v in wanted.items() if k not in _LAST_WRITER}, found))


def overlay(wanted: Fields, found: Fields) -> dict[str, Any]:
    """The wanted fields over those that were found, so that what others added stays.

    Args:
        wanted: our fields.
        found: only fields that are set.
    """
    merged = dict(found)
    for key, value in wanted.items():
        before = found.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            merged[key] = overlay(value, before)
        elif key == "containers" and _are_named(before):
            known = _by_name(before)
            merged[key] = [overlay(one, known.get(one["name"], {})) for one in value]
        else:
            merged[key] = value
    merged.pop("revision", None)  # the name of the present one, if it was given
    return merged


def _named_differences(wanted: Fields, found: Fields, path: str) -> Iterator[str]:
    for name, value in wanted.items():
        if name in found:
            yield from differences(value, found[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    yield from (f"{path}.{name}" for name in found if name not in wanted)


def _are_named(parts: object) -> bool:
    return (
        isinstance(parts, Sequence)
        and not isinstance(parts, str)
        and bool(parts)
        and all(isinstance(part, Mapping) and part.get("name") for part in parts)
    )


def _by_name(parts: Any) -> dict[str, Fields]:  # noqa: ANN401 - `_are_named`
    return {part["name"]: part for part in parts}


def _equal(one: object, other: object) -> bool:
    return _amount(one) is not None and _amount(one) == _amount(other)


def _amount(text: object) -> float | None:
    """Value of `1`, `1000m`, `4Gi`, `4096Mi`; None for anything else."""
    number = str(text)
    factor = 1.0
    for unit, value in _UNITS.items():
        if number.endswith(unit):
            number, factor = number.removesuffix(unit), value
    try:
        return float(number) * factor
    except ValueError:
        return None
