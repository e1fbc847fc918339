"""An info is checked field by field, and what is written is complete."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tensorstore as ts
from cloudvolume import CloudVolume
from hypothesis import given
from hypothesis import strategies as st

from braid.exceptions import InvalidCoordinateError, SpecError
from braid.precomputed.existing_info import compare_info
from braid.precomputed.volume_spec import CodePath, VolumeSpec
from tests.support.info_dicts import info_dict, scale_dict, sharding_dict

SPECS = ("mcns-export-specs", "fish2_seg_native_z_spec", "fish2_seg_zdoubled_spec")


@pytest.mark.parametrize("name", SPECS)
def test_real_specs_round_trip(shared: Path, name: str) -> None:
    """A published spec parses, and its info parses to the same volume."""
    spec = VolumeSpec.parse((shared / "specs" / f"{name}.json").read_bytes(), name)
    assert VolumeSpec.parse(json.dumps(spec.to_info()), "info") == spec
    expected = CodePath.VOXELS if "native" in name else CodePath.PALETTE
    assert spec.scales[0].code_path() == expected
    assert {scale.code_path() for scale in spec.scales[1:]} == {CodePath.PALETTE}


@pytest.mark.parametrize("name", SPECS)
def test_tensorstore_opens_every_scale(shared: Path, tmp_path: Path, name: str) -> None:
    """TensorStore accepts the info written for a published spec, with the same shape per scale."""
    spec = VolumeSpec.parse((shared / "specs" / f"{name}.json").read_bytes(), name)
    info = {**spec.to_info(), "mesh": "mesh"}
    (tmp_path / "info").write_text(json.dumps(info))
    for scale in spec.scales:
        opened = ts.open(
            {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
                "scale_index": scale.index,
            },
            open=True,
        ).result()
        assert opened.shape == (*scale.size, 1)
        assert (opened.chunk_layout.read_chunk.shape or ())[:3] == scale.chunk_size


def test_cloudvolume_opens_a_spec_without_block_size(tmp_path: Path) -> None:
    """A missing block size is written as [8, 8, 8], which cloud-volume then uses."""
    scale = scale_dict()
    del scale["compressed_segmentation_block_size"]
    spec = VolumeSpec.parse(info_dict(scale))
    (tmp_path / "info").write_text(json.dumps(spec.to_info()))
    volume = CloudVolume(f"file://{tmp_path}", mip=0)
    assert volume.info["scales"][0]["compressed_segmentation_block_size"] == [8, 8, 8]
    assert tuple(volume.shape) == (300, 200, 100, 1)


def test_call_keys_are_stripped_and_foreign_keys_kept() -> None:
    """DVID's own call keys vanish, keys of others pass through at both levels."""
    given_info = info_dict(
        scale_dict(hidden=True),
        mesh="mesh",
        directory="/x",
        num_scales=1,
        batch_size=4,
    )
    written = VolumeSpec.parse(given_info).to_info()
    assert written["mesh"] == "mesh"
    assert written["scales"][0]["hidden"] is True
    assert not {"directory", "num_scales", "batch_size"} & set(written)


def test_defaults_are_written() -> None:
    """Keys that readers need are written even where the spec left them out."""
    scale = scale_dict()
    del scale["voxel_offset"], scale["compressed_segmentation_block_size"]
    for name in ("data_encoding", "minishard_index_encoding"):
        del scale["sharding"][name]
    written = VolumeSpec.parse({"data_type": "uint64", "scales": [scale]}).to_info()
    assert written["@type"] == "neuroglancer_multiscale_volume"
    assert (written["type"], written["num_channels"]) == ("segmentation", 1)
    assert written["scales"][0]["voxel_offset"] == [0, 0, 0]
    assert written["scales"][0]["sharding"]["data_encoding"] == "raw"
    assert written["scales"][0]["sharding"]["minishard_index_encoding"] == "raw"


