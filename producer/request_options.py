"""Options of a request, as they were typed, parsed into its parts."""

from collections.abc import Sequence

import typer

from braid.downsample.downsampler import Rule
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType
from memmodel.spec_file import read_spec
from memmodel.tiers import parse_size
from producer.info import read_volume
from producer.run_request import BadChunks
from runtime import common_options, settings
from runtime.errors import UsageError
from runtime.storage import absolute, open_storage


def fleet_options(memory: str | None, cpus: int | None) -> tuple[str, ...]:
    """Options of the fleet that --wait starts; raises UsageError if it would refuse them."""
    if memory:
        parse_size(memory)
    given = {"--memory": memory, "--cpus": str(cpus) if cpus else None}
    return tuple(text for name, value in given.items() if value for text in (name, value))


def scales(given: str | None, downres: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Scales to convert and to downsample; by default scale 0 is converted."""
    coarse = (
        () if downres.strip() in {"", "none"} else common_options.parse_scales(downres, "--downres")
    )
    if given is None or not given.strip():
        return (() if coarse else (0,)), coarse
    return (() if given.strip() == "none" else common_options.parse_scales(given)), coarse


def source(given: str | None, scales: tuple[int, ...]) -> str | None:
    """The export that scales are converted from; raises UsageError without one."""
    if not scales:
        return None
    if given is None:
        raise UsageError(
            "--source is missing: scales are converted from an export",
            hint=f"pass --source or set {settings.SOURCE_PATH}",
        )
    return absolute(given)


def volume(spec: str | None, dest: str) -> VolumeSpec:
    """The volume of the spec; without a spec, of the info at the destination."""
    return read_spec(spec) if spec else read_volume(open_storage(dest))


def label_type(context: typer.Context, given: str, *, supervoxels: bool) -> LabelType:
    """The kind of labels; raises UsageError for another, or for two at a time."""
    chosen = LabelType(_one_of(given, list(LabelType), "--label-type"))
    if not supervoxels:
        return chosen
    origin = context.get_parameter_source("label_type")  # the flag wins over LABEL_TYPE
    if origin is not None and origin.name == "COMMANDLINE" and chosen is not LabelType.SUPERVOXELS:
        raise UsageError(
            f"--supervoxels and --label-type {given} contradict each other",
            hint="pass one of them",
        )
    return LabelType.SUPERVOXELS


def bad_chunks(text: str) -> BadChunks:
    """What becomes of a shard with a bad chunk; raises UsageError for another word."""
    chosen: BadChunks = "skip" if text == "skip" else "fail"
    _one_of(text, ["fail", "skip"], "--bad-chunks")
    return chosen


def rule(text: str) -> Rule:
    """The rule of downsampling; raises UsageError for another word."""
    return Rule(_one_of(text, list(Rule), "--downres-rule"))


def _one_of(text: str, allowed: Sequence[str], option: str) -> str:
    if text not in allowed:
        raise UsageError(f"{option} {text!r} is not one of {', '.join(allowed)}")
    return text
