"""Wrong use and damaged input: a one-line error and the documented exit code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from producer.tensorstore_reader import Volume
from tests.support.workspace import Workspace, error_line, make_workspace

USAGE, UNREACHABLE, FINDINGS = 2, 3, 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export, nothing made of it."""
    return make_workspace(tmp_path_factory.mktemp("made"), scales=2)


@pytest.fixture
def workspace(made: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(made.export, tmp_path / "export")
    shutil.copy(made.folder / "spec.json", tmp_path)
    return Workspace(tmp_path, made.sample, made.spec)


def spoil_spec(workspace: Workspace, change: Callable[[dict[str, object]], object]) -> None:
    """Write the spec with a fault."""
    document = json.loads((workspace.folder / "spec.json").read_text())
    change(document)
    (workspace.folder / "spec.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--scales", "7"], USAGE, "there is no scale 7"),
        (["--scales", "x"], USAGE, "expected scale numbers"),
        (["--downres", "5"], USAGE, "there is no scale 5"),
        (["--scales", "0,1", "--downres", "1"], USAGE, "one way or the other"),
        (["--scales", "1"], USAGE, "has no s1/*.arrow files"),
        (["--tiers", "small"], USAGE, "'small' is not a size in GiB"),
        (["--tiers", "2,2"], USAGE, "twice"),
        (["--label-type", "bodies"], USAGE, "'bodies' is not one of labels, supervoxels"),
        (["--downres-rule", "mean"], USAGE, "'mean' is not one of mode, nonzero-mode"),
        (["--z-compress", "2"], USAGE, "does not divide 64"),
        (["--gzip-level", "99"], USAGE, "--gzip-level"),
        (["--spec", "none.json"], UNREACHABLE, "no such spec file: none.json"),
        (["--source", "nowhere"], UNREACHABLE, "no such directory"),
        (["--queue", "redis://here"], USAGE, "is not a queue"),
        (["--run-id", "a/b"], USAGE, "cannot name a run"),
        (["--dest", "s3://bucket/x"], USAGE, "no storage speaks s3://"),
        (["--bogus"], USAGE, "--bogus"),
    ],
)
def test_a_wrong_option(made: Workspace, more: list[str], code: int, said: str) -> None:
    """A wrong option is refused before anything is written."""
    before = made.files(".")
    done = made.run(*made.enqueue_command(), *more)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in error_line(done)
    assert made.files(".") == before


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("producer", "init --dest out"),
        ("producer", "validate --source export"),
        ("memmodel", "estimate export/s0/0_0_0.arrow"),
    ],
)
def test_a_spec_that_is_not_there(made: Workspace, program: str, command: str) -> None:
    """A missing spec ends with exit 3 and the same error in every command."""
    done = made.run_subprocess(*command.split(), "--spec", "none.json", program=program)
    assert done.returncode == UNREACHABLE
    assert error_line(done) == "error: no such spec file: none.json"


def test_a_file_to_be_estimated_that_is_not_there(made: Workspace) -> None:
    """A missing file to estimate ends with exit 3."""
    done = made.run_subprocess("estimate", "none.arrow", "--spec", "spec.json", program="memmodel")
    assert done.returncode == UNREACHABLE
    assert error_line(done) == "error: none.arrow: no such file"


def test_a_spec_that_is_no_json(workspace: Workspace) -> None:
    """The error names the file and the position in it."""
    (workspace.folder / "spec.json").write_text("{scales: 1}")
    done = workspace.run(*workspace.enqueue_command())
    assert done.returncode == USAGE
    assert "spec.json: not valid JSON" in error_line(done)


def test_an_unsharded_scale(workspace: Workspace) -> None:
    """Refused with scale, field and reason where it is asked for; kept in info elsewhere."""
    spoil_spec(workspace, lambda document: document["scales"][0].pop("sharding"))  # type: ignore[index]
    done = workspace.run(*workspace.enqueue_command())
    assert done.returncode == USAGE
    assert "scale 0 (8x8x8): sharding is missing" in error_line(done)
    assert not (workspace.folder / "out").exists()

    done = workspace.run("init", "--spec", "spec.json", "--dest", "out")
    assert done.returncode == 0
    assert "scale 0 (8x8x8): sharding is missing" in done.stderr
    assert "not served" in done.stdout