REFUSED = [
    ({"sharding": sharding_dict(shard_bits=1)}, r"ids need 6 bits .* shard_bits 2 would do"),
    ({"sharding": sharding_dict(shard_bits=61)}, "add up to 65"),
    ({"sharding": sharding_dict(minishard_bits=25)}, "sharding.minishard_bits"),
    ({"sharding": sharding_dict(preshift_bits=-1)}, "sharding.preshift_bits"),
    ({"sharding": sharding_dict(preshift_bits=True)}, "sharding.preshift_bits"),
    ({"sharding": sharding_dict(extra=1)}, "sharding.extra is not a field"),
    ({"sharding": sharding_dict(data_encoding="zstd")}, "sharding.data_encoding"),
    ({"chunk_sizes": []}, "chunk_sizes"),
    ({"size": [0, 1, 1]}, "size.0"),
    ({"size": [1.5, 1, 1]}, "size.0"),
    ({"size": [True, 1, 1]}, "size.0"),
    ({"size": [float("inf"), 1, 1]}, "size.0"),
    ({"size": [1, 1]}, "size"),
    ({"resolution": [8, 8, -1]}, "resolution.2"),
    ({"resolution": ["8", 8, 8]}, "resolution.0"),
    ({"key": "../up"}, "key '../up'"),
    ({"key": "/abs"}, "key '/abs'"),
    ({"key": ""}, "key ''"),
    ({"key": "info"}, "key 'info'"),
    ({"key": 8}, "key: "),
    ({"compressed_segmentation_block_size": [8, 8]}, "compressed_segmentation_block_size"),
    (
        {"chunk_sizes": [[1, 1, 1]], "size": [2**33, 1, 1]},
        "chunk coordinates are int32",
    ),
]


@pytest.mark.parametrize(("change", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refusals_name_scale_and_field(change: dict[str, Any], text: str) -> None:
    """A field that cannot be used is refused in one line naming file, scale and field."""
    with pytest.raises(SpecError, match=text) as caught:
        VolumeSpec.parse(info_dict(scale_dict(key="16x16x16"), scale_dict(**change)), "my.json")
    assert str(caught.value).startswith("my.json: scale 1")
    assert "\n" not in str(caught.value)


UNSERVED = [
    ({"sharding": sharding_dict(hash="murmurhash3_x86_128")}, "sharding.hash 'murmurhash3_x86_128"),
    ({"sharding": None}, "sharding is missing"),
    ({"encoding": "jpeg"}, "encoding 'jpeg' .* raw goes through TensorStore"),
    ({"voxel_offset": [64, 0, 0]}, r"voxel_offset \[64, 0, 0\]"),
    ({"chunk_sizes": [[64, 64, 64], [32, 32, 32]]}, "chunk_sizes has 2 entries"),
    ({"chunk_sizes": [[1024, 1024, 1024]]}, "chunk_sizes .* voxels"),
]


@pytest.mark.parametrize(("change", "text"), UNSERVED, ids=[text for _, text in UNSERVED])
def test_unserved_scales_are_kept_and_refused_when_asked_for(
    change: dict[str, Any], text: str
) -> None:
    """A scale that readers accept and we cannot make stays in the info; its use is refused."""
    odd = scale_dict(**change)
    given_info = info_dict(scale_dict(key="16x16x16"), odd)
    spec = VolumeSpec.parse(given_info, "my.json")
    spec.scales[0].check_served()
    for use in (spec.scales[1].check_served, spec.scales[1].code_path):
        with pytest.raises(SpecError, match=text) as caught:
            use()
        assert str(caught.value).startswith("my.json: scale 1 (8x8x8)")
    assert spec.to_info()["scales"][1] == odd
    assert VolumeSpec.parse(spec.to_info(), "info") == spec
    assert compare_info(given_info, spec) == []
    other = info_dict(scale_dict(key="16x16x16"), {**odd, "size": [300, 200, 99]})
    assert [line.split(":")[0] for line in compare_info(other, spec)] == ["scale 1"]


def test_a_spec_of_unserved_scales_alone_is_refused() -> None:
    """Nothing could be made of it."""
    with pytest.raises(SpecError, match=r"scale 0 \(8x8x8\): sharding is missing"):
        VolumeSpec.parse(info_dict(scale_dict(sharding=None)))


def test_whole_floats_are_integers() -> None:
    """JSON has one type of number: 260.0 is 260, in every field that counts."""
    floats = json.loads(
        json.dumps(info_dict()),
        parse_int=float,
    )
    spec = VolumeSpec.parse(floats)
    assert spec == VolumeSpec.parse(info_dict())
    assert json.dumps(spec.to_info()["scales"][0]["size"]) == "[300, 200, 100]"


def test_defaulted_data_encoding_is_known() -> None:
    """A spec that leaves the data encoding out differs from one that says raw."""
    sharding = sharding_dict()
    del sharding["data_encoding"]
    silent = VolumeSpec.parse(info_dict(scale_dict(sharding=sharding)))
    raw = VolumeSpec.parse(info_dict(scale_dict(sharding=sharding_dict(data_encoding="raw"))))
    assert silent == raw
    assert "data_encoding" in silent.scales[0].defaulted
    assert "data_encoding" not in raw.scales[0].defaulted


@pytest.mark.parametrize("document", ["{", "[]", '{"a": 1,}', json.dumps(info_dict(scales=[1]))])
def test_mistakes_in_json_have_a_hint(document: str) -> None:
    """People who mistype a spec learn what to do next."""
    with pytest.raises(SpecError) as caught:
        VolumeSpec.parse(document)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"scales": [], "scales": []}', "'scales' appears twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (json.dumps(info_dict(data_type="uint8")), "data_type"),
        (json.dumps(info_dict(type="image")), "type"),
        (json.dumps(info_dict(num_channels=2)), "num_channels"),
        (json.dumps(info_dict(scales={})), "scales"),
        (json.dumps(info_dict(scales=[])), "scales"),
        (json.dumps(info_dict(scales=[1])), "scale 0: entry"),
        ("{}", "is missing"),
        (json.dumps(info_dict(scale_dict(), scale_dict())), "key '8x8x8' is already scale 0's"),
    ],
)
def test_documents_that_are_no_info(document: str | bytes, text: str) -> None:
    """What is not an info at all is refused in one line too."""
    with pytest.raises(SpecError, match=text) as caught:
        VolumeSpec.parse(document, "my.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data_type", "change", "code_path", "decimated"),
    [
        ("uint64", {}, "palette", "voxel"),
        ("uint64", {"chunk_sizes": [[64, 64, 32]]}, "voxel", "voxel"),
        ("uint64", {"compressed_segmentation_block_size": [16, 8, 8]}, "voxel", "voxel"),
        ("uint64", {"encoding": "raw"}, "tensorstore", "tensorstore"),
        ("uint32", {}, "tensorstore", "tensorstore"),
    ],
)
def test_code_paths(data_type: str, change: dict[str, Any], code_path: str, decimated: str) -> None:
    """Encoding, chunk, block and decimation decide; the values are those of stored receipts."""
    wide = sharding_dict(shard_bits=8)
    spec = VolumeSpec.parse(info_dict(scale_dict(**change, sharding=wide), data_type=data_type))
    assert (spec.scales[0].code_path(), spec.scales[0].code_path(2)) == (code_path, decimated)
    assert ("compressed_segmentation_block_size" in spec.to_info()["scales"][0]) == (
        "encoding" not in change
    )


