"""Commands `producer validate` and `producer offsets` on sound and damaged exports."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from braid.exceptions import SpecError
from braid.precomputed.volume_spec import VolumeSpec
from producer import validation
from producer.__main__ import app
from producer.export_listing import ScaleListing, list_scale
from producer.export_log import NO_LOG
from producer.export_reader import has_offsets, open_shard
from producer.export_writer import Dialect, ExportFormat
from producer.synthetic_export import SyntheticVolume, sample_spec, write_export
from producer.validation import Boxes
from runtime.errors import UsageError
from runtime.storage import Storage, open_storage
from tests.support.workspace import corrupt_zstd, make_workspace

Triple = tuple[int, int, int]
SIZE = (300, 130, 100)  # 30 blocks in two files


class Stripes:
    """A field that is made in no time: every block holds three supervoxels, one label."""

    size: Triple = SIZE

    def supervoxels(self, begin: Triple, end: Triple) -> npt.NDArray[np.uint64]:
        """ZYX voxels of a box."""
        z, y, x = (e - b for b, e in zip(begin[::-1], end[::-1], strict=True))
        number = 1 + begin[0] + 1000 * (begin[1] + 1000 * begin[2])
        stripes = number + np.arange(x, dtype=np.uint64) // 24
        return np.broadcast_to(stripes, (z, y, x)).copy()

    def labels_of(self, supervoxels: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """All are merged."""
        return np.full_like(supervoxels, 7)


Make = Callable[..., Path]


def made_spec(size: Triple = SIZE) -> dict[str, Any]:
    """Shards of 4x2x2 chunks, so that a file's cell is 4 blocks wide."""
    spec = sample_spec(size)
    spec["scales"][0]["sharding"] |= {"minishard_bits": 1, "shard_bits": 2}
    return spec


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Factory of exports in some dialect, with a spec file."""

    def export(dialect: Dialect = Dialect.CURRENT, **form: Any) -> Path:  # noqa: ANN401 - options
        spec = made_spec()
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        scale = VolumeSpec.parse(spec).scales[0]
        write_export(tmp_path / "export", scale, Stripes(), ExportFormat(dialect, **form))
        return tmp_path / "export"

    return export


def validate(export: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and what was found in scale 0."""
    spec = str(export.parent / "spec.json")
    arguments = ["validate", "--source", str(export), "--spec", spec, "--json", *more]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout)["scales"][0]


def files(export: Path) -> list[Path]:
    """The Arrow files in name order."""
    return sorted((export / "s0").glob("*.arrow"))


@pytest.mark.parametrize("dialect", Dialect)
def test_sound_exports(make: Make, dialect: Dialect) -> None:
    """Every dialect passes, with its rows counted and the sample decoded."""
    code, found = validate(make(dialect, batch_rows=3), "--sample", "2")
    assert (code, found["findings"]) == (0, [])
    assert (found["files"], found["sampled"], found["outside"]) == (2, 4, 0)
    assert found["rows"] > 20


def test_no_index_is_counted(make: Make) -> None:
    """An export without any CSV is readable, and its files are counted."""
    export = make()
    for file in files(export):
        file.with_suffix(".csv").unlink()
    code, found = validate(export)
    assert (code, found["without_index"]) == (0, 2)


@pytest.mark.parametrize("suffix", [".arrow", ".csv"])
def test_half_of_a_pair_is_a_finding(make: Make, suffix: str) -> None:
    """An index without its Arrow file, or an Arrow file without the index that others have."""
    export = make()
    files(export)[0].with_suffix(suffix).unlink()
    code, found = validate(export)
    assert (code, len(found["findings"])) == (1, 1)
    assert files(export)[0].stem in found["findings"][0] or suffix == ".arrow"


def test_leftovers_of_a_copy_are_findings(make: Make) -> None:
    """A copy that still runs leaves names that are almost those of the export."""
    export = make()
    (export / "s0" / ".0_0_256.arrow.aB3dEf").write_bytes(b"part")
    code, found = validate(export)
    assert (code, len(found["findings"])) == (1, 1)
    assert found["findings"][0].startswith("s0/.0_0_256.arrow.aB3dEf: left by a copy")


def test_the_log_counts_rows(make: Make) -> None:
    """DVID's own counts are held against what the indices list, once all files are read."""
    export = make()
    rows = validate(export)[1]["rows"]
    assert validate(export, "--files", "1")[0] == 0
    for count, code in ((rows, 0), (rows + 1, 1)):
        (export / "export.log").write_text(
            "=== DVID Export-Shards Report ===\n\n--- Scale 0 ---\n"
            f"  Chunks: {count}\n  Shard files: 2\n\n--- Totals ---\n"
            f"  Chunks exported: {count}\n  Shard files: 2\n"
        )
        assert validate(export)[0] == code
        assert validate(export, "--files", "1")[0] == 0


