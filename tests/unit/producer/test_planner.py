"""Planner: rows, sources and inputs, tiers; requests and fingerprints."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from braid.exceptions import SpecError
from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from delivery.ledger.plan import PlanRow
from memmodel.tiers import parse_tiers
from memmodel.usage import RAW_OVER_GZIP
from producer.export_listing import ScaleListing
from producer.planner import PlanInputs, files_by_shard, make_plan
from producer.run_request import Request
from producer.synthetic_export import sample_spec
from runtime.errors import UsageError
from runtime.storage import ObjectInfo
from tests.support.export_listings import export_file
from tests.support.source_box import source_box

TIERS = parse_tiers("0.5,2")
SIZE = (700, 500, 300)  # 11 x 8 x 5 chunks in shards of 4 x 4 x 4: 3 x 2 x 2 of them
NOTHING: dict[int, dict[int, ObjectInfo]] = {0: {}, 1: {}, 2: {}}


def volume() -> VolumeSpec:
    """Three scales."""
    return VolumeSpec.parse(sample_spec(SIZE, 3))


def request(**fields: object) -> Request:
    """Scale 0 from the export, two more from it."""
    known = {"source": "/source", "dest": "/dest", "scales": (0,), "downres": (1, 2)}
    return Request(volume(), **known | fields)  # type: ignore[arg-type]  # passed on


def files(scale: ScaleSpec, edge: int = 256, size: int = 1000) -> ScaleListing:
    """A whole export: a file for each extent."""
    x, y, z = scale.size
    origins = [
        (i, j, k) for i in range(0, x, edge) for j in range(0, y, edge) for k in range(0, z, edge)
    ]
    named = sorted(
        (export_file(f"s{scale.index}/{i}_{j}_{k}.arrow", (i, j, k), size) for i, j, k in origins),
        key=lambda file: file.path,
    )
    return ScaleListing(scale.index, tuple(named))


def output(scale: ScaleSpec, shard: int, size: int = 5000) -> ObjectInfo:
    """A shard file that exists."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return ObjectInfo(sharding.shard_path(scale, shard), size, "AAAAAA==", moment, None)


def rows(asked: Request, found: PlanInputs) -> dict[str, PlanRow]:
    """The plan's rows, by key."""
    return {row.key: row for row in make_plan(asked, found, TIERS).plan.rows()}


def whole() -> PlanInputs:
    """An export, and nothing made yet."""
    return PlanInputs({0: files(volume().scales[0])}, NOTHING)


def test_every_shard_of_every_scale_has_a_row() -> None:
    """As many as the volume has; each converted one with its file, each other with its inputs."""
    planned = rows(request(), whole())
    scales = volume().scales
    assert sorted(planned) == sorted(
        f"s{scale.index}/{sharding.shard_hex(shard, scale.sharding)}"
        for scale in scales
        for shard in sharding.all_shards(scale)
    )
    for row in planned.values():
        assert (row.kind == "convert") == bool(row.sources) == (row.scale == 0)
        if row.scale:
            fine, coarse = scales[row.scale - 1 : row.scale + 1]
            shards = sharding.inputs(fine, coarse, row.shard)
            assert [planned[key].shard for key in row.inputs] == shards


def test_the_same_listings_make_the_same_plan() -> None:
    """Byte for byte, in whatever order the files came."""
    found = whole()
    turned = ScaleListing(0, tuple(reversed(found.listings[0].files)))
    again = make_plan(request(), replace(found, listings={0: turned}), TIERS)
    first = make_plan(request(), found, TIERS)
    assert [replace(r, sources=()) for r in again.plan.rows()] == [
        replace(r, sources=()) for r in first.plan.rows()
    ]
    assert make_plan(request(), found, TIERS).plan.table.equals(first.plan.table)


def test_a_shard_without_files_has_no_row_and_is_no_input() -> None:
    """One file: one shard, and one of each scale above."""
    only = ScaleListing(0, files(volume().scales[0]).files[:1])
    planned = rows(request(), PlanInputs({0: only}, NOTHING))
    assert [row.scale for row in planned.values()] == [0, 1, 2]
    assert [row.inputs for row in planned.values()] == [(), ("s0/0",), ("s1/0",)]