def test_an_info_of_another_volume(workspace: Workspace) -> None:
    """What lies at the destination is not silently replaced."""
    assert workspace.run("init", "--spec", "spec.json", "--dest", "out").returncode == 0
    before = workspace.files("out")
    spoil_spec(workspace, lambda document: document["scales"][0].update(size=[200, 150, 99]))  # type: ignore[index]
    done = workspace.run(*workspace.enqueue_command())
    assert done.returncode == USAGE
    assert "scale 0 size" in error_line(done)
    assert workspace.files("out") == before


def test_a_destination_that_cannot_be_written(workspace: Workspace) -> None:
    """A file is in the way: one line, nothing published."""
    (workspace.folder / "file").write_text("in the way")
    done = workspace.run(*workspace.enqueue_command(dest="file/volume"))
    assert done.returncode in {USAGE, UNREACHABLE}
    assert "file/volume" in error_line(done)
    assert not (workspace.folder / ".braid").exists()


def test_a_file_that_is_named_after_no_voxel(workspace: Workspace) -> None:
    """Refused, because its rows would be left out."""
    (workspace.export / "s0" / "copy of 0_0_0.arrow").write_bytes(b"x")
    done = workspace.run(*workspace.enqueue_command())
    assert done.returncode == USAGE
    assert "s0/copy of 0_0_0.arrow is not named after a voxel origin" in error_line(done)


def renamed(workspace: Workspace, stem: str, other: str) -> None:
    """Give an export file and its index another name."""
    for ending in ("arrow", "csv"):
        file = workspace.export / "s0" / f"{stem}.{ending}"
        file.rename(file.with_name(f"{other}.{ending}"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: None, ""),
        (
            lambda workspace: renamed(workspace, "64_0_0", "65_0_0"),
            "files named after no extent of this spec: 1, such as s0/65_0_0.arrow",
        ),
        (
            lambda workspace: [
                file.unlink()
                for file in (workspace.export / "s0").iterdir()
                if any(int(part) % 128 for part in file.stem.split("_"))
            ],
            (
                "all files are named after multiples of 128 voxels,"
                " and the extents of this spec are 64"
            ),
        ),
    ],
)
def test_names_that_do_not_fit_the_spec(
    workspace: Workspace, spoil: Callable[[Workspace], object], said: str
) -> None:
    """A note before anything is written: the spec may belong to another export."""
    spoil(workspace)
    done = workspace.run(*workspace.enqueue_command("--dry-run"))
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "named after" in line]
    assert len(notes) == bool(said)
    assert said in done.stderr


def test_a_file_that_is_named_outside_the_volume(workspace: Workspace) -> None:
    """Refused before anything is written: no shard would read it."""
    renamed(workspace, "64_0_0", "640_0_0")
    done = workspace.run(*workspace.enqueue_command("--dry-run"))
    assert done.returncode == USAGE
    assert "s0/640_0_0.arrow: named after voxels outside the volume" in error_line(done)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ("64_0_0.csv", "s0/64_0_0.csv: an index without its Arrow file"),
        (".64_0_0.arrow.aB3dEf", "s0/.64_0_0.arrow.aB3dEf: left by a copy"),
        ("64_0_0.arrow.part", "s0/64_0_0.arrow.part: left by a copy"),
        ("64_0_0.arrow_.gstmp", "s0/64_0_0.arrow_.gstmp: left by a copy"),
        ("64_0_0.ARROW", "s0/64_0_0.ARROW: left by a copy"),
    ],
)
def test_a_copy_that_is_not_complete(workspace: Workspace, left: str, said: str) -> None:
    """Refused with the file: its voxels would be zeros."""
    folder = workspace.export / "s0"
    data = (folder / "64_0_0.arrow").read_bytes()
    for ending in ("arrow", "csv"):
        (folder / f"64_0_0.{ending}").unlink()
    (folder / left).write_bytes(data)
    done = workspace.run(*workspace.enqueue_command("--dry-run"))
    assert done.returncode == USAGE
    assert said in error_line(done)


def test_a_volume_without_info(workspace: Workspace) -> None:
    """Viewing a missing volume or downsampling from it names the command that makes one."""
    for command in (["view", "--dest", "out", "--no-browser"], ["enqueue", "--dest", "out"]):
        done = workspace.run(*command)
        assert done.returncode == UNREACHABLE
        assert "it has no info" in error_line(done)