def test_a_missing_log_is_noted(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Without DVID's log nothing tells whether the export has ended; that is no finding."""
    export = make()
    spec = str(export.parent / "spec.json")
    for log in (None, "=== DVID Export-Shards Report ===\n\n--- Totals ---\n"):
        if log is not None:
            (export / "export.log").write_text(log)
        result = CliRunner().invoke(app, ["validate", "--source", str(export), "--spec", spec])
        said = result.stderr + capsys.readouterr().err
        assert (NO_LOG in said) == (log is None)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_truncated_arrow(make: Make, share: float) -> None:
    """A file that was cut off is one finding that names it; the other file is still looked at."""
    export = make()
    cut = files(export)[0]
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * share)])
    code, found = validate(export)
    assert code == 1
    assert len(found["findings"]) == 1
    assert cut.name in found["findings"][0]
    assert found["sampled"] == 4


def test_csv_that_disagrees(make: Make) -> None:
    """An index whose coordinates are not those of its rows is found once such a row is read."""
    export = make()
    csv = files(export)[1].with_suffix(".csv")
    lines = csv.read_text().splitlines()
    first, second = (line.split(",") for line in lines[2:4])
    first[:3], second[:3] = second[:3], first[:3]
    csv.write_text("\n".join([*lines[:2], ",".join(first), ",".join(second), *lines[4:], ""]))
    code, found = validate(export, "--sample", "1000")
    assert code == 1
    assert len(found["findings"]) == 1
    assert files(export)[1].name in found["findings"][0]


def add_orphan(csv: Path, position: int) -> None:
    """Give an index a row that its batch lacks, as DVID leaves it when a batch fails."""
    comment, head, *rows = csv.read_text().splitlines()
    x, y, z, offset, size, _ = rows[position].split(",")
    rows[position] = f"{x},{y},{z},{offset},{size},1"
    rows.insert(position, f"0,0,3,{offset},{size},0")
    csv.write_text("\n".join([comment, head, *rows, ""]))


@pytest.mark.parametrize("position", [0, 5, -1])
def test_a_row_that_its_batch_lacks(make: Make, position: int) -> None:
    """Found from the batch's metadata, without decoding anything."""
    export = make()
    add_orphan(files(export)[0].with_suffix(".csv"), position)
    code, found = validate(export, "--sample", "0")
    assert code == 1
    (finding,) = found["findings"]
    assert files(export)[0].name in finding
    assert "the index lists 2 rows of a batch that has 1. Export this shard again" in finding


def test_csv_of_too_few_rows(make: Make) -> None:
    """An old index that ends early is found without decoding anything."""
    export = make(Dialect.OLD)
    csv = files(export)[0].with_suffix(".csv")
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]) + "\n")
    code, found = validate(export, "--sample", "0")
    assert code == 1
    assert files(export)[0].stem in found["findings"][0]


def test_corrupt_zstd(make: Make) -> None:
    """A damaged block is found when it is in the sample, and reported with its chunk."""
    export = make()
    corrupt_zstd(files(export)[0])
    code, found = validate(export, "--sample", "1000")
    assert code == 1
    assert files(export)[0].name in found["findings"][0]


def test_a_chunk_in_two_files(make: Make) -> None:
    """The same chunks in two files contradict each other: both files are named."""
    export = make()
    first = files(export)[0]
    for suffix in (".arrow", ".csv"):
        shutil.copy(first.with_suffix(suffix), first.with_name(f"0_0_256{suffix}"))
    code, found = validate(export)
    assert code == 1
    (finding,) = (line for line in found["findings"] if ": shares " in line)
    assert first.name in finding
    assert "0_0_256.arrow" in finding


def test_a_chunk_in_one_of_many_files(tmp_path: Path) -> None:
    """Of files whose boxes overlap all over, those that share a chunk are found."""
    workspace = make_workspace(tmp_path / "many", scales=1)
    first, last = workspace.arrow(0), workspace.arrow(-1)
    for suffix in (".arrow", ".csv"):
        shutil.copy(first.with_suffix(suffix), last.with_suffix(suffix))
    done = workspace.run("validate", "--source", "export", "--spec", "spec.json", "--json")
    assert done.returncode == 1
    findings = done.document["scales"][0]["findings"]
    assert any(f"shares 1 chunk with s0/{first.name}" in finding for finding in findings)


