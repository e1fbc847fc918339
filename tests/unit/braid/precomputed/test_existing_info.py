"""An existing info is compared with a spec, and merged with it."""

import json

from braid.precomputed.existing_info import compare_info, merge_info
from braid.precomputed.volume_spec import VolumeSpec
from tests.support.info_dicts import info_dict, scale_dict, sharding_dict


def test_compare_finds_what_voxels_depend_on() -> None:
    """Resolution written as 8 or 8.0, foreign keys and order make no difference; fields do."""
    spec = VolumeSpec.parse(info_dict())
    same = info_dict(scale_dict(resolution=[8.0, 8.0, 8.0], hidden=True), mesh="m")
    assert compare_info(json.dumps(same), spec) == []
    other = info_dict(scale_dict(size=[300, 200, 99], sharding=sharding_dict(preshift_bits=3)))
    found = compare_info(other, spec)
    assert [line.split(":")[0] for line in found] == ["scale 0 size", "scale 0 sharding"]
    more = info_dict(scale_dict(), scale_dict(key="b"))
    assert compare_info(more, spec) == ["number of scales: info has 2, the spec 1"]
    assert "not valid JSON" in compare_info("{", spec)[0]


def test_merge_keeps_what_others_added() -> None:
    """Foreign keys of an existing info stay, at both levels; all others come from the spec."""
    spec = VolumeSpec.parse(info_dict(skeletons="skel"))
    existing = info_dict(scale_dict(hidden=True, size=[1, 1, 1]), mesh="mesh", data_type="uint32")
    merged = merge_info(existing, spec)
    assert merged["mesh"] == "mesh"
    assert merged["skeletons"] == "skel"
    assert merged["data_type"] == "uint64"
    assert merged["scales"][0]["hidden"] is True
    assert merged["scales"][0]["size"] == [300, 200, 100]
    assert merge_info({"scales": "broken"}, spec) == spec.to_info()
