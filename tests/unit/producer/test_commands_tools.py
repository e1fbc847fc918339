"""Commands `producer validate` and `producer offsets` on sound and damaged exports."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from braid.precomputed.volume_spec import VolumeSpec
from producer.__main__ import app
from producer.export_reader import has_offsets, open_shard
from producer.export_writer import Dialect, ExportFormat
from producer.synthetic_export import sample_spec, write_export
from runtime.errors import UsageError
from runtime.storage import open_storage
from tests.support.workspace import corrupt_zstd

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
    """A file without any CSV is readable, and counted."""
    export = make()
    files(export)[0].with_suffix(".csv").unlink()
    code, found = validate(export)
    assert (code, found["without_index"]) == (0, 1)


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
    assert "chunks are in" in found["findings"][0]
    assert first.name in found["findings"][0]
    assert "0_0_256.arrow" in found["findings"][0]


def test_rows_outside_their_extent(make: Make) -> None:
    """A file that was renamed: no shard would look for its rows there."""
    export = make()
    last = files(export)[-1]
    for suffix in (".arrow", ".csv"):
        last.with_suffix(suffix).rename(last.with_name(f"102400_0_0{suffix}"))
    code, found = validate(export)
    assert code == 1
    (finding,) = found["findings"]
    assert finding.startswith("s0/102400_0_0.arrow: row 0, chunk ")
    assert "outside the extent that the file is named after" in finding


def test_rows_outside_the_volume(make: Make) -> None:
    """Rows beyond a smaller volume are counted, and are no findings: workers skip them."""
    export = make()
    (export.parent / "spec.json").write_text(json.dumps(made_spec((100, 100, 100))))
    code, found = validate(export)
    assert (code, found["outside"] > 10) == (0, True)


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
        assert not has_offsets(source, f"s0/{file.name}")
    before = [blocks(file) for file in files(export)]

    code, output = offsets(export)
    assert (code, "2 indices written, 0 files damaged" in output) == (0, True)
    assert all(csv.read_bytes() == data for csv, data in kept.items())
    assert all(has_offsets(source, f"s0/{file.name}") for file in files(export))
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
    assert (code, "1 indices written, 1 files damaged" in output) == (1, True)
    assert damaged.name in output
    assert not damaged.with_name(f"{damaged.stem}-offsets.csv").exists()
    assert sound.with_name(f"{sound.stem}-offsets.csv").exists()
