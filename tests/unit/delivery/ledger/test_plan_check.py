"""Plans that no planner writes: each is damage, in one line that says what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.plan import Plan
from runtime.storage import open_storage
from tests.support.ledgers import pyramid

Change = Callable[[pa.Table], pa.Table]


def with_value(name: str, position: int, value: Any) -> Change:  # noqa: ANN401 - of any column
    """Replace one value of a column."""

    def change(table: pa.Table) -> pa.Table:
        values = table.column(name).to_pylist()
        values[position] = value
        index = table.schema.get_field_index(name)
        field = pa.field(name, table.schema.field(name).type)
        return table.set_column(index, field, pa.array(values, field.type))

    return change


def with_type(name: str, kind: pa.DataType, value: Any) -> Change:  # noqa: ANN401 - of any type
    """Replace a column by one of another type."""

    def change(table: pa.Table) -> pa.Table:
        index = table.schema.get_field_index(name)
        return table.set_column(index, name, pa.array([value] * len(table), kind))

    return change


def with_scales(text: bytes) -> Change:
    """Replace the planned scales."""
    return lambda table: table.replace_schema_metadata({b"scales": text})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda table: table.drop_columns(["sources"]), "one column sources"),
        (lambda table: table.append_column("key", table.column("key")), "one column key"),
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "appears twice"),
        (lambda table: table.take([6, 0, 1, 2, 3, 4, 5]), "in order"),
        (with_value("key", 0, "../../etc/passwd"), "not a shard key"),
        (with_value("key", 0, "s0/.."), "not a shard key"),
        (with_value("key", 0, ""), "not a shard key"),
        (with_value("key", 0, None), "key"),
        (with_value("key", 0, "s0/ff"), "not those of its key"),
        (with_value("scale", 0, 7), "not those of its key"),
        (with_value("scale", 0, -1), "not those of its key"),
        (with_value("shard", 0, 2**64 - 1), "is not 00"),
        (with_value("kind", 0, "delete"), "kind is 'delete'"),
        (with_value("state", 0, ""), "state is ''"),
        (with_value("bytes_in", 0, -1), "bytes_in is -1"),
        (with_value("bytes_in", 0, 2**63 - 1), "bytes_in is 9"),
        (with_value("estimated_bytes", 0, -5), "estimated_bytes is -5"),
        (with_value("bad_chunks", 0, -5), "bad_chunks is -5"),
        (with_value("sources", 0, ["../secret"]), "'../secret' is not below the export"),
        (with_value("sources", 0, ["/etc/passwd"]), "not below the export"),
        (with_value("sources", 0, ["gs://else/a"]), "not below the export"),
        (with_value("sources", 0, ["s0/a\0"]), "not below the export"),
        (with_value("sources", 0, [None]), "not below the export"),
        (with_value("inputs", 6, ["s1/.."]), "not a shard key"),
        (with_value("inputs", 6, ["s2/00"]), "is an input of scale 2"),
        (with_value("inputs", 0, ["s0/01"]), "is an input of scale 0"),
        (with_scales(b"0,1"), "scales are not"),
        (with_scales(b"x"), "invalid literal"),
        (with_scales(b"\xff"), "can't decode"),
        (with_type("shard", pa.string(), "x"), "x"),
        (with_type("scale", pa.int64(), 10**12), "not in range|out of bounds"),
        (with_type("key", pa.int64(), 3), "not a shard key"),
        (with_type("sources", pa.string(), "x"), "sources|list"),
    ],
)
def test_absurd_plans_are_damaged(tmp_path: Path, change: Change, what: str) -> None:
    """Whatever a table holds that no plan can hold is named."""
    storage = open_storage(str(tmp_path))
    Plan(change(Plan.of(pyramid()).table)).write(storage)
    with pytest.raises(LedgerDamaged, match=f"plan.arrow is damaged .*{what}") as caught:
        Plan.read(storage, "the way on")
    assert "the way on" in (caught.value.hint or "")
    assert "\n" not in str(caught.value)


def test_columns_of_a_newer_version_are_passed_over(tmp_path: Path) -> None:
    """A column that this version does not know changes nothing."""
    storage = open_storage(str(tmp_path))
    table = Plan.of(pyramid()).table
    Plan(table.append_column("colour", pa.array(["red"] * len(table)))).write(storage)
    assert list(Plan.read(storage).rows()) == list(Plan.of(pyramid()).rows())


@pytest.mark.parametrize("cut", [1, 8, 100, 1000])
def test_a_cut_plan_is_damaged(tmp_path: Path, cut: int) -> None:
    """A file that lacks its end is not a plan."""
    storage = open_storage(str(tmp_path))
    Plan.of(pyramid()).write(storage)
    file = tmp_path / "plan.arrow"
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(LedgerDamaged):
        Plan.read(storage)
