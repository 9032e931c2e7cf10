"""A headless Chromium at the widths of a laptop and of a phone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")
WIDTHS = {"laptop": (1280, 800), "phone": (390, 844)}
# Chromium logs the statuses of refusals and failures; the tests intend these.
_INTENDED = ("401", "422", "502")

# An answer comes in milliseconds, and beside another test's trainings in seconds.
expect.set_options(timeout=60_000)


@contextmanager
def open_page(url: str, device: str) -> Iterator[Page]:
    """Open a page; at the end it must fit the device's width and have reported no error."""
    width, height = WIDTHS[device]
    errors: list[str] = []

    def keep_error(line: ConsoleMessage) -> None:
        if line.type == "error" and not any(status in line.text for status in _INTENDED):
            errors.append(line.text)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, has_touch=device == "phone")
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", keep_error)

            page.goto(url)
            yield page
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert errors == []
        finally:
            browser.close()
