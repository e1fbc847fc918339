"""Headings below which help pages list options, the same for every command."""

from collections.abc import Iterable
from typing import Any, Final

OTHER: Final = "Options"
_FEW: Final = 8  # options that need no headings

_OPTIONS: Final = {
    "What": "--run --source --dest --spec --scales --downres --bbox --shards --limit --sample "
    "--label-type --supervoxels --downres-rule --z-compress --tier --scale --reason --failed "
    "--missing --since --only",
    "How": "--wait --dry-run --overwrite --partial --bad-chunks --redo --values --deep --dvid "
    "--uuid --instance --seed --files --gzip-level --max-dollars --yes --until-drained "
    "--until-idle --once --start --until-stopped --poll --home --image --canary --canary-timeout "
    "--out --json --json-report",
    "Where": "--state --queue --project --region --base-name",
    "Workers": "--tiers --memory --cpus --threads --slots --workers --max-per-tier "
    "--max-instances --max-dollars-per-hour --max-vcpus --max-memory-gib --spot --no-spot",
    "For experts": "--new-run --run-id --adopt --lease --coefficients --project-number "
    "--service-account --worker-account --autoscaler-account --build-account",
}
_PANELS: Final = {name: panel for panel, names in _OPTIONS.items() for name in names.split()}
ORDER: Final = ("Arguments", *_OPTIONS, OTHER)


def assign(parameters: Iterable[Any]) -> None:
    """Set the panel of each option of a command that has many.

    Args:
        parameters: Click's, whose classes are part of Typer in some versions.
    """
    options = [one for one in parameters if one.param_type_name == "option" and not one.hidden]
    if len(options) > _FEW:
        for one in options:
            one.rich_help_panel = one.rich_help_panel or _PANELS.get(one.opts[0])