def test_overlapping_boxes_are_found() -> None:
    """All pairs, whatever the boxes; each once, the earlier file first."""
    rng = np.random.default_rng(1)
    for spread, edge in ((3, 2), (40, 3), (40, 30)):
        low = rng.integers(0, spread, (60, 3), dtype=np.int32)
        high = low + rng.integers(0, edge, (60, 3), dtype=np.int32)
        boxes = Boxes()
        for file in range(60):
            boxes.add(file, low[file], high[file])
        expected = [
            (a, b)
            for a, b in itertools.combinations(range(60), 2)
            if (low[a] <= high[b]).all() and (low[b] <= high[a]).all()
        ]
        assert boxes.overlapping() == expected
    assert Boxes().overlapping() == []


def test_rows_outside_their_extent(make: Make) -> None:
    """A file that was renamed: no shard would look for its rows there."""
    export = make()
    last = files(export)[-1]
    for suffix in (".arrow", ".csv"):
        last.with_suffix(suffix).rename(last.with_name(f"102400_0_0{suffix}"))
    code, found = validate(export)
    assert code == 1
    named, finding = found["findings"]
    assert named.startswith("s0/102400_0_0.arrow: named after voxels outside the volume")
    assert finding.startswith("s0/102400_0_0.arrow: row 0, chunk ")
    assert "outside the extent that the file is named after" in finding


def test_rows_outside_the_volume(make: Make) -> None:
    """Rows beyond a smaller volume are counted, and are no findings: workers skip them."""
    export = make()
    (export.parent / "spec.json").write_text(json.dumps(made_spec((300, 100, 60))))
    code, found = validate(export)
    assert (code, found["outside"] > 10) == (0, True)


def test_decimated_slices(tmp_path: Path) -> None:
    """With --z-compress rows count in the grid of the source, which has twice the slices."""
    size = (200, 130, 200)
    scale = VolumeSpec.parse(sample_spec(size)).scales[0]
    write_export(tmp_path / "export", scale, SyntheticVolume(size))
    (tmp_path / "spec.json").write_text(json.dumps(sample_spec((200, 130, 100))))
    assert validate(tmp_path / "export", "--z-compress", "1")[1]["outside"] == 0
    code, found = validate(tmp_path / "export")
    assert found["outside"] > 0
    assert code == 0


def test_some_files(make: Make) -> None:
    """--files reads that many, by the seed; --workers changes nothing but the time."""
    export = make()
    found = [validate(export, "--files", "1", "--seed", str(seed))[1] for seed in range(6)]
    assert {one["read"] for one in found} == {1}
    assert len({one["rows"] for one in found}) == 2
    everything = validate(export, "--files", "9", "--workers", "1")[1]
    assert everything["read"] == 2
    assert everything == validate(export)[1]


