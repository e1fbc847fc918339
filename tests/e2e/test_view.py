"""`producer view`: link, browser, Ctrl-C; Chromium draws the volume."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorstore as ts

from braid.precomputed.volume_spec import VolumeSpec
from producer.synthetic_export import SyntheticVolume, sample_spec
from producer.viewer import (
    choose_position,
    describe_scales,
    existing_scales_info,
    inner_voxel,
    volume_name,
)
from runtime.storage import open_storage
from tests.support.commands import CommandResult, run_in_process
from tests.support.waiting import wait_for
from tests.support.workspace import Workspace

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

SIZE = (250, 200, 150)
PRODUCER = (sys.executable, "-u", "-m", "producer")
COLOURS = 12  # different ones that a panel full of cells shows at least
EDGE_COLOURS = 5  # likewise where cells fill a part of it


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume of three scales, written by TensorStore."""
    folder = tmp_path_factory.mktemp("view") / "volume"
    folder.mkdir()
    (folder / "info").write_text(json.dumps(sample_spec(SIZE, 3)))
    voxels = SyntheticVolume(SIZE).labels((0, 0, 0), SIZE)
    for index in range(3):
        write_scale(folder, index, voxels[:: 1 << index, :: 1 << index, :: 1 << index])
    return folder


def write_scale(folder: Path, index: int, voxels: np.ndarray[Any, Any]) -> None:
    """Write one scale of a volume whose info is there; voxels are ZYX."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "scale_index": index,
    }
    ts.open(spec, open=True).result()[..., 0].write(voxels.transpose(2, 1, 0)).result()


class View:
    """A running `producer view`."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        env = os.environ | {"LOG_FORMAT": "json", "LOG_LEVEL": "debug"} | environment
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*PRODUCER, "view", *arguments], stdout=subprocess.PIPE, stderr=output, env=env
            )

    def line(self) -> str:
        """The next line on stdout; waits for it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def link(self) -> str:
        """The link it prints; waits for it."""
        line = self.line()
        assert line.startswith("http://127.0.0.1:"), self.log.read_text()
        return line

    def served(self, folder: str = "") -> list[dict[str, Any]]:
        """Requests for files whose path begins so, as logged."""
        lines = (json.loads(x) for x in self.log.read_text().splitlines() if x.startswith("{"))
        served = (line for line in lines if line.get("event") == "file_served")
        return [line for line in served if line["path"].startswith(f"/{folder}")]

    def stop(self, with_signal: int) -> tuple[int, str]:
        """Exit code and everything on stderr."""
        self.process.send_signal(with_signal)
        return self.process.wait(60), self.log.read_text()


@pytest.fixture
def view(volume: Path, tmp_path: Path) -> Iterator[View]:
    """`producer view` on the volume."""
    running = View(tmp_path / "view.log", "--dest", str(volume), "--no-browser")
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def browser() -> Iterator["WebDriver"]:
    """Headless Chromium."""
    from tests.support.browser import running_chromium  # noqa: PLC0415 - a second of imports

    with running_chromium() as running:
        yield running


def wait_for_colours(browser: "WebDriver", count: int) -> bytes:
    """Screenshot in which each of the four panels has so many vivid colours."""
    from tests.support.browser import panel_colours  # noqa: PLC0415 - a second of imports

    def drawn() -> bytes | None:
        png: bytes = browser.get_screenshot_as_png()
        return png if min(panel_colours(png)) >= count else None

    try:
        return wait_for(drawn, f"{count} colours in each panel", within_s=120)
    except AssertionError:
        pytest.fail(f"colours: {panel_colours(browser.get_screenshot_as_png())}")


def test_a_browser_shows_segments(view: View, browser: "WebDriver") -> None:
    """All four panels show many colours, drawn from chunks that were fetched by byte range."""
    browser.get(view.link())
    png = wait_for_colours(browser, COLOURS)
    if keep := os.environ.get("KEEP_SCREENSHOT"):
        Path(keep).write_bytes(png)
    shards = [one for one in view.served() if one["path"].endswith(".shard")]
    assert {one["status"] for one in view.served("info")} == {200}
    assert [one for one in shards if one["status"] == 206 and one["body_bytes"] > 0]
    assert not [line for line in view.served() if line["status"] >= 500]


def test_a_browser_shows_the_real_shard(shared: Path, tmp_path: Path, browser: "WebDriver") -> None:
    """Of a volume with one shard in each of three scales of ten, segments are seen at once."""
    workspace = Workspace(tmp_path, None, None)  # type: ignore[arg-type]  # the export is another
    done = workspace.run(
        *("enqueue", "--source", str(shared / "data/mcns-edge"), "--dest", "mcns-edge"),
        *("--spec", str(shared / "specs/mcns-export-specs.json")),
        *("--scales", "1", "--downres", "2,3", "--wait"),
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "mcns-edge"
    info = (folder / "info").read_bytes()
    running = View(tmp_path / "view.log", "--dest", str(folder), "--no-browser")
    try:
        browser.get(running.link())
        assert running.line().startswith("scales 1-3 of 10 exist; showing around chunk (")
        png = wait_for_colours(browser, EDGE_COLOURS)
        if keep := os.environ.get("KEEP_REAL_SCREENSHOT"):
            Path(keep).write_bytes(png)
        assert browser.title.startswith("mcns-edge")
        keys = {line["path"].split("/")[1] for line in running.served()}
    finally:
        assert running.stop(signal.SIGINT)[0] == 130
    assert keys & {"16x16x16", "32x32x32", "64x64x64"}
    assert not keys & {scale["key"] for scale in json.loads(info)["scales"][4:]}
    assert (folder / "info").read_bytes() == info


def test_only_this_machines_names_are_answered(view: View) -> None:
    """The viewer's own server refuses a page's name that is bound to this machine."""
    link = view.link()
    assert status_of(link) == 200
    assert status_of(link, "attacker.example:80") == 421
    assert status_of(f"{link.partition('/v/')[0]}/v/guess/") == 404


def status_of(url: str, host: str | None = None) -> int:
    """The status of an answer to a client that gives this name for the host."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - ours
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_stops_cleanly(view: View, with_signal: int) -> None:
    """Ctrl-C and SIGTERM end it at once, without a traceback, also while a client listens."""
    with urllib.request.urlopen(view.link(), timeout=60) as page:  # noqa: S310 - ours
        assert b"neuroglancer" in page.read().lower()
        code, said = view.stop(with_signal)
    assert code == 130
    assert "Traceback" not in said


