"""Memory that one output shard will need, estimated from its files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from braid.precomputed.volume_spec import ScaleSpec
from memmodel import output
from memmodel.coefficients import Coefficients, load
from memmodel.documents import EstimateDocument
from memmodel.estimate import DoesNotFit, Estimate, Work, choose, estimate
from memmodel.spec_file import folder_of, read_spec
from memmodel.throughput import estimated_seconds
from memmodel.tiers import parse_tiers
from runtime import cli
from runtime.errors import EXIT_FINDINGS, ObjectNotFound, UnreachableError, UsageError


def estimate_shard(work: Work, tiers: str, coefficients: str | None, *, as_json: bool) -> None:
    """Print the estimate of a shard, term by term, and its tier.

    Raises:
        typer.Exit: no tier holds it.
    """
    factors = Coefficients() if coefficients is None else load(coefficients)
    needed = estimate(work, factors)
    choice = _choose_tier(needed, tiers)
    seconds = estimated_seconds(work)
    if as_json:
        document = EstimateDocument(
            terms=dict(needed.terms),
            total_bytes=needed.total_bytes,
            tier=choice.tier,
            why=choice.why,
            seconds=round(seconds, 1),
        )
        cli.print_document(document)
    else:
        output.print_terms(work, needed, factors)
        cli.print_line(f"{choice}, about {seconds:.0f} s")
    if choice.tier is None:
        raise typer.Exit(EXIT_FINDINGS)


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


def scale_of(spec: str, index: int) -> ScaleSpec:
    """The scale of that index; raises UsageError if the spec has none that is served."""
    scales = read_spec(spec).scales
    if index >= len(scales):
        raise UsageError(f"{spec} has scales 0 to {len(scales) - 1}; there is no scale {index}")
    scales[index].check_served()
    return scales[index]


def work_of(files: Sequence[str], scale: ScaleSpec, threads: int, z_compress: int) -> Work:
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