@pytest.mark.parametrize(
    "command", ["status", "errors", "cancel", "verify", "runs --run x", "replay --missing"]
)
def test_a_run_that_is_not_there(workspace: Workspace, command: str) -> None:
    """A missing run ends with exit 2 and names the command that starts one."""
    done = workspace.run(*command.split(), *(["--dest", "out"] if "--run" not in command else []))
    assert done.returncode == USAGE
    error_line(done)


@pytest.mark.parametrize("command", ["", "enqueue", "status", "spec", "init", "view", "runs"])
def test_help_has_examples(made: Workspace, command: str) -> None:
    """Every command shows an example and where its settings come from."""
    done = made.run(*command.split(), "--help")
    assert done.returncode == 0
    assert "python -m producer" in done.stdout.replace("\n", " ")


def test_broken_shards_hold_up_no_other(workspace: Workspace) -> None:
    """Six kinds of damage: each shard is dead, its file in the reason; the others are right."""
    files = sorted((workspace.export / "s0").glob("*.arrow"))
    damage = {
        files[0]: truncated,
        files[3]: corrupted,
        files[6]: disagreeing,
        files[9]: appended,
        files[12]: doubled,
        files[15]: misnamed,
    }
    for file, spoil in damage.items():
        spoil(file)
    done = workspace.run(*workspace.enqueue_command("--downres", "1", "--scales", "0", "--wait"))
    assert done.returncode == FINDINGS, done.stderr
    assert "Traceback" not in done.stderr
    assert "16" in next(line for line in done.stdout.splitlines() if line.startswith("s0"))
    found = workspace.run("errors", "--dest", "out", "--json").document
    assert len(found["failed"]) == 6
    for file in damage:
        (letter,) = [one for one in found["failed"] if file.name in one["reason"]]
        assert letter["attempts"] == 1
    assert found["blocked"]
    status = workspace.run("status", "--dest", "out", "--json").document
    assert (status["ended"], status["succeeded"]) == (True, False)
    _check_the_rest(workspace, {tuple(map(int, file.stem.split("_"))) for file in damage})
    text = workspace.run("status", "--dest", "out").stdout
    assert "blocked by" in text


def _check_the_rest(workspace: Workspace, broken: set[tuple[int, ...]]) -> None:
    """Every other chunk of scale 0 is as it should be."""
    volume, truth = Volume(str(workspace.folder / "out")), workspace.sample
    scale = workspace.spec.scales[0]
    for chunk in np.ndindex(scale.grid):
        begin, end = scale.chunk_box(chunk)
        if begin not in broken:
            assert np.array_equal(volume.read(0, begin, end), truth.labels(begin, end))


def truncated(file: Path) -> None:
    """An export that was stopped."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def corrupted(file: Path) -> None:
    """A flipped byte in the middle of a zstd frame."""
    data = bytearray(file.read_bytes())
    frame = data.index(b"\x28\xb5\x2f\xfd")
    data[frame + 12 : frame + 16] = b"\xff\xff\xff\xff"
    file.write_bytes(data)


def disagreeing(file: Path) -> None:
    """A CSV whose rows lie elsewhere in the stream."""
    index = file.with_suffix(".csv")
    lines = index.read_text().splitlines()
    fields = lines[2].split(",")
    fields[3] = str(int(fields[3]) + 8)
    index.write_text("\n".join([*lines[:2], ",".join(fields), ""]))


def appended(file: Path) -> None:
    """A repeated export: a second stream behind the first one's end."""
    file.write_bytes(file.read_bytes() * 2)


def doubled(file: Path) -> None:
    """One chunk in two files, whose cells meet the same shard."""
    x, y, z = (int(part) for part in file.stem.split("_"))
    other = file.with_name(f"{x + 1}_{y}_{z}.arrow")
    shutil.copy(file, other)
    shutil.copy(file.with_suffix(".csv"), other.with_suffix(".csv"))


def misnamed(file: Path) -> None:
    """Rows of another cell, which no shard would look for here."""
    x, y, z = (int(part) for part in file.stem.split("_"))
    other = file.with_name(f"{x}_{y}_{z - 64}.arrow")
    shutil.copy(other, file)
    shutil.copy(other.with_suffix(".csv"), file.with_suffix(".csv"))