def test_opens_the_browser(volume: Path, tmp_path: Path) -> None:
    """Without --no-browser the user's browser gets the printed link."""
    opened, program = tmp_path / "opened", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    program.chmod(0o755)
    running = View(tmp_path / "log", "--dest", str(volume), BROWSER=str(program))
    try:
        link = running.link()
        wait_for(lambda: opened.is_file() and opened.read_text().strip() == link, "the browser")
    finally:
        assert running.stop(signal.SIGINT)[0] == 130


def run_view(*arguments: str) -> CommandResult:
    """`producer view` that should end by itself."""
    return run_in_process("producer", "view", "--no-browser", *arguments, folder=Path.cwd())


@pytest.mark.parametrize("made", [False, True])
def test_no_volume(tmp_path: Path, made: bool) -> None:
    """A missing folder, or one without info, is one line that says what to do, and exit code 3."""
    folder = tmp_path / "volume"
    if made:
        folder.mkdir()
    done = run_view("--dest", str(folder))
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: no volume at {folder}")
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_info_that_is_not_json(tmp_path: Path) -> None:
    """An info that is not JSON is wrong configuration: exit code 2, naming the file."""
    (tmp_path / "info").write_text("<html>")
    done = run_view("--dest", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path}/info" in done.stderr
    assert "Traceback" not in done.stderr


