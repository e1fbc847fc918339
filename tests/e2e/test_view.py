"""`producer view`: link, browser, Ctrl-C; Chromium draws the volume."""

import ctypes
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorstore as ts

from braid.precomputed.volume_spec import VolumeSpec
from producer.documents.volume_documents import ViewDocument
from producer.existing_scales import describe_scales, existing_scales, existing_scales_info
from producer.public_viewer import link_to_public_viewer
from producer.segment_colours import colour_labels
from producer.synthetic_export import SyntheticVolume, sample_spec
from producer.viewer import FIRST_PORT, open_viewer
from producer.viewer_position import choose_position, inner_voxel, position_at
from producer.viewer_state import PUBLIC_VIEWER, volume_name
from producer.volume_slice import read_slices
from runtime.storage import Storage, open_storage
from tests.support.commands import CommandResult, run_in_process
from tests.support.waiting import wait_for
from tests.support.workspace import Workspace

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

SIZE = (250, 200, 150)
PRODUCER = (sys.executable, "-u", "-m", "producer")
COLOURS = 12  # different ones that a panel full of cells shows at least
FRAME = (255, 255, 0)  # around a volume
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


def test_a_ctrl_c_that_wakes_nobody_ends_it(view: View) -> None:
    """One that comes just before the wait begins wakes no wait, as one for another thread."""
    view.link()
    pid = view.process.pid
    wait_for(lambda: b"Ctrl-C ends it" in view.log.read_bytes(), "the viewer")
    others = [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()]
    assert ctypes.CDLL(None).tgkill(pid, max(others), signal.SIGINT) == 0
    assert max(others) != pid
    assert view.process.wait(20) == 130


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
    assert described(storage, spec) == "scales 0-2 of 3 exist"

    first, middle, last = (scale["key"] for scale in info["scales"])
    (partial / middle).rename(partial / "away")
    shown = json.loads(existing_scales_info(storage, data))
    assert shown == info | {"scales": [info["scales"][0], info["scales"][2]]}
    assert described(storage, spec) == "scales 0, 2 of 3 exist"

    shutil.rmtree(partial / last)
    assert described(storage, spec) == "scale 0 of 3 exists"
    shutil.rmtree(partial / first)
    assert described(storage, spec) == "no scale of 3 exists"
    assert existing_scales_info(storage, data) == data
    (partial / "away").rename(partial / middle)
    assert [s["key"] for s in json.loads(existing_scales_info(storage, data))["scales"]] == [middle]


def described(storage: Storage, spec: VolumeSpec) -> str:
    """Which scales exist, in words."""
    return describe_scales(existing_scales(storage, spec), len(spec.scales))


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


def test_it_begins_at_a_given_voxel(volume: Path, tmp_path: Path) -> None:
    """With the segment there selected; layer and window have the given name."""
    running = View(
        tmp_path / "log", "--dest", str(volume), "--no-browser",
        "--pos", "100, 80, 70", "--name", "my brain",
    )  # fmt: skip
    try:
        link = running.link()
        assert running.line() == "scales 0-2 of 3 exist; showing voxel 100, 80, 70"
    finally:
        assert running.stop(signal.SIGINT)[0] == 130
    assert int(link.split(":")[2].split("/")[0]) >= FIRST_PORT
    storage, spec = open_storage(str(volume)), VolumeSpec.parse((volume / "info").read_bytes())
    start = position_at(storage, spec, (100, 80, 70))
    assert start.position == (100.5, 80.5, 70.5)
    coarsest = SyntheticVolume(SIZE).labels((0, 0, 0), SIZE)[::4, ::4, ::4]
    assert start.segments[0] == coarsest[70 // 4, 80 // 4, 100 // 4] != 0
    assert start.zoom == 4
    background = position_at(storage, spec, (0, 0, 0))
    assert background.position == (0.5, 0.5, 0.5)
    assert 0 not in background.segments


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2", "expected three whole numbers"),
        ("1,2,-3", "expected three whole numbers"),
        ("250,0,0", "lies outside the volume"),
    ],
)
def test_a_position_that_is_none(volume: Path, text: str, said: str) -> None:
    """Wrong use, before anything is started."""
    done = run_view("--dest", str(volume), "--pos", text)
    assert done.returncode == 2
    assert said in done.stderr


