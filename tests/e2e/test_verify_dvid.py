"""`producer verify --dvid` compares voxels with a server that answers as DVID is documented.

No real server was used: see docs/howto-verify.md.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from braid.precomputed import morton, sharding
from braid.precomputed.volume_spec import VolumeSpec
from braid.typing import UInt64Array, Vec3
from delivery.ledger.run import find_run
from producer import dvid_client
from producer.dvid_client import DvidInstance
from producer.expected_volume import expected_of_runs
from producer.point_check import Place, PointCheck
from producer.synthetic_export import SyntheticVolume, sample_spec, write_export
from producer.verify import Verifier
from tests.support.commands import CommandResult
from tests.support.dvid_server import DvidServer, halved
from tests.support.run_harness import small_spec
from tests.support.workspace import Workspace, converted_workspace, error_line

BLOCK = 64


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between attempts; go to no proxy."""
    monkeypatch.setattr(dvid_client, "_FIRST_WAIT_S", 0.0)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run of labels: 12 shards from the export, 2 downsampled."""
    return converted_workspace(tmp_path_factory.mktemp("dvid") / "workspace")


@pytest.fixture
def server(workspace: Workspace) -> Iterator[DvidServer]:
    """A server of the same segmentation."""
    with DvidServer.of(workspace.sample) as running:
        yield running


def compare(
    workspace: Workspace, server: DvidServer, *more: str, dest: str = "out"
) -> CommandResult:
    """Run `verify --dvid ...`, with JSON."""
    return workspace.run("verify", "--dest", dest, *server.options, *more, "--json")


def findings(ended: CommandResult) -> list[tuple[str, str]]:
    """Keys and texts; the exit code must agree."""
    found = [(one["key"], one["what"]) for one in ended.document["findings"]]
    assert ended.returncode == (1 if found else 0), ended
    return found


def test_the_same_segmentation(workspace: Workspace, server: DvidServer) -> None:
    """No findings; every shard and both its sides were asked about, at scale 0 only."""
    ended = compare(workspace, server, "--values", "300")
    assert findings(ended) == []
    assert ended.document["checked"] == {"shards": 14, "files_read": 0, "values": 0, "points": 300}
    assert len(server.points) == 300
    blocks = {tuple(c // BLOCK for c in point) for point in server.points}
    assert blocks == {(x, y, z) for x in range(3) for y in range(2) for z in range(2)}
    assert all("scale=0" in line for line in server.requests if "/labels" in line)
    said = workspace.of_run("verify", *server.options, "--values", "20")
    assert "20 voxels as DVID has them: no findings" in said.stdout


def test_points_without_a_number(workspace: Workspace, server: DvidServer) -> None:
    """Without --values a thousand are compared."""
    assert compare(workspace, server).document["checked"]["points"] == 1000


def test_wrong_voxels_are_named(workspace: Workspace, server: DvidServer) -> None:
    """A finding has the shard, the voxel and both values."""
    truth = server.labels[0].copy()
    server.labels[0][:BLOCK, :BLOCK, :BLOCK] += np.uint64(7)
    found = findings(compare(workspace, server, "--values", "300"))
    assert {key for key, _ in found} == {"s0/0"}
    at = {point for point in server.points if max(point) < BLOCK}
    expected = {
        f"voxel {(x, y, z)}: the volume has {truth[z, y, x]}, DVID has {truth[z, y, x] + 7}"
        for x, y, z in at
    }
    assert {what for _, what in found} == expected


def test_a_file_that_the_export_lacks(workspace: Workspace, server: DvidServer) -> None:
    """Nothing in export or ledger tells of it; DVID does, from the points beside other shards."""
    shutil.copytree(workspace.export, workspace.folder / "holed")
    for ending in ("arrow", "csv"):
        (workspace.folder / "holed" / "s0" / f"64_64_0.{ending}").unlink()
    made = workspace.run(
        *("enqueue", "--source", "holed", "--dest", "less", "--spec", "spec.json"),
        *("--scales", "0", "--tiers", workspace.tiers, "--queue", "sqlite:less.db", "--wait"),
    )
    assert made.returncode == 0, made.stderr
    found = findings(compare(workspace, server, "--values", "200", dest="less"))
    assert len(found) > 5
    spec = workspace.spec.scales[0]
    shard = sharding.shards_meeting(spec, (64, 64, 0), (65, 65, 1))[0]
    assert {key for key, _ in found} == {f"s0/{sharding.shard_hex(shard, spec.sharding)}"}
    assert all("the volume has 0, DVID has " in what for _, what in found)


def test_supervoxels(workspace: Workspace, server: DvidServer) -> None:
    """A run of supervoxels is compared with supervoxels."""
    common = workspace.enqueue_command("--scales", "0", "--supervoxels", dest="pieces")
    made = workspace.run(*common, "--queue", "sqlite:pieces.db", "--wait")
    assert made.returncode == 0, made.stderr
    assert findings(compare(workspace, server, "--values", "100", dest="pieces")) == []
    assert all("supervoxels=true" in line for line in server.requests if "/labels" in line)


def test_decimated_slices(workspace: Workspace, server: DvidServer) -> None:
    """With --z-compress the voxels of DVID's own slices are asked for, and named in findings."""
    x, y, z = workspace.sample.size
    spec = small_spec((x, y, z // 2), 1)
    (workspace.folder / "flat.json").write_text(json.dumps(spec.to_info()))
    made = workspace.run(
        *("enqueue", "--source", "export", "--dest", "flat", "--spec", "flat.json"),
        *("--scales", "0", "--z-compress", "1", "--tiers", workspace.tiers),
        *("--queue", "sqlite:flat.db", "--wait"),
    )
    assert made.returncode == 0, made.stderr
    assert findings(compare(workspace, server, "--values", "100", dest="flat")) == []
    assert all(z % 2 == 0 for _, _, z in server.points)
    assert max(z for _, _, z in server.points) > z // 2
    server.labels[0] += np.uint64(1)
    found = findings(compare(workspace, server, "--values", "10", dest="flat"))
    assert all(" in DVID): the volume has " in what for _, what in found)


def test_downsampled_scales(workspace: Workspace, server: DvidServer) -> None:
    """Left out, since DVID votes by another rule; compared with DVID's own scale where named."""
    server.labels[1] = halved(server.labels[0])
    ended = compare(workspace, server, "--values", "100", "--scales", "1")
    assert "another majority rule" in ended.stderr
    assert all(key.startswith("s1/") for key, _ in findings(ended))
    assert any("scale=1" in line for line in server.requests)


def test_a_damaged_shard(workspace: Workspace, server: DvidServer) -> None:
    """Points that cannot be read are findings, and the others are compared."""
    shard = workspace.shards()[2]
    whole = shard.read_bytes()
    shard.write_bytes(b"\xff" * len(whole))
    os.utime(shard, (1_000_000_000, 1_000_000_000))  # a damaged disk changes no time
    try:
        found = findings(compare(workspace, server, "--values", "200"))
    finally:
        shard.write_bytes(whole)
    assert {key for key, _ in found} == {f"s0/{shard.stem}"}
    assert any("cannot be compared" in what for _, what in found)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--dvid", "http://127.0.0.1:1"), 3, "cannot be reached"),
        (("--uuid", "beef"), 2, "no version with UUID \\x1b[31mbeef"),
        (("--instance", "bodies"), 2, "no data instance 'bodies'"),
        (("--instance", ""), 2, "needs --instance too"),
        (("--dvid", "gs://bucket"), 2, "not the address of a server"),
    ],
)
def test_wrong_options(
    workspace: Workspace, server: DvidServer, options: tuple[str, ...], code: int, said: str
) -> None:
    """One line and its exit code, before anything is compared."""
    ended = workspace.of_run("verify", *server.options, *options)
    assert (ended.returncode, said in error_line(ended)) == (code, True), ended.stderr
    assert server.points == []


