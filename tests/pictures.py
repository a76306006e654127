"""Makes the pictures of README.md from the reference runs: `python -m tests.pictures [FOLDER]`.

They are screenshots of real reports in Chromium, so what README shows is what a reader gets.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from host import BROWSERS
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from harness import resources
from harness.analysis.frames import load_run
from harness.report import build


@dataclass(frozen=True)
class Picture:
    """What to show: an element of a reference run's report, or its first screen."""

    name: str
    scenario: str
    element: str = ""
    dark: bool = False


PICTURES = (
    Picture("first-screen", "quick"),
    Picture("startup-dark", "quick", "section[id^=startup] picture", dark=True),
    Picture("ladder", "ladder", "section[id^=ladder] picture"),
)
WIDTH, HEIGHT, SCALE, COLOURS = 1000, 940, 1.6, 256
DITHER = Image.Dither.NONE


def main(folder: Path) -> None:
    """Write all pictures into a folder."""
    program = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        for picture in PICTURES:
            page = Path(scratch, f"{picture.scenario}.html")
            if not page.exists():
                build([load_run(resources.reference_runs()[picture.scenario])], page)
            shot = Image.open(BytesIO(_take(browser, page, picture)))
            small = shot.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=DITHER)
            small.save(folder / f"{picture.name}.png", optimize=True)
        browser.close()


def _take(browser: Browser, page: Path, picture: Picture) -> bytes:
    with browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE,
        color_scheme="dark" if picture.dark else "light",
    ) as context:  # fmt: skip
        shown = context.new_page()
        shown.goto(page.as_uri())
        shown.wait_for_function("[...document.images].every(i => i.complete)")
        if picture.element:
            return shown.locator(picture.element).first.screenshot()
        return shown.screenshot()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
