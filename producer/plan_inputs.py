"""What a plan is made from: listings of export and destination, and their provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from delivery.ledger.plan import PlanRow
from producer.export_listing import ScaleListing
from producer.provenance import Provenance
from runtime.storage import ObjectInfo, Storage

Outputs = Mapping[int, ObjectInfo]
"""Existing shard files of one scale, by shard number."""


@dataclass(frozen=True)
class PlanInputs:
    """Listings that a plan is made from.

    Attributes:
        listings: files of the export, by scale to be converted.
        outputs: existing shard files, by scale concerned.
        provenance: what the existing shards were made from.
        recorded: rows of an earlier plan, by scale to be converted whose files cannot be listed.
        notes: for people, on the existing shard files.
    """

    listings: Mapping[int, ScaleListing]
    outputs: Mapping[int, Outputs]
    provenance: Provenance = field(default_factory=Provenance)
    recorded: Mapping[int, Sequence[PlanRow]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def list_outputs(dest: Storage, scale: ScaleSpec) -> dict[int, ObjectInfo]:
    """List the shard files of a scale at the destination, by shard number."""
    found = {}
    for entry in dest.list(f"{scale.key}/"):
        shard = sharding.parse_shard_path(scale, entry.path)
        if shard is not None:
            found[shard] = entry
    return found


def has_shards(dest: Storage, scale: ScaleSpec) -> bool:
    """Whether there is any shard file of a scale at the destination."""
    listing = dest.list(f"{scale.key}/")
    return any(sharding.parse_shard_path(scale, entry.path) is not None for entry in listing)
