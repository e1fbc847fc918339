"""The report's map in Chromium: the pointer names shards, and no other script runs."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from braid.precomputed.sharding import all_shards, shard_box, shard_hex
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, read_status
from delivery.messages import parse_key
from memmodel.run_context import RunContext
from producer.report.facts import read_facts
from producer.report.page import page
from tests.support.browser import running_chromium
from tests.support.ledgers import at, fail, finish, made_run, row
from tests.support.run_harness import small_spec

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

NAMES = """
const found = [];
for (const picture of document.querySelectorAll(".map")) {
  picture.scrollIntoView({block: "center"});
  const box = picture.getBoundingClientRect(), cells = picture.viewBox.baseVal;
  for (let y = 0; y < cells.height; y++) for (let x = 0; x < cells.width; x++) {
    const clientX = box.left + (x + 0.5) / cells.width * box.width;
    const clientY = box.top + (y + 0.5) / cells.height * box.height;
    const place = {bubbles: true, clientX, clientY};
    const on = document.elementFromPoint(clientX, clientY);
    on.dispatchEvent(new PointerEvent("pointermove", place));
    const tip = document.querySelector(".tip");
    found.push(tip.hidden ? "" : tip.textContent);
  }
}
return found;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator["WebDriver"]:
    """Chromium."""
    with running_chromium() as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two scales of uneven grids, in some states; some shards are not planned."""
    spec = small_spec((330, 200, 150), 2)
    dice = random.Random(2)
    keys = [
        f"s{scale.index}/{shard_hex(shard, scale.sharding)}"
        for scale in spec.scales
        for shard in all_shards(scale)
    ]
    keys = [key for key in keys if dice.random() < 0.9]
    made = made_run(
        tmp_path_factory.mktemp("map"), [row(key) for key in keys], downres=(1,),
        volume=spec.to_info(),
    )  # fmt: skip
    for key in keys:
        if dice.random() < 0.7:
            finish(made, key, chunks=dice.choice((1, 2, 77, 32_768)))
        elif dice.random() < 0.5:
            fail(made, key)
    return made


@pytest.fixture(scope="module")
def address(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the report of this run."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(read_facts(run, read_status(run), at(60))))
    return path.as_uri()


def expected(run: Run, status: RunStatus) -> list[str]:
    """What the pointer says of every planned shard."""
    found = []
    for key, state in status.states.items():
        scale, name = parse_key(key)
        spec = RunContext(run).volume.scales[scale]
        begin, end = shard_box(spec, int(name, 16))
        receipt = status.receipts.get(key)
        chunks = (
            f", {receipt.chunks:,} chunk{'' if receipt.chunks == 1 else 's'}" if receipt else ""
        )
        spans = [
            f"{axis} {b * 64:,}\N{EN DASH}{min(e * 64, size) - 1:,}"
            for axis, b, e, size in zip("xyz", begin, end, spec.size, strict=True)
        ]
        found.append(f"{key}: {state}{chunks}\n{', '.join(spans)}")
    return sorted(found)


def test_the_pointer_names_each_shard(browser: "WebDriver", run: Run, address: str) -> None:
    """Key, state, chunks and voxels, once for each shard of the plan and nowhere else."""
    browser.get(address)
    found = browser.execute_script(NAMES)
    assert sorted(name for name in found if name) == expected(run, read_status(run))


def test_it_fits_a_phone(browser: "WebDriver", address: str) -> None:
    """No map is wider than the page."""
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(address)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width == 400


def test_no_other_script_runs(browser: "WebDriver", address: str, tmp_path: Path) -> None:
    """Even if a text of others became markup."""
    own = Path(address.removeprefix("file://")).read_text()
    other = "<script>document.title = 'ran'</script>"
    open_page, closed_page = tmp_path / "open.html", tmp_path / "closed.html"
    closed_page.write_text(own.replace("</main>", f"{other}</main>"))
    open_page.write_text(closed_page.read_text().replace("Content-Security-Policy", "x"))
    browser.get(open_page.as_uri())
    assert browser.title == "ran"  # it would
    browser.get(closed_page.as_uri())
    assert browser.title.startswith("shardlift run")
