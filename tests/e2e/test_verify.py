"""`producer verify` finds what it promises to find, in a real volume that is damaged for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

from tests.support.small_commands import Desk, Ended, finished_desk, make_desk

ALL = ("--deep", "--values", "150")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A finished run."""
    return finished_desk(tmp_path_factory.mktemp("verify") / "desk")


@pytest.fixture
def desk(made: Desk) -> Iterator[Desk]:
    """The finished run; the volume is put back afterwards, whatever a test does to it."""
    files = [path for path in made.volume.rglob("*") if path.is_file()]
    kept = {path: path.read_bytes() for path in files}
    yield made
    for path in made.volume.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


def findings(ended: Ended) -> dict[str, str]:
    """What was found, by key; the exit code must agree."""
    found = {one["key"]: one["what"] for one in ended.document["findings"]}
    assert ended.code == (1 if found else 0), ended
    return found


def key_of(shard: Path, scale: int = 0) -> str:
    """The key of a shard file."""
    return f"s{scale}/{shard.stem}"


def test_a_sound_volume(desk: Desk) -> None:
    """No findings; it says how much was looked at."""
    ended = desk.of_run("verify", *ALL, "--json")
    assert findings(ended) == {}
    checked = ended.document["checked"]
    assert checked == {"shards": 14, "files_read": 14, "values": 150}
    said = desk.of_run("verify")
    assert (said.code, "no findings" in said.out) == (0, True)


def test_a_missing_file(desk: Desk) -> None:
    """The listing alone tells, and says what makes it again."""
    lost = desk.shards()[3]
    lost.unlink()
    found = findings(desk.of_run("verify", "--json"))
    assert list(found) == [key_of(lost)]
    assert "replay --redo" in found[key_of(lost)]


def test_a_file_too_short(desk: Desk) -> None:
    """A size that is not the receipt's is seen without reading."""
    short = desk.shards(1)[0]
    short.write_bytes(short.read_bytes()[:-9])
    found = findings(desk.of_run("verify", "--json"))
    assert "bytes, its receipt says" in found[key_of(short, 1)]


@pytest.mark.parametrize("place", ["first", "payload", "index", "last"])
def test_a_flipped_byte(desk: Desk, place: str) -> None:
    """--deep finds one wrong byte anywhere; a listing of local files cannot."""
    shard = desk.shards()[5]
    data = bytearray(shard.read_bytes())
    at = {"first": 0, "payload": 100, "index": len(data) - 12, "last": len(data) - 1}[place]
    data[at] ^= 1
    shard.write_bytes(data)
    assert findings(desk.of_run("verify", "--json")) == {}
    assert list(findings(desk.of_run("verify", "--deep", "--json"))) == [key_of(shard)]


@pytest.mark.parametrize("scale", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_wrong_voxels(desk: Desk, scale: int) -> None:
    """A well-formed file with one wrong voxel in each chunk is caught by --values."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{desk.volume}/"},
        "scale_index": scale,
    }
    volume = ts.open(spec, open=True).result()
    voxels = np.asarray(volume[..., 0].read().result()).copy()
    voxels[5::64, 6::64, 7::64] += 1
    with ts.Transaction() as transaction:
        volume.with_transaction(transaction)[..., 0].write(voxels).result()
    found = findings(desk.of_run("verify", "--values", "150", "--scales", str(scale), "--json"))
    differing = {key for key, what in found.items() if "voxels differ" in what}
    assert differing == {key_of(shard, scale) for shard in desk.shards(scale)}


def test_a_foreign_file(desk: Desk) -> None:
    """A file that nobody planned is named by its path."""
    (desk.volume / "8x8x8" / "notes.txt").write_text("hello")
    assert list(findings(desk.of_run("verify", "--json"))) == ["8x8x8/notes.txt"]


def test_the_export_is_gone(desk: Desk) -> None:
    """Values that cannot be compared are findings, no crash."""
    desk.export.rename(desk.folder / "elsewhere")
    try:
        found = findings(desk.of_run("verify", "--values", "4", "--scales", "0", "--json"))
    finally:
        (desk.folder / "elsewhere").rename(desk.export)
    assert found
    assert all("cannot be compared" in what for what in found.values())


def test_report_file(desk: Desk) -> None:
    """--json-report holds all findings; people see them as text."""
    lost = desk.shards()[0]
    lost.unlink()
    report = desk.folder / "findings.json"
    ended = desk.of_run("verify", "--json-report", str(report))
    assert ended.code == 1
    document = json.loads(report.read_text())
    assert [one["key"] for one in document["findings"]] == [key_of(lost)]
    assert document["scales"] == [0, 1]
    assert document["findings"][0]["what"] in ended.out


def test_a_scale_that_was_not_planned(desk: Desk) -> None:
    """Wrong use: exit code 2."""
    ended = desk.of_run("verify", "--scales", "7")
    assert (ended.code, "scale 7" in ended.err) == (2, True)


def test_before_the_work_is_done(tmp_path: Path) -> None:
    """Shards that are not made yet are findings, each once."""
    desk = make_desk(tmp_path / "desk")
    assert desk.enqueue().code == 0
    found = findings(desk.of_run("verify", "--json"))
    assert len(found) == 14
    assert all("not made yet" in what for what in found.values())


def test_html_report_of_the_run(desk: Desk) -> None:
    """One page that loads nothing from elsewhere and names what the run did."""
    page = desk.folder / "out" / "report.html"
    assert desk.of_run("report", "--out", str(page)).code == 0
    text = page.read_text()
    assert "<svg" in text
    assert "complete" in text
    assert "14" in text
    assert str(desk.volume) in text
    assert not any(mark in text for mark in ('src="', "href=", "@import", "url("))


def test_html_report_of_a_run_without_receipts(tmp_path: Path) -> None:
    """Before any work there is a page too; text from outside is escaped."""
    desk = make_desk(tmp_path / "<b>desk")
    assert desk.enqueue().code == 0
    assert desk.of_run("report", "--out", "report.html").code == 0
    text = (desk.folder / "report.html").read_text()
    assert "not ended yet" in text
    assert "<b>desk" not in text
    assert "&lt;b&gt;desk" in text
