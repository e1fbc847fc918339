"""Neuroglancer in headless Chromium, which draws in software and talks to this machine only."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import numpy.typing as npt
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WIDTH, HEIGHT = 1200, 800
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--hide-scrollbars",
    # Whatever the page asks of the network, only this machine answers.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

Pixels = npt.NDArray[np.uint8]


def needs_chromium() -> None:
    """Skip at home, fail in CI, where there is no Chromium."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    if os.environ.get("CI"):
        pytest.fail("CI needs chromium and chromedriver")
    pytest.skip("needs chromium and chromedriver")


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser whose page is 1200 x 800 pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield browser
    finally:
        browser.quit()


def screenshot(browser: webdriver.Chrome, file: Path | None = None) -> Pixels:
    """The page as (rows, columns, RGB); kept in `file`, if one is named."""
    data = browser.get_screenshot_as_png()
    if file is not None:
        file.write_bytes(data)
    pixels = matplotlib.image.imread(BytesIO(data), format="png")
    return (pixels[..., :3] * 255).astype(np.uint8)


def colours(pixels: Pixels) -> set[tuple[int, int, int]]:
    """The vivid colours that cover at least 100 pixels; the viewer's own greys do not count."""
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    spread = found.max(axis=1).astype(int) - found.min(axis=1)
    return {(int(r), int(g), int(b)) for r, g, b in found[(counts >= 100) & (spread > 40)]}


def wait_for_colours(browser: webdriver.Chrome, least: int, within_s: float = 90.0) -> Pixels:
    """Wait until the viewer has drawn so many segments."""
    until = time.monotonic() + within_s
    pixels = screenshot(browser)
    while len(colours(pixels)) < least:
        assert time.monotonic() < until, f"{len(colours(pixels))} colours after {within_s:.0f} s"
        time.sleep(1)
        pixels = screenshot(browser)
    return pixels
