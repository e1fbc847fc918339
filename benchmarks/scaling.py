"""`python -m benchmarks.scaling`: the figures and the picture of docs/scaling.md, by simulation."""

import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from tests.support.scaling_patterns import Pattern, again, day, escalating, flat, mixed, pyramid
from tests.support.scaling_simulator import Outcome

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "scaling.md"
PICTURE: Final = ROOT / "docs" / "images" / "scaling.svg"
BEGIN, END = "<!-- bench scaling -->\n", "<!-- /bench -->"

SEEDS: Final = range(1, 6)
_DAY_SEED: Final = 1
_HOUR_S: Final = 3600
_COLOURS: Final = {"2gi": "#1b7837", "4gi": "#762a83", "8gi": "#e08214"}
ROWS: Final[Mapping[str, Callable[[int], Pattern]]] = {
    "2,000 shards of 120 s, at most 200 instances": lambda seed: flat(2000, 120, 200, seed),
    "the same in plan order": lambda seed: flat(2000, 120, 200, seed, longest_first=False),
    "8,000 of 60 s, at most 300": lambda seed: flat(8000, 60, 300, seed),
    "60 of 600 s, at most 100": lambda seed: flat(60, 600, 100, seed),
    "400 of 120 s, at most 400: short and wide": lambda seed: flat(400, 120, 400, seed),
    "pyramid of 4,096 + 585 of 20 s, at most 60": lambda seed: pyramid(4096, 20, 60, seed, ["2gi"]),
    "the same, at most 100": lambda seed: pyramid(4096, 20, 100, seed, ["2gi"]),
    "2,000 of 120 s, 2 % escalated, at most 100": lambda seed: escalating(
        2000, 120, 100, seed, 0.02
    ),
    "400 of 4gi beside 4,000 of 2gi, 0.2 % escalated": lambda seed: mixed(
        4000, 400, 60, seed, 0.002
    ),
    "the same, 2 % escalated": lambda seed: mixed(4000, 400, 60, seed, 0.02),
    "1,000 of 60 s, four times": lambda seed: again(1000, 60, 60, seed, (0, 1110, 1115, 4000)),
    "the day of the picture": day,
}


def table() -> str:
    """Figures of all patterns as a table of Markdown."""
    lines = [
        "| pattern | billed / work | worst seed | kills | off after the last receipt |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [row(name, make) for name, make in ROWS.items()]
    return "\n".join(lines) + "\n"


def row(name: str, make: Callable[[int], Pattern]) -> str:
    """Figures of one pattern over all seeds."""
    found = [make(seed).simulate(seed) for seed in SEEDS]
    ratios = [outcome.billed_ratio for outcome in found]
    kills = sum(outcome.kills for outcome in found)
    off_s = max(outcome.off_s for outcome in found)
    mean = statistics.mean(ratios)
    return f"| {name} | {mean:.2f} | {max(ratios):.2f} | {kills} | {off_s:.0f} s |"


def page_with(text: str, figures: str) -> str:
    """The page with other figures between its marks."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + figures + END + rest.partition(END)[2]


def write_picture(path: Path) -> None:
    """Draw shards that are ready and instances over a simulated day."""
    outcome = day(_DAY_SEED).simulate(_DAY_SEED)
    with plt.rc_context({"svg.hashsalt": "shardlift", "svg.fonttype": "none", "font.size": 9}):
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(8, 4.2), sharex=True, layout="constrained"
        )
        _steps(top, outcome, ready=True)
        _steps(bottom, outcome, ready=False)
        top.set_title("shards that are ready or in work", loc="left")
        bottom.set_title("instances", loc="left")
        top.legend(frameon=False, title="tier")
        bottom.set_xlabel("hour of the day")
        bottom.set_xlim(0, 24)
        bottom.set_xticks(range(0, 25, 3))
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _steps(axes: Axes, outcome: Outcome, *, ready: bool) -> None:
    hours = [sample.at_s / _HOUR_S for sample in outcome.samples]
    for tier, colour in _COLOURS.items():
        counts = [(s.ready if ready else s.counts).get(tier, 0) for s in outcome.samples]
        axes.step(hours, counts, where="post", color=colour, label=tier, linewidth=1.1)
    if ready:
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)


if __name__ == "__main__":
    figures = table()
    sys.stdout.write(figures)
    PAGE.write_text(page_with(PAGE.read_text(), figures))
    write_picture(PICTURE)