def test_ports_in_use_are_passed_over(view: View, volume: Path, tmp_path: Path) -> None:
    """A second viewer takes two others."""
    port = int(view.link().split(":")[2].split("/")[0])
    second = View(tmp_path / "second.log", "--dest", str(volume), "--no-browser")
    try:
        other = int(second.link().split(":")[2].split("/")[0])
        assert abs(other - port) >= 2  # two each
    finally:
        assert second.stop(signal.SIGINT)[0] == 130


@pytest.mark.usefixtures("gcs")
def test_a_link_to_a_public_viewer(volume: Path, bucket: str) -> None:
    """Of a volume in a bucket: its layer, a voxel of a segment, its resolution; no server."""
    for file in volume.rglob("*"):
        if file.is_file():
            storage = open_storage(f"gs://{bucket}/my brain")
            storage.write(str(file.relative_to(volume)), file.read_bytes())
    done = run_view("--link", "--dest", f"gs://{bucket}/my brain")
    assert done.returncode == 0, done.stderr
    link, summary = done.stdout.splitlines()
    assert summary.startswith("scales 0-2 of 3 exist; showing around chunk")
    state = state_of(link)
    (layer,) = state["layers"]
    assert layer["source"] == [{"url": f"precomputed://gs://{bucket}/my brain"}]
    assert state["title"] == layer["name"] == "my brain"
    assert state["dimensions"]["x"] == [8e-9, "m"]
    local = choose_position(
        open_storage(str(volume)), VolumeSpec.parse((volume / "info").read_bytes())
    )
    assert tuple(state["position"]) == local.position
    assert [int(one) for one in layer["segments"]] == [*local.segments]
    assert " " not in link


def test_a_link_to_a_web_address() -> None:
    """It is not read, and nothing is served."""
    place = "https://example.org/volumes/brain"
    done = run_view("--link", "--dest", place, "--pos", "3,4,5")
    assert done.returncode == 0, done.stderr
    link, summary = done.stdout.splitlines()
    assert summary == "showing voxel 3, 4, 5"
    assert "note: a web address is not read, only linked" in done.stderr
    state = state_of(link)
    assert state["position"] == [3.5, 4.5, 5.5]
    assert state["layers"][0]["source"] == [{"url": f"precomputed://{place}"}]
    assert state["layers"][0]["name"] == "brain"


def test_a_link_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look the link is printed all the same, with a note what is not known."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    place = "gs://bucket/brain"
    done = run_view("--link", "--dest", place, "--pos", "3,4,5", "--json")
    assert done.returncode == 0, done.stderr
    found = ViewDocument.model_validate_json(done.stdout)
    assert (found.dest, found.layer, found.served) == (place, "brain", False)
    assert (found.position, found.scales, found.of_scales) == ((3.5, 4.5, 5.5), None, None)
    assert state_of(found.url)["position"] == [3.5, 4.5, 5.5]
    (note,) = found.notes
    assert "storage cannot be reached" in note
    assert note.endswith("without a look, so which scales exist is unknown")
    assert done.stderr == f"note: {note}\n"


def test_a_look_for_a_link_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers holds nothing up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
        found = link_to_public_viewer("gs://bucket/brain", look_s=0.5)
    (note,) = found.notes
    assert note.startswith("gs://bucket/brain could not be read within 0.5 s; the link is made")
    assert found.summary == "showing the middle of the volume"


def test_a_link_to_what_does_not_exist_is_refused(bucket: str) -> None:
    """No bucket, no volume in it, or a voxel outside: each is an error, not a link."""
    open_storage(f"gs://{bucket}").write("v/info", json.dumps(sample_spec(SIZE, 1)).encode())
    for place, more, code in (
        (f"gs://no-{bucket}/v", (), 3),
        (f"gs://{bucket}/other", (), 3),
        (f"gs://{bucket}/v", ("--pos", "9000,0,0"), 2),
    ):
        done = run_view("--link", "--dest", place, *more)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("error: ")


