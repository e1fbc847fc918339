"""Checks of bodies, parameters and field masks against the schemas of a discovery document."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Schemas = Mapping[str, Mapping[str, Any]]

_REQUIRED: Final = re.compile(r"required\b", re.IGNORECASE)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_DURATION: Final = re.compile(r"-?\d+(\.\d{1,9})?s")
_WHOLE: Final = re.compile(r"-?\d+")
_BITS: Final = {"int32": 31, "uint32": 32, "int64": 63, "uint64": 64}


def problems(
    schemas: Schemas, name: str, body: object, *, output_allowed: bool = False, whole: bool = True
) -> list[str]:
    """What a body does that its schema forbids, each with the path of the field.

    Args:
        schemas: of the document.
        name: of the body's schema.
        body: as parsed from JSON.
        output_allowed: fields that only the service sets may be there, as in an update of what
            was read before, and in answers.
        whole: fields that the documentation calls required must be there.
    """
    return list(_Check(schemas, output_allowed, whole).of({"$ref": name}, body, ""))


def is_required(property_: Mapping[str, Any]) -> bool:
    """Whether the documentation demands a field; the documents have no flag for it."""
    return bool(_REQUIRED.match(property_.get("description", "")))


def parameter_problem(parameter: Mapping[str, Any], text: str) -> str | None:
    """What is wrong with a parameter of the query, which is text."""
    kind = parameter.get("type")
    if kind == "boolean":
        return None if text in {"true", "false"} else f"{text!r} is not true or false"
    if kind == "integer":
        return None if _WHOLE.fullmatch(text) else f"{text!r} is not an integer"
    if "enum" in parameter and text not in parameter["enum"]:
        return f"{text!r} is not one of {', '.join(parameter['enum'])}"
    return None


def mask_problems(schemas: Schemas, name: str, mask: str) -> list[str]:
    """Paths of a field mask that the schema lacks, or that only the service sets."""
    found = []
    for path in mask.split(","):
        property_: Mapping[str, Any] = {"$ref": name}
        for part in path.split("."):
            property_ = _fields(schemas, property_).get(part, {})
            if not property_:
                found.append(f"update_mask: {path!r} is not a field")
                break
            if property_.get("readOnly"):
                found.append(f"update_mask: {path!r} is set by the service only")
                break
    return found


def _fields(schemas: Schemas, property_: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = schemas[property_["$ref"]] if "$ref" in property_ else property_
    fields: Mapping[str, Any] = schema.get("properties", {})
    return fields


class _Check:
    def __init__(self, schemas: Schemas, output_allowed: bool, whole: bool) -> None:
        self._schemas = schemas
        self._output_allowed = output_allowed
        self._whole = whole

    def of(self, property_: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
        """Problems of one value."""
        if value is None:
            yield f"{path}: null"
        elif "$ref" in property_:
            yield from self._message(self._schemas[property_["$ref"]], value, path)
        elif property_.get("type") == "array":
            yield from self._array(property_["items"], value, path)
        elif property_.get("type") == "object":
            yield from self._message(property_, value, path)
        elif property_.get("type") != "any":
            yield from self._scalar(property_, value, path)

    def _message(self, schema: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path or 'body'}: not an object"
            return
        fields = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for key, inner in value.items():
            at = f"{path}.{key}" if path else key
            if key in fields:
                yield from self._field(fields[key], inner, at)
            elif others is not None:
                yield from self.of(others, inner, at)
            else:
                yield f"{at}: unknown field"
        if self._whole:
            for key, property_ in fields.items():
                if is_required(property_) and value.get(key) in (None, "", []):
                    yield f"{path}.{key}: required".lstrip(".")

    def _field(self, property_: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
        if property_.get("readOnly"):
            if not self._output_allowed:
                yield f"{path}: set by the service only"
                return
            inner = _Check(self._schemas, output_allowed=True, whole=False)
            yield from inner.of(property_, value, path)
            return
        yield from self.of(property_, value, path)

    def _array(self, items: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path}: not an array"
            return
        for number, item in enumerate(value):
            yield from self.of(items, item, f"{path}[{number}]")

    def _scalar(self, property_: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
        kind, form = property_.get("type", "any"), property_.get("format")
        if "enum" in property_:
            # Google's clients send enums as numbers, which the documents do not tell.
            fine = value in property_["enum"] if isinstance(value, str) else _is_whole(value)
        elif form in _BITS:
            fine = _is_number_of(value, _BITS[form], signed=form.startswith("int"))
        else:
            fine = _TYPES[kind](value) and _FORMATS.get(form, _anything)(value)
        if not fine:
            yield f"{path}: {value!r} is not {form or kind}"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number_of(value: object, bits: int, *, signed: bool) -> bool:
    """An integer, or for 64 bits also its text, within range."""
    if isinstance(value, str) and bits > 32 and _WHOLE.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return (-(1 << bits) if signed else 0) <= value < 1 << bits


def _is_base64(value: Any) -> bool:  # noqa: ANN401 - a string by then
    try:
        base64.b64decode(value, b"-_" if "-" in value or "_" in value else None, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _anything(_value: object) -> bool:
    return True


_TYPES: Final[dict[str, Callable[[object], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "any": _anything,
}
_FORMATS: Final[dict[str | None, Callable[[Any], bool]]] = {
    "google-datetime": lambda value: bool(_TIME.fullmatch(value)),
    "google-duration": lambda value: bool(_DURATION.fullmatch(value)),
    "byte": _is_base64,
}
