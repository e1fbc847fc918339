"""`python -m memmodel`: estimates of shards, and coefficients fitted to receipts."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from braid.exceptions import SpecError
from braid.precomputed.volume_spec import ScaleSpec
from delivery.ledger.run import Run, find_run
from memmodel import fit as fitting
from memmodel import output
from memmodel.coefficients import Coefficients, load
from memmodel.estimate import DoesNotFit, Estimate, Work, choose
from memmodel.estimate import estimate as estimate_work
from memmodel.labels import summarise
from memmodel.plot import plot_fit
from memmodel.receipt_samples import read_samples
from memmodel.spec_file import folder_of, read_spec
from memmodel.throughput import estimated_seconds
from memmodel.tiers import parse_tiers
from runtime import cli, settings
from runtime.errors import EXIT_FINDINGS, EXIT_USAGE, ObjectNotFound, UnreachableError, UsageError
from runtime.storage.files import translate_write_errors

app = cli.new_app("Memory model: estimates of a shard, labels of a scale, fitted coefficients.")

CoefficientsOption = Annotated[
    str | None,
    typer.Option(
        "--coefficients",
        envvar=settings.MEMORY_COEFFICIENTS,
        metavar="FILE",
        help="What `fit` wrote. Default: the built-in coefficients.",
    ),
]
FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="The files that one output shard is made from: .arrow of an export, or .shard.",
    ),
]
ScaleOption = Annotated[int, typer.Option("--scale", min=0, help="Of the output shard.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Of the work process.")]
DecimateOption = Annotated[int, typer.Option("--z-compress", min=0, help="As for enqueue.")]
RunsOption = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="ID|URI", help="A run; may be given often. Default: the newest."),
]
TargetOption = Annotated[int, typer.Option("--target-scale", min=1, help="The scale to be made.")]
OutOption = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Where to write the coefficients.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="PNG", help="Draw estimates against the peaks.")
]


@app.command()
def estimate(
    files: FilesArgument,
    *,
    spec: cli.SpecOption,
    scale: ScaleOption = 0,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    threads: ThreadsOption = 1,
    z_compress: DecimateOption = 0,
    coefficients: CoefficientsOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Print the memory that one output shard will need, term by term, and its tier."""
    work = _work(files, _scale(spec, scale), threads, z_compress)
    factors = Coefficients() if coefficients is None else load(coefficients)
    needed = estimate_work(work, factors)
    choice = _choose_tier(needed, tiers)
    seconds = estimated_seconds(work)
    if as_json:
        terms = {"terms": dict(needed.terms), "total_bytes": needed.total_bytes}
        output.print_document(terms | asdict(choice) | {"seconds": round(seconds, 1)})
    else:
        output.print_terms(work, needed, factors)
        cli.print_line(f"{choice}, about {seconds:.0f} s")
    if choice.tier is None:
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def labels(
    *,
    target_scale: TargetOption,
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Print how many labels the inputs of a scale hold, and the tiers its shards will need."""
    found = summarise(_run(run, state, dest), target_scale)
    if as_json:
        output.print_document(asdict(found))
    else:
        output.print_labels(found)


@app.command()
def fit(
    *,
    run: RunsOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    out: OutOption = Path("memory-coefficients.json"),
    plot: PlotOption = None,
    coefficients: CoefficientsOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Fit coefficients to the measured peaks of finished shards; write them for enqueue to use."""
    names: Sequence[str | None] = run or [None]
    runs = [_run(one, state, dest) for one in names]
    samples = [sample for one in runs for sample in read_samples(one)]
    before = Coefficients() if coefficients is None else load(coefficients)
    found = fitting.fit(samples, before)
    with translate_write_errors(out):
        out.write_bytes(found.coefficients.dump(found.about([one.uri for one in runs])))
    if plot is not None:
        plot_fit(found, before, plot)
    if as_json:
        output.print_document(
            {
                "coefficients": dict(found.coefficients.values),
                "before": [asdict(one) for one in found.before],
                "after": [asdict(one) for one in found.after],
            }
        )
        return
    output.print_residuals(found)
    cli.print_line(f"wrote {out}; use it with {settings.MEMORY_COEFFICIENTS}={out}")


@dataclass(frozen=True)
class TierChoice:
    """Tier of a shard, or why none holds it."""

    tier: str | None
    why: str | None = None

    def __str__(self) -> str:
        return f"tier {self.tier}" if self.tier else f"no tier: {self.why}"


def _choose_tier(needed: Estimate, tiers: str) -> TierChoice:
    try:
        return TierChoice(choose(needed, parse_tiers(tiers)).name)
    except DoesNotFit as error:
        return TierChoice(None, str(error))


def _scale(spec: str, index: int) -> ScaleSpec:
    scales = read_spec(spec).scales
    if index >= len(scales):
        raise UsageError(f"{spec} has scales 0 to {len(scales) - 1}; there is no scale {index}")
    scales[index].check_served()
    return scales[index]


def _work(files: Sequence[str], scale: ScaleSpec, threads: int, z_compress: int) -> Work:
    """Work that these files make: kind by their names, the rest by the scale's full shard."""
    endings = {Path(file).suffix for file in files}
    if endings not in ({".arrow"}, {".shard"}):
        raise UsageError("name .arrow files of an export, or .shard files of the scale before")
    sharding = scale.sharding
    full = 1 << min(sharding.preshift_bits + sharding.minishard_bits, scale.id_bits)
    return Work(
        kind="convert" if endings == {".arrow"} else "downsample",
        bytes_in=sum(map(_size, files)),
        chunks=min(full, math.prod(scale.grid)),
        code_path=scale.code_path(z_compress + 1),
        threads=threads,
        chunk_voxels=math.prod(scale.chunk_size),
        slices=z_compress + 1,
    )


def _size(url: str) -> int:
    folder, name = folder_of(url)
    try:
        return folder.stat(name).size
    except ObjectNotFound:
        raise UnreachableError(f"{url}: no such file") from None


def _run(run: str | None, state: str | None, dest: str | None) -> Run:
    if run is not None and "/" in run:
        return find_run("", run)
    if state is None and dest is None:
        raise UsageError("which run?", hint="give --run with a whole URI, or --state or --dest")
    return find_run(state or settings.default_state_url(dest or ""), run)


if __name__ == "__main__":
    cli.run(app, {SpecError: EXIT_USAGE})