def test_the_document_tells_where_it_is_served(volume: Path, tmp_path: Path) -> None:
    """One document on stdout before the first request; then it is served until Ctrl-C."""
    running = View(tmp_path / "log", "--dest", str(volume), "--no-browser", "--json")
    text = ""
    while not text.endswith("}\n"):
        text += f"{running.line()}\n"
    found = ViewDocument.model_validate_json(text)
    assert (found.dest, found.layer, found.served) == (str(volume), "volume", True)
    assert (found.scales, found.of_scales) == ((0, 1, 2), 3)
    assert (
        found.position
        == choose_position(
            open_storage(str(volume)), VolumeSpec.parse((volume / "info").read_bytes())
        ).position
    )
    try:
        assert status_of(found.url) == 200
    finally:
        code, said = running.stop(signal.SIGINT)
    assert code == 130
    assert "Ctrl-C ends it" in said


def test_no_public_link_to_a_folder(volume: Path) -> None:
    """A public viewer cannot read this machine's files."""
    done = run_view("--link", "--dest", str(volume))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: no public viewer can read {volume}\nhint: --link")


def state_of(link: str) -> dict[str, Any]:
    """The viewer's state in a link."""
    prefix, _, fragment = link.partition("#!")
    assert prefix == PUBLIC_VIEWER
    state: dict[str, Any] = json.loads(urllib.parse.unquote(fragment))
    return state


def test_pictures_have_neuroglancers_colours(volume: Path, browser: "WebDriver") -> None:
    """What Chromium shows of the slice that `thumb` writes has the same colours."""
    import neuroglancer  # noqa: PLC0415 - the import takes a second
    from PIL import Image  # noqa: PLC0415 - likewise

    storage, spec = open_storage(str(volume)), VolumeSpec.parse((volume / "info").read_bytes())
    finest = list(read_slices(storage, spec))[-1]
    ours = np.unique(colour_labels(finest.labels).reshape(-1, 3), axis=0).astype(int)
    with open_viewer(str(volume)) as opened:
        (viewer,) = neuroglancer.server.global_server.viewers.values()
        with viewer.txn() as state:
            state.layers[0].segments, state.layers[0].selected_alpha = [], 1.0
            state.layout, state.show_axis_lines, state.cross_section_scale = "xy", False, 0.5
            state.position = [125, 100, finest.begin[2] + 0.5]
        browser.get(opened.url)

        def drawn() -> bool:
            image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
            pixels = np.asarray(image)[60:].reshape(-1, 3).astype(int)
            vivid = pixels[np.ptp(pixels, axis=1) > 60]
            colours, counts = np.unique(vivid, axis=0, return_counts=True)
            large = colours[(counts > 200) & (colours != FRAME).any(axis=1)]
            away = np.abs(large[:, None] - ours[None]).max(axis=2).min(axis=1)
            return len(large) > COLOURS and bool((away <= 1).all())

        wait_for(drawn, "a slice in our colours alone", within_s=120)


def test_thumb_writes_a_picture_of_each_scale(volume: Path, tmp_path: Path) -> None:
    """Named after the scales, bounded, no graphics in a pipe; a folder is made."""
    from PIL import Image  # noqa: PLC0415 - the import takes time

    out = tmp_path / "new" / "pictures"
    done = run_in_process("producer", "thumb", "--dest", str(volume), "--out", str(out),
                          "--pixels", "100", folder=tmp_path)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        f"{out}/s{n}.png" for n in (2, 1, 0)
    ]
    assert "scale 0, 100 x 100 voxels from " in done.stdout
    storage, spec = open_storage(str(volume)), VolumeSpec.parse((volume / "info").read_bytes())
    for found in read_slices(storage, spec, 100):
        image = np.asarray(Image.open(out / f"s{found.scale}.png").convert("RGB"))
        assert np.array_equal(image, colour_labels(found.labels))


def test_thumb_of_an_empty_volume(tmp_path: Path) -> None:
    """Nothing to show: said, with what to look at."""
    (tmp_path / "info").write_text(json.dumps(sample_spec(SIZE, 3)))
    done = run_in_process("producer", "thumb", "--dest", str(tmp_path), "--out",
                          str(tmp_path / "out"), folder=tmp_path)  # fmt: skip
    assert done.returncode == 3
    assert "has no shard with a segment" in done.stderr
    assert not (tmp_path / "out").exists()
