"""Rendering: unknown is never zero, and no line is wider than 80 columns."""

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from delivery.broker.base import Backlog
from memmodel.tiers import parse_tiers
from producer import render
from producer.export_listing import ScaleListing
from producer.planner import PlanInputs, make_plan
from producer.run_request import Request
from producer.synthetic_export import sample_spec
from tests.support.export_listings import export_file


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (None, "unknown")],
)
def test_sizes(number: int | None, text: str) -> None:
    """One decimal where it matters."""
    assert render.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.2 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (7500, "2 h 05 min"),
        (90_000, "1 d 01 h"),
        (None, "unknown"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """Two units at most."""
    assert render.duration(seconds) == text


def test_an_unknown_backlog_is_shown_as_unknown() -> None:
    """Queues known to be empty are left out; queues of unknown content are not."""
    shown = render.backlog_table({"2gi": Backlog(0, 0), "4gi": Backlog(), "dead": Backlog(1, 0, 5)})
    assert "2gi" not in shown
    assert "4gi" in shown
    assert shown.count("unknown") == 2
    assert "dead letters" in shown
    assert render.backlog_table({"2gi": Backlog(0, 0)}) == "queues: empty"


def test_tables_fit_the_terminal() -> None:
    """A real-sized plan: thousands of shards, terabytes, several tiers."""
    volume = VolumeSpec.parse(sample_spec((700, 500, 300), 3))
    cells = [(x, y, 0) for x in range(0, 700, 256) for y in range(0, 500, 256)]
    files = [
        export_file(f"s0/{x}_{y}_{z}.arrow", (x, y, z), 1 << (40 - x // 32)) for x, y, z in cells
    ]
    asked = Request(volume, "/source", "/dest", (0,), (1, 2))
    tiers = parse_tiers("0.2,0.3,0.5,2")
    nothing: dict[int, dict[int, object]] = {0: {}, 1: {}, 2: {}}
    planned = make_plan(asked, PlanInputs({0: ScaleListing(0, tuple(files))}, nothing), tiers)  # type: ignore[arg-type]
    tables = (
        render.tier_table(planned.forecasts, tiers),
        render.cost_table(planned.forecasts, tiers),
    )
    for table in tables:
        assert max(map(len, table.splitlines())) <= render.WIDTH
    shards = [int(line.split()[1]) for line in tables[0].splitlines()[1:]]
    assert sum(shards) == len(planned.forecasts)
    total = next(line for line in tables[1].splitlines() if line.startswith("all"))
    assert int(total.split()[1]) == len(planned.forecasts)
    assert "$" in total


def test_reasons_are_grouped() -> None:
    """The commonest first, with three of its shards named."""
    pairs = [(f"s0/{n}", "bad zstd") for n in range(5)] + [("s0/9", "cut short")]
    assert render.reasons(pairs).splitlines() == [
        "s0/0, s0/1, s0/2 and 2 more: bad zstd",
        "s0/9: cut short",
    ]
