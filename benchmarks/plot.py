"""Plot of speed and memory against the size of the shard."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from benchmarks import bench
from benchmarks.results import Result, Results

_WAYS = {  # colour, marker
    bench.OURS: ("#1b7837", "o"),
    bench.TENSORSTORE: ("#762a83", "s"),
    bench.TENSORSTORE_WHOLE: ("#e08214", "^"),
}


def write_plot(results: Results, path: Path) -> bool:
    """Write the plot; False if nothing was measured."""
    measured = [m for m in results.of("memory") if m.on != bench.HEAVY]
    if not measured:
        return False
    # The same figures give the same file.
    with plt.rc_context({"svg.hashsalt": "shardlift", "svg.fonttype": "none", "font.size": 9}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
        for who, style in _WAYS.items():
            some = [m for m in measured if m.who == who]
            _line(left, some, [m.peak_mib for m in some], who, style)
            _line(right, some, [m.rate for m in some], who, style)
        _name(left, "peak memory, MiB")
        _name(right, "chunks/s, one core")
        left.legend(frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return True


def _line(
    axes: Axes, some: list[Result], values: list[float], who: str, style: tuple[str, str]
) -> None:
    colour, marker = style
    axes.plot([m.amount for m in some], values, color=colour, marker=marker, label=who)


def _name(axes: Axes, what: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(bottom=min(100, axes.dataLim.ymin / 2))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("chunks in the shard")
    axes.set_title(what, loc="left")
    axes.grid(visible=True, alpha=0.3)
