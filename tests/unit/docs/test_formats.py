"""docs/formats.md is true: its tables of columns and fields are the code's."""

import json
import re
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from braid.dvid.block import largest_block_bytes
from braid.dvid.csv_index import parse_listing
from braid.dvid.rows import COLUMNS
from braid.precomputed.info_schema import RawInfo, RawScale, RawSharding
from delivery.broker.embedded import EmbeddedBroker
from delivery.ledger.failures import Failure
from delivery.ledger.placements import Placement
from delivery.ledger.plan import Plan
from delivery.ledger.receipts import BadChunk, Receipt
from delivery.ledger.run import Heartbeat, PublishMarker, RunInfo
from delivery.messages import Hop, ShardMessage

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "formats.md").read_text()
ROWS_OF_TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)

MODELS: list[tuple[str, int, type[BaseModel]]] = [
    ("### info", 0, RawInfo),
    ("### info", 1, RawScale),
    ("### info", 2, RawSharding),
    ("### run.json", 0, RunInfo),
    ("### Receipt", 0, Receipt),
    ("### Receipt", 1, BadChunk),
    ("### Failure record", 0, Failure),
    ("### Publish marker", 0, PublishMarker),
    ("### Placement", 0, Placement),
    ("### Heartbeat", 0, Heartbeat),
    ("## A message", 0, ShardMessage),
    ("## A message", 1, Hop),
]


def table(heading: str, number: int = 0) -> list[list[str]]:
    """The cells of a table of a section, without its head; code marks taken off."""
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    found = ROWS_OF_TABLE.findall(section)[number].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in found]


@pytest.mark.parametrize(("heading", "number", "model"), MODELS, ids=lambda value: str(value)[-24:])
def test_fields_are_those_of_the_model(heading: str, number: int, model: type[BaseModel]) -> None:
    """Each field of the model has a row with its default, and no other name has one."""
    rows = {row[0]: row[1] for row in table(heading, number)}
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        if heading == "### info":  # strings stand there without quotes
            assert (rows[name] == "required") == (field.is_required() or name == "sharding"), name
            continue
        assert rows[name] == _default(field), name


def test_columns_of_the_plan() -> None:
    """Name, type and nullability of each column, in order."""
    schema = Plan.of([]).table.schema
    assert table("### plan.arrow") == [
        [field.name, _type(field.type), "yes" if field.nullable else "no", *row[3:]]
        for field, row in zip(schema, table("### plan.arrow"), strict=True)
    ]


def test_columns_of_an_export() -> None:
    """Name and type of each column, in order."""
    rows = table("### Rows")
    assert [row[:2] for row in rows] == [[field.name, _type(field.type)] for field in COLUMNS]
    assert f"at most {largest_block_bytes():,}" in rows[-1][2]


def test_dialects_of_the_index() -> None:
    """Each header is read, and has byte ranges where the table says so."""
    for header, ranges, *_ in table("### CSV index"):
        names = header.split(",")
        row = ",".join("8" if name == "size" else "0" for name in names)
        listing = parse_listing(f"{header}\n{row}\n".encode(), header)
        assert listing.has_ranges == (ranges == "yes"), header


def test_columns_of_the_queue(tmp_path: Path) -> None:
    """Name and type of each column of the SQLite file, in order."""
    path = tmp_path / "queue.db"
    with EmbeddedBroker(path, ["2gi"], 60):
        pass
    with sqlite3.connect(path) as db:
        found = [[name, kind] for _, name, kind, *_ in db.execute("PRAGMA table_info(message)")]
    assert [row[:2] for row in table("## The SQLite queue")] == found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return json.dumps(to_jsonable_python(field.get_default(call_default_factory=True)))


def _type(of: pa.DataType) -> str:
    return f"list<{of.value_type}>" if pa.types.is_list(of) else str(of)
