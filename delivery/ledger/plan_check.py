"""Check of a plan that was read: what no plan can hold is damage, not work.

Whole columns at a time, since a plan may have a million rows.
"""

import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_KEY: Final = r"^s\d{1,3}/[0-9a-f]{1,16}$"
_VALUES: Final = {"kind": ("convert", "downsample"), "state": ("make", "present", "empty")}
_COUNTS: Final = ("bytes_in", "estimated_bytes", "bad_chunks")
_MOST_BYTES: Final = 1 << 62
_ABSURD: Final = re.compile(r"^/|(^|/)\.\.(/|$)|\x00|^[a-z][a-z0-9+.-]*://")  # leads out


def check_table(table: pa.Table, scales_name: bytes) -> None:
    """Raise ValueError for a table that is not a plan.

    Args:
        table: in the schema of plans.
        scales_name: of the planned scales in the schema's metadata.
    """
    for field in table.schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"a row has no {field.name}")
    scales = _scales((table.schema.metadata or {}).get(scales_name, b""))
    keys = table.column("key")
    _check_keys(keys, "key")
    if len(pc.unique(keys)) != len(keys):
        raise ValueError("a key appears twice")
    _check_parts(table, scales)
    _check_values(table)
    _check_inputs(table, scales)
    for source in pc.unique(pc.list_flatten(table.column("sources"))).to_pylist():
        if source is None or _ABSURD.search(source):
            raise ValueError(f"the source file {source!r} is not below the export")


def _scales(text: bytes) -> frozenset[int]:
    return frozenset(int(part) for part in text.decode().split(",") if part)


def _check_keys(keys: pa.ChunkedArray, what: str) -> None:
    wrong = keys.filter(pc.invert(pc.match_substring_regex(keys, _KEY)))
    if len(wrong) or keys.null_count:
        raise ValueError(f"the {what} {_first(wrong)!r} is not a shard key")


def _check_parts(table: pa.Table, scales: frozenset[int]) -> None:
    """Key, scale, hexadecimal and shard number say the same; scales ascend."""
    scale, hexes = table.column("scale"), table.column("hex")
    made = pc.binary_join_element_wise(
        pc.binary_join_element_wise("s", scale.cast(pa.string()), ""), hexes, "/"
    )
    same = pc.equal(made, table.column("key"))
    if not pc.all(same, min_count=0).as_py():
        key = _first(table.column("key").filter(pc.invert(same)))
        raise ValueError(f"scale and shard of {key} are not those of its key")
    for text, shard in zip(hexes.to_pylist(), table.column("shard").to_pylist(), strict=True):
        if int(text, 16) != shard:
            raise ValueError(f"shard {shard} is not {text}")
    found = scale.to_pylist()
    if sorted(found) != found or not scales.issuperset(found):
        raise ValueError("its scales are not those that it names, in order")


def _check_values(table: pa.Table) -> None:
    for name, allowed in _VALUES.items():
        column = table.column(name)
        wrong = column.filter(pc.invert(pc.is_in(column, pa.array(allowed))))
        if len(wrong):
            raise ValueError(f"{name} is {_first(wrong)!r}")
    for name in _COUNTS:
        column = table.column(name).drop_null()
        wrong = column.filter(pc.or_(pc.less(column, 0), pc.greater(column, _MOST_BYTES)))
        if len(wrong):
            raise ValueError(f"{name} is {_first(wrong)}")


def _check_inputs(table: pa.Table, scales: frozenset[int]) -> None:
    """Inputs are shard keys of planned scales below their row's."""
    column = table.column("inputs")
    inputs = pc.list_flatten(column)
    _check_keys(inputs, "input")
    owners = table.column("scale").take(pc.list_parent_indices(column)).to_pylist()
    for owner, key in zip(owners, inputs.to_pylist(), strict=True):
        scale = int(key[1 : key.index("/")])
        if scale >= owner or scale not in scales:
            raise ValueError(f"{key} is an input of scale {owner}")


def _first(column: pa.ChunkedArray) -> object:
    return next(iter(column.to_pylist()), None)
