"""An `info` as a JSON document: read strictly, its faults told in one line."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from braid.exceptions import SpecError

__all__ = ["first_fault", "load_info"]


def load_info(data: str | bytes | Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read JSON strictly: an object, no key twice, no NaN.

    Raises:
        SpecError: it is not such JSON.
    """
    if isinstance(data, Mapping):
        return dict(data)
    try:
        document = json.loads(data, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: not valid JSON ({_one_line(error)})") from None
    if not isinstance(document, dict):
        raise SpecError(f"{where}: expected a JSON object with `scales`")
    return document


def first_fault(error: ValidationError, document: Mapping[str, Any]) -> str:
    """Pydantic's first complaint as one line: scale, field, what is wrong."""
    fault = error.errors(include_url=False)[0]
    place = _place(fault["loc"], document)
    if fault["type"] == "missing":
        return f"{place} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{place} is not a field of sharding; readers refuse it"
    return f"{place}: {fault['msg']}, found {_short(fault['input'])}"


def _place(loc: tuple[int | str, ...], document: Mapping[str, Any]) -> str:
    if len(loc) >= 2 and loc[0] == "scales" and isinstance(loc[1], int):  # noqa: PLR2004 (scales, i)
        rest = ".".join(str(part) for part in loc[2:]) or "entry"
        return f"scale {loc[1]}{_key_of(loc[1], document)}: {rest}"
    return ".".join(str(part) for part in loc)


def _key_of(index: int, document: Mapping[str, Any]) -> str:
    scale = document["scales"][index]
    key = scale.get("key") if isinstance(scale, dict) else None
    return f" ({key})" if isinstance(key, str) and key.isprintable() else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 (fits one line)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} appears twice")
        found[key] = value
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
