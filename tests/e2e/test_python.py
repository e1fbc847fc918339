"""Runs from Python: `shardlift.convert`, what it returns, and the examples."""

import io
import json
import runpy
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import shardlift
from producer.tensorstore_reader import Volume
from tests.support.example_notebook import NOTEBOOK, SCRIPT, notebook_text
from tests.support.workspace import Workspace, corrupt_zstd, make_small_workspace

PYRAMID = {"scales": [0], "downres": [1], "tiers": "0.5", "lease_s": 5}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An export of which nothing is made."""
    return make_small_workspace(tmp_path / "work")


def convert(workspace: Workspace, **options: object) -> shardlift.Run:
    """Begin or continue its conversion."""
    folder = workspace.folder
    known = {**PYRAMID, "queue": f"sqlite:{folder / 'queue.db'}", **options}
    spec = json.loads((folder / "spec.json").read_text())
    return shardlift.convert(folder / "export", folder / "out", spec, **known)  # type: ignore[arg-type]  # passed on


def test_a_run_from_its_plan_to_its_checks(workspace: Workspace) -> None:
    """Nothing is printed; status and findings are what the commands print; every voxel is right."""
    seen: list[int] = []
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        run = convert(workspace)
        assert run.status.shards["s0/0"] == "ready"
        ended = run.wait(lambda progress: seen.append(progress.done))
        found = run.verify(values=5, deep=True)
        page = run._repr_html_()
        assert run.report(workspace.folder / "page.html").startswith("<!doctype html>")
        again = convert(workspace)
    assert (out.getvalue(), err.getvalue()) == ("", "")
    assert seen[-1] == ended.done == 14
    assert (found.ok, found.checked.values, found.checked.files_read) == (True, 5, 14)
    assert (again.id, run.cancel(), run.errors.failed) == (run.id, False, ())
    assert "done: 14 of 14 shards" in page
    printed = workspace.of_run("status", "--json").document
    ours = json.loads(shardlift.open_run(workspace.volume).status.text())
    assert printed | {"at": None} == ours | {"at": None}
    size = workspace.sample.size
    labels = Volume(str(workspace.volume)).read(0, (0, 0, 0), size)
    assert np.array_equal(labels, workspace.sample.labels((0, 0, 0), size))


def test_a_selection_then_the_rest(workspace: Workspace) -> None:
    """A box as pairs is the box as text; the whole makes what is left."""
    part = convert(workspace, bbox=[(0, 64), (0, 64), (0, 64)])
    assert part.wait().done == 1
    assert part.status.selection is not None
    assert part.status.selection.left_out == {0: 11, 1: 2}
    assert "a selection: 13 shards left out" in part._repr_html_()
    assert convert(workspace).wait().done == 13


def test_a_run_that_fails_raises(workspace: Workspace) -> None:
    """With the shard and the reason; the errors are there as data."""
    corrupt_zstd(workspace.arrow())
    run = convert(workspace)
    with pytest.raises(shardlift.RunFailedError, match=r"without 2 of its shards: s0/0: .*zstd"):
        run.wait()
    assert [failure.key for failure in run.errors.failed] == ["s0/0"]
    assert run.status.blocked_by == {"s1/0": ("s0/0",)}


def test_errors_are_exceptions(workspace: Workspace) -> None:
    """Of one class, with a hint; nothing is written."""
    with pytest.raises(shardlift.UsageError, match="no run below"):
        shardlift.open_run(workspace.folder / "nowhere")
    with pytest.raises(shardlift.UsageError, match="scale 7"):
        convert(workspace, scales=[7])
    with pytest.raises(shardlift.Error, match="'most' is not a valid Rule"):
        convert(workspace, downres_rule="most")
    with pytest.raises(shardlift.UnreachableError):
        shardlift.convert(
            workspace.folder / "none", workspace.volume, workspace.folder / "spec.json"
        )
    assert not workspace.volume.exists()


def test_the_package_is_light() -> None:
    """Importing it imports none of what a conversion needs."""
    code = (
        "import sys, shardlift; print(sorted({'numpy', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    """And `dir` lists it."""
    assert set(shardlift.__all__) <= set(dir(shardlift))
    assert all(getattr(shardlift, name) is not None for name in shardlift.__all__)


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a script."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(SCRIPT))
    said = capsys.readouterr().out
    assert "shards are right" in said
    assert "http://127.0.0.1:" in said


def test_the_notebook_is_the_script() -> None:
    """Cell by cell; `python -m tests.support.example_notebook` writes it anew."""
    assert NOTEBOOK.read_text() == notebook_text()


@pytest.mark.slow  # a kernel, and the same two runs again
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel progress and runs are shown as HTML."""
    import nbclient  # noqa: PLC0415 - slow to import
    import nbformat  # noqa: PLC0415 - likewise

    book = nbformat.reads(NOTEBOOK.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(book, timeout=240, resources=place).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    pages = [
        output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})
    ]
    assert len(pages) >= 3  # two runs, and the progress of one
    assert all("<table>" in page for page in pages)
    assert not [output for output in outputs if output.get("name") == "stderr"]
