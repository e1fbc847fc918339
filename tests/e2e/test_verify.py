"""`producer verify` finds each kind of damage in a real volume."""

import gzip
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

from producer.expected_volume import expected_of_runs
from producer.verify import ValueCheck, Verifier
from tests.support.commands import CommandResult
from tests.support.workspace import Workspace, converted_workspace, make_small_workspace

ALL = ("--deep", "--values", "150")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run."""
    return converted_workspace(tmp_path_factory.mktemp("verify") / "workspace")


@pytest.fixture
def workspace(made: Workspace) -> Iterator[Workspace]:
    """The finished run; the volume is put back afterwards, whatever a test does to it."""
    files = [path for path in made.volume.rglob("*") if path.is_file()]
    kept = {path: path.read_bytes() for path in files}
    yield made
    for path in made.volume.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


def findings(ended: CommandResult) -> dict[str, str]:
    """What was found, by key; the exit code must agree."""
    found = {one["key"]: one["what"] for one in ended.document["findings"]}
    assert ended.returncode == (1 if found else 0), ended
    return found


def key_of(shard: Path, scale: int = 0) -> str:
    """The key of a shard file."""
    return f"s{scale}/{shard.stem}"


def test_a_sound_volume(workspace: Workspace) -> None:
    """No findings; it says how much was looked at."""
    ended = workspace.of_run("verify", *ALL, "--json")
    assert findings(ended) == {}
    checked = ended.document["checked"]
    assert checked == {"shards": 14, "files_read": 14, "values": 150, "points": None}
    said = workspace.of_run("verify")
    assert (said.returncode, "no findings" in said.stdout) == (0, True)


def test_values_are_counted_where_they_were_compared(workspace: Workspace) -> None:
    """A source file in whose reach a shard is may hold no block of it: another one is taken."""
    dest = str(workspace.volume)
    expected = expected_of_runs(f"{dest}.runs", dest)
    check = ValueCheck(Verifier(expected))
    own, *_, other = (row for row in expected.plan.plan.rows(0) if row.sources)
    assert not {*own.sources} & {*other.sources}
    both = replace(own, sources=(*other.sources, *own.sources))
    for number in range(1, 9):
        assert list(check.check(both)) == []
        assert check.compared == number
    assert list(check.check(replace(own, sources=other.sources))) == []
    assert check.compared == 8


def test_a_missing_file(workspace: Workspace) -> None:
    """Found by the listing alone; the finding names the command that makes it again."""
    lost = workspace.shards()[3]
    lost.unlink()
    found = findings(workspace.of_run("verify", "--json"))
    assert found == {
        key_of(lost): "its file is gone",
        "s1/0": f"made again because its input {key_of(lost)} is",
    }
    assert "the same `enqueue` makes them again" in workspace.of_run("verify").stdout


def test_a_file_too_short(workspace: Workspace) -> None:
    """A size that is not the receipt's is seen without reading."""
    short = workspace.shards(1)[0]
    short.write_bytes(short.read_bytes()[:-9])
    found = findings(workspace.of_run("verify", "--json"))
    assert "bytes, its receipt says" in found[key_of(short, 1)]


@pytest.mark.parametrize("place", ["first", "payload", "index", "last"])
def test_a_flipped_byte(workspace: Workspace, place: str) -> None:
    """--deep finds one wrong byte anywhere; a listing cannot, where the file's time is old."""
    shard = workspace.shards()[5]
    data = bytearray(shard.read_bytes())
    at = {"first": 0, "payload": 100, "index": len(data) - 12, "last": len(data) - 1}[place]
    data[at] ^= 1
    shard.write_bytes(data)
    os.utime(shard, (1_000_000_000, 1_000_000_000))  # a damaged disk changes no time
    assert findings(workspace.of_run("verify", "--json")) == {}
    assert list(findings(workspace.of_run("verify", "--deep", "--json"))) == [key_of(shard)]