def test_port_taken(view: View, volume: Path) -> None:
    """A port in use is an error that names what to do."""
    port = view.link().split(":")[2].split("/")[0]
    done = run_view("--dest", str(volume), "--port", port)
    assert done.returncode == 3
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_view_begins_where_data_is(tmp_path: Path) -> None:
    """Where only a corner is made, the view begins in that corner, close enough to see it."""
    spec = sample_spec((2000, 1500, 1000))
    (tmp_path / "info").write_text(json.dumps(spec))
    storage = open_storage(str(tmp_path))
    parsed = VolumeSpec.parse(spec)
    empty = choose_position(storage, parsed)
    assert empty.position == (1000, 750, 500)

    target = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
        },
        open=True,
    ).result()
    target[1600:1664, 1216:1280, 64:128, 0].write(np.full((64, 64, 64), 7, np.uint64)).result()
    corner = choose_position(storage, parsed)
    inside = [
        low <= at <= low + 64 for at, low in zip(corner.position, (1600, 1216, 64), strict=True)
    ]
    assert all(inside), corner
    assert list(corner.segments) == [7]
    assert corner.zoom < empty.zoom


def test_a_damaged_shard_hides_nothing_else(volume: Path, tmp_path: Path) -> None:
    """A shard file that is garbage does not keep the viewer from starting elsewhere."""
    broken = tmp_path / "volume"
    shutil.copytree(volume, broken)
    for shard in (broken / "32x32x32").glob("*.shard"):
        shard.write_bytes(b"x" * 4096)
    spec = VolumeSpec.parse((broken / "info").read_bytes())
    assert choose_position(open_storage(str(broken)), spec).segments


def test_scales_without_shards_are_hidden(volume: Path, tmp_path: Path) -> None:
    """The viewer's info lists scales with shards only, and follows the files; other keys stay."""
    partial = tmp_path / "volume"
    shutil.copytree(volume, partial)
    info = json.loads((partial / "info").read_bytes()) | {"mesh": "mesh"}
    data = json.dumps(info).encode()
    storage, spec = open_storage(str(partial)), VolumeSpec.parse(data)
    assert existing_scales_info(storage, data) == data
    other = data.decode().encode("utf-16")
    assert json.loads(existing_scales_info(storage, other).decode("utf-8")) == info
    assert describe_scales(storage, spec) == "scales 0-2 of 3 exist"

    first, middle, last = (scale["key"] for scale in info["scales"])
    (partial / middle).rename(partial / "away")
    shown = json.loads(existing_scales_info(storage, data))
    assert shown == info | {"scales": [info["scales"][0], info["scales"][2]]}
    assert describe_scales(storage, spec) == "scales 0, 2 of 3 exist"

    shutil.rmtree(partial / last)
    assert describe_scales(storage, spec) == "scale 0 of 3 exists"
    shutil.rmtree(partial / first)
    assert describe_scales(storage, spec) == "no scale of 3 exists"
    assert existing_scales_info(storage, data) == data
    (partial / "away").rename(partial / middle)
    assert [s["key"] for s in json.loads(existing_scales_info(storage, data))["scales"]] == [middle]


def test_the_zoom_stays_within_the_scales_made(tmp_path: Path) -> None:
    """However far apart shards lie, a pixel is not coarser than the coarsest voxel made."""
    info = sample_spec((20000, 1500, 1000), 3)
    (tmp_path / "info").write_text(json.dumps(info))
    for index in (0, 1):
        target = ts.open(
            {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
                "scale_index": index,
            },
            open=True,
        ).result()
        for x in (0, 9216):
            target[x : x + 64, :64, :64, 0].write(np.full((64, 64, 64), 7, np.uint64)).result()
    start = choose_position(open_storage(str(tmp_path)), VolumeSpec.parse(info))
    assert start.zoom == 2
    assert start.where.endswith("of scale 1")


def test_the_inner_voxel_lies_inside() -> None:
    """The centre of a compact mask; of a hollow one a voxel of it, since its centre is outside."""
    ball = np.zeros((9, 9, 9), bool)
    ball[2:7, 1:6, 0:5] = True
    assert inner_voxel(ball) == (2, 3, 4)
    ball[3:6, 2:5, 1:4] = False
    x, y, z = inner_voxel(ball)
    assert ball[z, y, x]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/mcns", "mcns"),
        ("gs://bucket/a/mcns", "mcns"),
        ("gs://bucket", "bucket"),
        ("/data/mcns\u202egpj", r"mcns\u202egpj"),
    ],
)
def test_volume_name(url: str, name: str) -> None:
    """A layer is named after the last part of the destination."""
    assert volume_name(url) == name