def test_options_without_a_server(workspace: Workspace) -> None:
    """A version or an instance alone says nothing."""
    ended = workspace.of_run("verify", "--uuid", "3fa22")
    assert (ended.returncode, "needs --dvid and --instance too" in ended.stderr) == (2, True)


def test_the_server_ends_in_the_middle(workspace: Workspace, server: DvidServer) -> None:
    """Lasting trouble ends the command with exit code 3, not with findings."""
    server.fail("short", 9)
    ended = compare(workspace, server, "--values", "50")
    assert (ended.returncode, ended.document["exit_code"]) == (3, 3)
    assert "labels for 50 points" in ended.document["error"]
    assert "labels for 50 points" in error_line(ended)


@dataclass(frozen=True)
class Chequered:
    """A field of which every second block is empty."""

    sample: SyntheticVolume

    @property
    def size(self) -> Vec3:
        """Voxels x, y, z."""
        return self.sample.size

    def supervoxels(self, begin: Vec3, end: Vec3) -> UInt64Array:
        """ZYX supervoxels of the box."""
        voxels = self.sample.supervoxels(begin, end)
        x, y, z = (np.arange(b, e) // BLOCK for b, e in zip(begin, end, strict=True))
        voxels[(x + y[:, None] + z[:, None, None]) % 2 == 1] = 0
        return voxels

    def labels_of(self, supervoxels: UInt64Array) -> UInt64Array:
        """Labels of supervoxels."""
        return self.sample.labels_of(supervoxels)


@pytest.fixture(scope="module")
def chequered(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run of two shards of 4x4x4 chunks, of which half are left out."""
    folder = tmp_path_factory.mktemp("chequered")
    sample = SyntheticVolume((270, 140, 130))
    spec = VolumeSpec.parse(sample_spec(sample.size))
    write_export(folder / "export", spec.scales[0], Chequered(sample))
    (folder / "spec.json").write_text(json.dumps(spec.to_info()))
    made = Workspace(folder, sample, spec)
    common = made.enqueue_command("--scales", "0", "--queue", "sqlite:queue.db", "--wait")
    assert made.run(*common).returncode == 0
    return made


def test_places(chequered: Workspace) -> None:
    """Points lie where their place says: stored, left out, just outside the box, anywhere."""
    run, scale = find_run(str(chequered.folder / "out.runs"), None), chequered.spec.scales[0]
    with DvidServer.of(chequered.sample) as server:
        instance = DvidInstance(server.url, server.uuid, server.instance)
        expected = expected_of_runs(run.state_url, run.info.dest)
        check = PointCheck(Verifier(expected), instance, seed=3)
        draws = [draw for batch in check.batches(100) for draw in batch]
        assert {draw.place for draw in draws} == set(Place)
        for draw in draws:
            ids = check._stored_ids(scale, draw.row)
            point = check._draw(scale, draw.row, ids, draw.place)
            assert point is not None
            chunk = tuple(c // BLOCK for c in point.voxel)
            begin, end = sharding.shard_box(scale, draw.row.shard)
            away = sum(max(b - c, c + 1 - e, 0) for b, c, e in zip(begin, chunk, end, strict=True))
            if draw.place is not Place.ANYWHERE:
                assert away == (1 if draw.place is Place.BESIDE else 0)
            if draw.place in {Place.STORED, Place.LEFT_OUT}:
                stored = int(morton.encode(np.array([chunk]), scale.grid)[0]) in ids
                assert stored == (draw.place is Place.STORED)
            assert (point.key == draw.row.key) == (away == 0)


def test_chunks_that_are_left_out(chequered: Workspace) -> None:
    """Compared as zeros: right where DVID has none, wrong where DVID has labels."""
    field = Chequered(chequered.sample)
    empty = field.supervoxels((0, 0, 0), field.size)
    with DvidServer({0: field.labels_of(empty)}, {0: empty}) as server:
        assert findings(compare(chequered, server, "--values", "200")) == []
    with DvidServer.of(chequered.sample) as server:
        found = findings(compare(chequered, server, "--values", "200"))
    assert len(found) > 10
    assert all("the volume has 0, DVID has" in what for _, what in found)


def test_without_a_ledger(workspace: Workspace, server: DvidServer) -> None:
    """A volume of which no run is known is compared just so."""
    common = (*server.options, "--source", "export", "--state", "nowhere", "--values", "100")
    assert findings(compare(workspace, server, *common)) == []
    assert len(server.points) == 100


def test_run_that_is_not_done(tmp_path: Path, workspace: Workspace, server: DvidServer) -> None:
    """Shards that are not made are findings of their own; no point is asked for in them."""
    common = workspace.enqueue_command("--scales", "0", dest=str(tmp_path / "later"))
    assert workspace.run(*common, "--queue", "sqlite:later.db").returncode == 0
    found = findings(compare(workspace, server, dest=str(tmp_path / "later")))
    assert {what for _, what in found} == {"not made yet (ready)"}
    assert server.points == []