@pytest.mark.parametrize("scale", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_wrong_voxels(workspace: Workspace, scale: int) -> None:
    """A well-formed file with one wrong voxel in each chunk is caught by --values."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{workspace.volume}/"},
        "scale_index": scale,
    }
    volume = ts.open(spec, open=True).result()
    voxels = np.asarray(volume[..., 0].read().result()).copy()
    voxels[5::64, 6::64, 7::64] += 1
    with ts.Transaction() as transaction:
        volume.with_transaction(transaction)[..., 0].write(voxels).result()
    found = findings(
        workspace.of_run("verify", "--values", "150", "--scales", str(scale), "--json")
    )
    differing = {key for key, what in found.items() if "voxels differ" in what}
    assert differing == {key_of(shard, scale) for shard in workspace.shards(scale)}


def test_a_foreign_file(workspace: Workspace) -> None:
    """A file outside the plan is named by its path."""
    (workspace.volume / "8x8x8" / "notes.txt").write_text("hello")
    assert list(findings(workspace.of_run("verify", "--json"))) == ["8x8x8/notes.txt"]


def test_the_export_is_gone(workspace: Workspace) -> None:
    """Values that cannot be compared are findings, not a crash."""
    workspace.export.rename(workspace.folder / "elsewhere")
    try:
        found = findings(workspace.of_run("verify", "--values", "4", "--scales", "0", "--json"))
    finally:
        (workspace.folder / "elsewhere").rename(workspace.export)
    assert found
    assert all("cannot be compared" in what for what in found.values())


def test_report_file(workspace: Workspace) -> None:
    """--json-report holds all findings; stdout shows them as text."""
    lost = workspace.shards()[0]
    lost.unlink()
    report = workspace.folder / "findings.json"
    ended = workspace.of_run("verify", "--json-report", str(report))
    assert ended.returncode == 1
    document = json.loads(report.read_text())
    assert [one["key"] for one in document["findings"]] == [key_of(lost), "s1/0"]
    assert document["scales"] == [0, 1]
    assert document["findings"][0]["what"] in ended.stdout


def test_a_scale_that_was_not_planned(workspace: Workspace) -> None:
    """Wrong use: exit code 2."""
    ended = workspace.of_run("verify", "--scales", "7")
    assert (ended.returncode, "scale 7" in ended.stderr) == (2, True)


def test_before_the_work_is_done(tmp_path: Path) -> None:
    """Shards that are not made yet are findings, each once."""
    workspace = make_small_workspace(tmp_path / "workspace")
    assert workspace.enqueue().returncode == 0
    found = findings(workspace.of_run("verify", "--json"))
    assert len(found) == 14
    assert all("not made yet" in what for what in found.values())


def test_html_report_of_the_run(workspace: Workspace) -> None:
    """One page that loads nothing from elsewhere and names what the run did."""
    page = workspace.folder / "pages" / "report.html"
    assert workspace.of_run("report", "--out", str(page)).returncode == 0
    text = page.read_text()
    assert "<svg" in text
    assert "complete" in text
    assert "14" in text
    assert str(workspace.volume) in text
    assert not re.search(r'(?:src|href)="(?!data:|#)|@import|url\((?!#)', text)


def test_html_report_of_a_run_without_receipts(tmp_path: Path) -> None:
    """Before any work there is a page too; text from outside is escaped."""
    workspace = make_small_workspace(tmp_path / "<b>workspace")
    assert workspace.enqueue().returncode == 0
    assert workspace.of_run("report", "--out", "report.html").returncode == 0
    text = (workspace.folder / "report.html").read_text()
    assert "not ended yet" in text
    assert "<b>workspace" not in text
    assert "&lt;b&gt;workspace" in text


@pytest.mark.parametrize("kind", ["utf-16", "gzip", "missing", "other"])
def test_an_info_that_viewers_do_not_read(workspace: Workspace, kind: str) -> None:
    """A finding of its own, whatever else is compared; the same enqueue writes it anew."""
    info = workspace.volume / "info"
    document = json.loads(info.read_bytes())
    if kind == "missing":
        info.unlink()
    elif kind == "other":
        document["scales"][0]["chunk_sizes"] = [[32, 32, 32]]
        info.write_text(json.dumps(document))
    else:
        text = json.dumps(document)
        info.write_bytes(gzip.compress(text.encode()) if kind == "gzip" else text.encode("utf-16"))
    found = findings(workspace.of_run("verify", *ALL, "--json"))
    assert "info" in found
    assert not [what for what in found.values() if "\n" in what]


def test_chunk_files_of_an_unsharded_volume(workspace: Workspace) -> None:
    """What an unsharded volume left is one finding for each scale, with the number of files."""
    folder = workspace.shards()[0].parent
    for x in range(50):
        (folder / f"{x * 64}-{x * 64 + 64}_0-64_0-64").write_bytes(b"x")
    found = findings(workspace.of_run("verify", "--json"))
    assert list(found) == [f"{folder.name}/"]
    assert "50 chunk files" in found[f"{folder.name}/"]