def test_chunk_box_is_clipped() -> None:
    """A chunk at the upper edge ends where the volume does; one beyond it is not a chunk."""
    scale = VolumeSpec.parse(info_dict()).scales[0]
    assert scale.grid == (5, 4, 2)
    assert scale.chunk_box((0, 1, 0)) == ((0, 64, 0), (64, 128, 64))
    assert scale.chunk_box((4, 3, 1)) == ((256, 192, 64), (300, 200, 100))
    for chunk in ((5, 0, 0), (0, 0, -1)):
        with pytest.raises(InvalidCoordinateError, match="outside the grid"):
            scale.chunk_box(chunk)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a/.\n\x00", max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def parse_or_refuse(data: bytes | dict[str, Any]) -> VolumeSpec | str:
    """The volume, or the text of the refusal."""
    try:
        return VolumeSpec.parse(data)
    except SpecError as error:
        return str(error)


@given(st.data())
def test_any_change_parses_or_is_refused(data: st.DataObject) -> None:
    """Whatever replaces any one value, the result is a volume that round-trips or a SpecError."""
    info = copy.deepcopy(info_dict())
    places = [(info, k) for k in info] + [(info["scales"][0], k) for k in info["scales"][0]]
    places += [(info["scales"][0]["sharding"], k) for k in info["scales"][0]["sharding"]]
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(JSON)
    found = parse_or_refuse(info)
    if isinstance(found, str):
        assert "\n" not in found
    else:
        assert VolumeSpec.parse(json.dumps(found.to_info())) == found


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_plainly(data: bytes) -> None:
    """Bytes that are not a JSON object never raise anything but SpecError."""
    found = parse_or_refuse(data)
    assert isinstance(found, str)
    assert "\n" not in found
