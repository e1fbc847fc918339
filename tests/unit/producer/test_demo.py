"""The demo's export: written once, and mended file by file."""

import json
import shutil
from pathlib import Path

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from producer.demo_folder import Folders, make_export
from producer.synthetic_export import SyntheticVolume, sample_spec

SAMPLE = SyntheticVolume((270, 140, 130))
SCALE = VolumeSpec.parse(sample_spec(SAMPLE.size)).scales[0]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A demo's folders with an export of two files and their indices."""
    found = Folders(tmp_path_factory.mktemp("demo"))
    assert make_export(found, SCALE, SAMPLE).startswith("2 files")
    return found


@pytest.fixture
def folders(written: Folders, tmp_path: Path) -> Folders:
    """A copy of them."""
    shutil.copytree(written.export, tmp_path / "export")
    return Folders(tmp_path)


def files(folders: Folders) -> dict[str, tuple[bytes, int]]:
    """Content and time of each file, by name."""
    paths = sorted((folders.export / "s0").iterdir())
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_a_whole_export_stays(folders: Folders) -> None:
    """Nothing is written again."""
    before = files(folders)
    assert len(before) == 4
    make_export(folders, SCALE, SAMPLE)
    assert files(folders) == before


@pytest.mark.parametrize(
    ("name", "damage"),
    [("256_0_0.arrow", "cut"), ("0_0_0.csv", "flip"), ("0_0_0.arrow", "unlink")],
)
def test_a_damaged_file_is_made_anew(
    folders: Folders, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gets its bytes back, is named, and no other file is touched."""
    before, file = files(folders), folders.export / "s0" / name
    data = before[name][0]
    if damage == "unlink":
        file.unlink()
    else:
        file.write_bytes(data[:-9] if damage == "cut" else bytes([data[0] ^ 1]) + data[1:])
    make_export(folders, SCALE, SAMPLE)
    after = files(folders)
    assert f"missing or damaged, made anew: s0/{name}" in capsys.readouterr().err
    assert after.pop(name)[0] == before.pop(name)[0]
    assert after == before
    assert [path.name for path in folders.root.iterdir()] == ["export"]


@pytest.mark.parametrize("marker", [None, "[]"])
def test_an_export_that_was_not_finished(folders: Folders, marker: str | None) -> None:
    """Without a list of its files all are made again."""
    before, made = files(folders), folders.export / "made"
    assert len(json.loads(made.read_text())) == 4
    made.unlink() if marker is None else made.write_text(marker)
    (folders.export / "s0" / "0_0_0.arrow").write_bytes(b"half")
    make_export(folders, SCALE, SAMPLE)
    assert {name: data for name, (data, _) in files(folders).items()} == {
        name: data for name, (data, _) in before.items()
    }
    assert len(json.loads(made.read_text())) == 4
