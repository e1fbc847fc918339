"""Headless Chromium that draws in software, and what its screenshots show."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--window-size=1200,800",
)


@contextmanager
def running_chromium() -> Iterator[webdriver.Chrome]:
    """A browser; where Chromium is missing, tests skip at home and fail in CI."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver must be installed where CI is set")
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.page_load_strategy = "eager"  # the viewer's event stream never ends
    for flag in _FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def panel_colours(png: bytes) -> list[int]:
    """Number of vivid colours in each of the viewer's four panels; tiny spots do not count."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int64)
    pixels = pixels[60:]  # below the bars
    middle_y, middle_x = pixels.shape[0] // 2, pixels.shape[1] // 2
    found = []
    for rows in (slice(None, middle_y), slice(middle_y, None)):
        for columns in (slice(None, middle_x), slice(middle_x, None)):
            panel = pixels[rows, columns].reshape(-1, 3)
            vivid = panel[np.ptp(panel, axis=1) > 60] >> 3
            _, counts = np.unique(vivid @ [1, 1 << 8, 1 << 16], return_counts=True)
            found.append(int((counts >= 25).sum()))
    return found