def test_a_file_that_grows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes between listing and reading is still being written: a finding."""
    export = make()

    def then_grows(source: Storage, scale: int) -> ScaleListing:
        listed = list_scale(source, scale)
        with files(export)[0].open("ab") as file:
            file.write(b"more")
        files(export)[1].unlink()
        return listed

    monkeypatch.setattr(validation, "list_scale", then_grows)
    code, found = validate(export)
    assert code == 1
    grown, gone = found["findings"]
    assert "it changed since it was listed: wait until export and copy have ended" in grown
    assert "not found" in gone


def test_a_spec_with_shared_files(make: Make) -> None:
    """Specs whose export cannot be read, or costs more than people expect, are told of."""
    export = make()
    spec = made_spec((64 * 16, 64 * 16, 64))
    sharding = spec["scales"][0]["sharding"]
    sharding |= {"preshift_bits": 3, "minishard_bits": 0, "shard_bits": 5}
    del sharding["data_encoding"]
    (export.parent / "spec.json").write_text(json.dumps(spec))
    for command in (["validate", "--source", str(export)], ["init", "--dest", str(export / "out")]):
        arguments = [*command, "--spec", str(export.parent / "spec.json")]
        CliRunner().invoke(app, arguments)
    told = CliRunner().invoke(app, arguments).stderr
    assert "scale 0: sharding lacks data_encoding, which means raw: chunks take about 4.7" in told
    assert "scale 0: DVID writes several shards into one file" in told
    assert "preshift_bits 2, minishard_bits 0, shard_bits 6" in told


def test_unserved_scales(make: Make) -> None:
    """A spec with an unsharded scale serves the others; asking for it is wrong use."""
    export = make()
    spec = sample_spec(SIZE, 2)
    spec["scales"][0] = made_spec()["scales"][0]
    del spec["scales"][1]["sharding"]
    (export.parent / "spec.json").write_text(json.dumps(spec))
    assert validate(export)[0] == 0
    arguments = ["--source", str(export), "--spec", str(export.parent / "spec.json")]
    asked = CliRunner().invoke(app, ["validate", *arguments, "--scales", "1"])
    assert isinstance(asked.exception, SpecError)
    assert "scale 1 (16x16x16): sharding is missing" in str(asked.exception)
    init = ["init", "--spec", str(export.parent / "spec.json"), "--dest", str(export / "out")]
    shown = CliRunner().invoke(app, init)
    assert shown.exit_code == 0
    assert "not served" in shown.stdout
    written = json.loads((export / "out" / "info").read_text())
    assert written["scales"][1] == spec["scales"][1]


def test_a_scale_that_the_export_lacks(make: Make) -> None:
    """The error says which scales are there."""
    export = make()
    (export / "s0").rename(export / "s12")
    spec = str(export.parent / "spec.json")
    found = CliRunner().invoke(app, ["validate", "--source", str(export), "--spec", spec])
    assert isinstance(found.exception, UsageError)
    assert str(found.exception).endswith("has no s0/*.arrow files; it has s12")


@pytest.mark.parametrize("size", ["390", "1,2", "1,2,3,4", "1.5,2,3", "a,b,c"])
def test_a_size_has_three_numbers(size: str) -> None:
    """One number could be a slip, so it is not taken for a cube."""
    found = CliRunner().invoke(app, ["spec", "--size", size])
    assert isinstance(found.exception, UsageError)
    assert "expected three whole numbers X,Y,Z" in str(found.exception)


def test_text_output_is_a_table(make: Make) -> None:
    """Without --json: a table, then the findings, one per line."""
    export = make()
    files(export)[0].write_bytes(b"nothing")
    spec = str(export.parent / "spec.json")
    shown = CliRunner().invoke(app, ["validate", "--source", str(export), "--spec", spec])
    assert shown.exit_code == 1
    assert "findings" in shown.stdout
    assert files(export)[0].name in shown.stdout


def test_a_scale_that_the_spec_lacks(make: Make) -> None:
    """Wrong use, reported before any file is read."""
    export = make()
    spec = str(export.parent / "spec.json")
    arguments = ["validate", "--source", str(export), "--spec", spec, "--scales", "3"]
    assert isinstance(CliRunner().invoke(app, arguments).exception, UsageError)


def offsets(export: Path, *more: str) -> tuple[int, str]:
    """Exit code and text of `producer offsets`."""
    result = CliRunner().invoke(app, ["offsets", "--source", str(export), *more])
    return result.exit_code, result.stdout


@pytest.mark.parametrize("dialect", [Dialect.OLD, Dialect.MORTON])
@pytest.mark.parametrize("indexed", [True, False])
def test_offsets_are_written(make: Make, dialect: Dialect, indexed: bool) -> None:
    """Afterwards rows are found by byte range, and equal to what they were; DVID's CSV stays."""
    export = make(dialect, batch_rows=2)
    source = open_storage(str(export))
    kept = {}
    for file in files(export):
        csv = file.with_suffix(".csv")
        if indexed:
            kept[csv] = csv.read_bytes()
        else:
            csv.unlink()
    assert not any(has_offsets(source, file) for file in list_scale(source, 0).files)
    before = [blocks(file) for file in files(export)]

    code, output = offsets(export)
    assert (code, "2 indices written, 0 files damaged" in output) == (0, True)
    assert all(csv.read_bytes() == data for csv, data in kept.items())
    assert all(has_offsets(source, file) for file in list_scale(source, 0).files)
    assert [blocks(file) for file in files(export)] == before
    assert "s0: 0 files lack" in offsets(export)[1]
    assert validate(export, "--sample", "9")[0] == 0


def blocks(file: Path) -> list[tuple[tuple[int, ...], int]]:
    """Coordinates and sums of all blocks, read through whatever index there is."""
    source = open_storage(str(file.parents[1]))
    with open_shard(source, f"s0/{file.name}") as reader:
        return sorted(
            (tuple(chunk), int(reader.read_chunk(*chunk).sum(dtype="u8") % (1 << 63)))
            for chunk in reader.available_chunks
        )


def test_offsets_dry_run(make: Make) -> None:
    """--dry-run says what lacks them, and writes nothing."""
    export = make(Dialect.OLD)
    before = sorted(export.rglob("*"))
    code, output = offsets(export, "--dry-run")
    assert (code, output.strip()) == (0, "s0: 2 files lack byte offsets")
    assert sorted(export.rglob("*")) == before


def test_offsets_of_a_damaged_file(make: Make) -> None:
    """A damaged file gets no index, the others do; exit code 1."""
    export = make(Dialect.OLD)
    damaged, sound = files(export)
    damaged.write_bytes(damaged.read_bytes()[:-500])
    code, output = offsets(export)
    assert (code, "1 index written, 1 file damaged" in output) == (1, True)
    assert damaged.name in output
    assert not damaged.with_name(f"{damaged.stem}-offsets.csv").exists()
    assert sound.with_name(f"{sound.stem}-offsets.csv").exists()
