"""
Make the pictures of README.md and docs/console.md anew: `make screenshots`, or `python -m tests.browser.screenshots`.

Each page is drawn 1440 pixels wide, light and dark, from `sample_studio.py`. `tests/docs/test_pictures.py` checks that
the documentation shows exactly these files.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.browser.sample_studio import SHOWN, TENANTS, Studio, studio
from tests.browser.tabs import signed_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
WIDE, HIGH = 1440, 900
LARGEST = 150_000
SETTLED_MS = 1_500
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SHOTS = {
    "overview": "/console",
    "sheet": "/console/jobs?view=sheet&state=succeeded",
    "job": "/console/jobs/{job}",
    "money": f"/console/tenants/{TENANTS[0]}",
}
"""The pages that are drawn, by the names that their files contain."""


def file_of(name: str, theme: str) -> str:
    """Return the name of a picture below `docs`."""
    return f"console-{name}-{theme}.webp"


PICTURES = tuple(file_of(name, theme) for name in SHOTS for theme in THEMES)


def shoot(page: Page) -> bytes:
    """
    Return a screenshot of the visible part of a page as WebP, after its pictures have loaded.

    Raises `ValueError` if the screenshot is not below `LARGEST` bytes in any quality.
    """
    page.wait_for_load_state("load")
    page.wait_for_timeout(SETTLED_MS)  # for pictures that load when they are seen
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in (84, 76, 68, 60):
        data = io.BytesIO()
        shot.save(data, "WEBP", quality=quality, method=6)
        if data.tell() < LARGEST:
            return data.getvalue()
    raise ValueError(f"{page.url} is larger than {LARGEST:,} bytes")


def write_all(made: Studio, browser: Browser, folder: Path) -> None:
    """Write all pictures into a folder."""
    for theme in THEMES:
        person = signed_in(browser, made.url, made.secret, theme)
        page = person.new_page()
        page.set_viewport_size({"width": WIDE, "height": HIGH})
        for name, address in SHOTS.items():
            page.goto(made.url + address.format(job=made.jobs[SHOWN]))
            (folder / file_of(name, theme)).write_bytes(shoot(page))
        person.close()


def main() -> None:
    """Write the pictures, into `docs` unless another folder is named, and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, studio(Path(folder)) as made, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        write_all(made, browser, options.folder)
        browser.close()
    for name in PICTURES:
        sys.stdout.write(f"{name} {(options.folder / name).stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