def test_a_file_is_listed_for_every_shard_that_its_extent_meets() -> None:
    """A cell twice as wide as a shard feeds eight of them, but none beyond the volume."""
    scale = volume().scales[0]
    wide = replace(scale, sharding=replace(scale.sharding, preshift_bits=2, minishard_bits=1))
    named = ScaleListing(0, (export_file("s0/0_0_0.arrow", (0, 0, 0), 1),))
    assert len(files_by_shard(wide, named)) == 1
    outside = ScaleListing(0, (export_file("s0/2048_0_0.arrow", (2048, 0, 0), 1),))
    assert files_by_shard(scale, outside) == {}


@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_decimated_shards_list_every_file_that_holds_their_slices(skipped: int) -> None:
    """For every output shard the files cover exactly the blocks that it is made of."""
    scale = volume().scales[0]
    depth = scale.size[2] * (skipped + 1)
    source = replace(scale, size=(*scale.size[:2], depth))
    listed = files_by_shard(scale, files(source, edge=64), skipped)
    assert sorted(listed) == list(sharding.all_shards(scale))
    for shard, own in listed.items():
        (x, y, z), (far_x, far_y, far_z) = source_box(scale, shard, skipped)
        blocks = {tuple(v // 64 for v in file.origin) for file in own}
        needed = {
            (i, j, k) for i in range(x, far_x) for j in range(y, far_y) for k in range(z, far_z)
        }
        assert needed <= blocks


def test_what_exists_stays_and_still_feeds() -> None:
    """Present shards are not made; a dependent of present ones alone has its tier already."""
    scale = volume().scales[0]
    there = {shard: output(scale, shard) for shard in sharding.all_shards(scale)}
    planned = rows(request(), replace(whole(), outputs=NOTHING | {0: there}))
    assert {row.state for row in planned.values() if row.scale == 0} == {"present"}
    assert all(row.crc32c for row in planned.values() if row.scale == 0)
    coarse = [row for row in planned.values() if row.scale == 1]
    assert [row.bytes_in for row in coarse] == [5000 * len(row.inputs) for row in coarse]
    assert {row.tier for row in coarse} == {"512mi"}
    assert {row.tier for row in planned.values() if row.scale == 2} == {None}


def test_overwrite_makes_everything_and_empties_what_has_no_source() -> None:
    """A stale shard is made again from nothing, which removes its file."""
    scale = volume().scales[0]
    there = {shard: output(scale, shard) for shard in sharding.all_shards(scale)}
    only = ScaleListing(0, files(scale).files[:1])
    found = PlanInputs({0: only}, NOTHING | {0: there})
    planned = rows(request(overwrite=True), found)
    own = [row for row in planned.values() if row.scale == 0]
    assert {row.state for row in own} == {"make"}
    assert sorted(len(row.sources) for row in own) == [0] * (len(own) - 1) + [1]


def test_an_existing_scale_is_made_from_as_it_is() -> None:
    """Scale 2 alone: what exists of scale 1 is present, and no export is looked at."""
    scale = volume().scales[1]
    found = PlanInputs({}, {1: {0: output(scale, 0)}, 2: {}})
    planned = rows(request(source=None, scales=(), downres=(2,)), found)
    assert [(row.key, row.state, row.inputs) for row in planned.values()] == [
        ("s1/0", "present", ()),
        ("s2/0", "make", ("s1/0",)),
    ]


def test_what_fits_no_tier_has_none_and_says_why() -> None:
    """Both numbers are in the reason; the others have their tiers."""
    scale = volume().scales[0]
    first = files(scale).files[0]
    huge = replace(first, arrow=first.arrow._replace(size=1 << 40))
    found = replace(whole(), listings={0: ScaleListing(0, (huge, *files(scale).files[1:]))})
    planned = make_plan(request(downres=()), found, parse_tiers("0.15"))
    assert [forecast.row.key for forecast in planned.beyond] == ["s0/0"]
    why = planned.beyond[0].why_not or ""
    assert re.search(r"needs about \d\.\d+ GiB; the largest tier, 153mi, .* 0\.13 GiB", why)
    assert planned.plan.row("s0/0").tier is None
    assert {row.tier for row in planned.plan.rows() if row.key != "s0/0"} == {"153mi"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scales": (3,)}, "no scale 3"),
        ({"scales": (), "downres": ()}, "nothing to make"),
        ({"scales": (0, 1), "downres": (1,)}, "both|--scales and in --downres"),
        ({"scales": (1,), "downres": (0,)}, "scale 0 cannot be downsampled"),
        ({"scales": (1,), "downres": (), "z_compress": 1}, "applies to scale 0"),
    ],
)
def test_impossible_requests_are_refused(fields: dict[str, object], message: str) -> None:
    """Before anything is looked at."""
    with pytest.raises(UsageError, match=message):
        request(**fields).check()


def test_a_step_that_does_not_divide_a_block_is_refused() -> None:
    """z-compress 2 would keep every third slice of 64."""
    with pytest.raises(SpecError, match="does not divide 64"):
        request(z_compress=2).check()


def test_raw_chunks_are_priced_as_raw() -> None:
    """Storage follows the data encoding, at every scale; the shards are the same."""
    asked = request()
    plain = sample_spec(SIZE, 3)
    for scale in plain["scales"]:
        del scale["sharding"]["data_encoding"]
    raw = replace(asked, volume=VolumeSpec.parse(plain))
    sizes = []
    for one in (asked, raw):
        listed = PlanInputs({0: files(one.volume.scales[0], size=10_000)}, NOTHING)
        planned = make_plan(one, listed, TIERS)
        sizes.append([forecast.bytes_out for forecast in planned.forecasts])
    ratios = [b / a for a, b in zip(*sizes, strict=True)]
    assert min(ratios) == pytest.approx(RAW_OVER_GZIP, rel=0.01)
    assert max(ratios) == pytest.approx(RAW_OVER_GZIP, rel=0.01)


def test_unserved_scales_are_refused_where_they_are_used() -> None:
    """As a scale to make, or as the one it is made from; the others are served."""
    plain = sample_spec(SIZE, 3)
    del plain["scales"][2]["sharding"]
    asked = replace(request(), volume=VolumeSpec.parse(plain))
    replace(asked, downres=(1,)).check()
    with pytest.raises(SpecError, match=r"scale 2 .*sharding is missing"):
        asked.check()
    swapped = sample_spec(SIZE, 3)
    del swapped["scales"][1]["sharding"]
    fed = replace(asked, volume=VolumeSpec.parse(swapped), scales=(), downres=(2,))
    with pytest.raises(SpecError, match=r"scale 1 .*sharding is missing"):
        fed.check()


def test_the_fingerprint_is_of_the_bytes() -> None:
    """It changes with all that bytes depend on, and with nothing else."""
    base = request().fingerprint
    same = [{"dest": "/other"}, {"overwrite": True}, {"downres": ()}]
    others: list[dict[str, object]] = [
        {"source": "/elsewhere"},
        {"label_type": "supervoxels"},
        {"z_compress": 1},
        {"rule": "nonzero-mode"},
        {"gzip_level": 7},
        {"volume": VolumeSpec.parse(sample_spec((700, 500, 299), 3))},
    ]
    assert {replace(request(), **fields).fingerprint for fields in same} == {base}  # type: ignore[arg-type]
    changed = {replace(request(), **fields).fingerprint for fields in others}  # type: ignore[arg-type]
    assert len(changed) == len(others)
    assert base not in changed


def test_foreign_keys_do_not_change_the_fingerprint() -> None:
    """A mesh of the volume changes no voxel."""
    document = sample_spec(SIZE, 3)
    document["mesh"] = "mesh"
    document["scales"][0]["hidden"] = True
    other = replace(request(), volume=VolumeSpec.parse(document))
    assert other.fingerprint == request().fingerprint


def test_the_real_volume_is_planned_in_seconds(shared: Path) -> None:
    """4,000 files of scale 0 and nine scales above; a dependent has eight inputs at most."""
    spec = VolumeSpec.parse((shared / "specs/mcns-export-specs.json").read_bytes())
    scale = spec.scales[0]
    some = ScaleListing(0, files(scale, edge=2048).files[:4000])
    asked = Request(spec, "/source", "/dest", (0,), tuple(range(1, len(spec.scales))))
    empty: dict[int, dict[int, ObjectInfo]] = {index: {} for index in asked.concerned}
    planned = make_plan(asked, PlanInputs({0: some}, empty), parse_tiers("2,4"))
    made = list(planned.plan.rows())
    assert sum(row.scale == 0 for row in made) == 4000
    assert all(row.sources == (f"s0/{_named(scale, row)}.arrow",) for row in made if not row.scale)
    assert max(len(row.inputs) for row in made) == 8


def _named(scale: ScaleSpec, row: PlanRow) -> str:
    begin, _ = sharding.shard_box(scale, row.shard)
    return "_".join(str(b * 64) for b in begin)
