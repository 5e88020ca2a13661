"""The docs' pictures, in two minutes: `python -m tests.browser.screenshots [FOLDER]`, by default `docs/images`."""

import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .apps import write_apps
from .chromium import Watched, chromium, expect, opened, why_not
from .nodes import ROOT, Shown, node

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Milliseconds for which things run before they are shown.
A_WHILE = 70_000


def main(into: Path) -> None:
    """Start two nodes of a small shop, let a runner fail and the leader die, and take pictures of it."""
    if (reason := why_not()) is not None:
        raise SystemExit(reason)
    into.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, tempfile.TemporaryDirectory() as temporary:
        folder = write_apps(Path(temporary))
        with node(folder, "shop.py:jobs", "alpha", ttl="6") as alpha:
            alpha.process.wait_for("leader_started")
            with node(folder, "shop.py:jobs", "beta", ttl="6") as beta:
                of_leader(browser, alpha, folder, into)
                of_standby(browser, alpha, beta, into)


def of_leader(browser: "Browser", leader: Shown, folder: Path, into: Path) -> None:
    """The leader with a runner that fails and one that is paused, on a screen and on a phone."""
    with opened(browser, leader.url) as seen:
        live(seen)
        seen.page.wait_for_timeout(A_WHILE)
        (folder / "report.fails").touch()
        expect(seen.page.locator("#errors")).to_contain_text("3 times")
        expect(seen.page.locator("#at-work")).to_contain_text("reindex")
        take(seen, into / "status_page.png")
    with opened(browser, leader.url, width=390, height=844) as seen:
        live(seen)
        take(seen, into / "status_page_phone.png")


def of_standby(browser: "Browser", leader: Shown, standby: Shown, into: Path) -> None:
    """The standby in the dark, when it has taken over, and when it is gone too."""
    with opened(browser, standby.url, scheme="dark") as seen, opened(browser, standby.url, height=480) as light:
        live(seen)
        take(seen, into / "status_page_standby.png")
        leader.process.signal(signal.SIGKILL)
        expect(light.page.locator("#leader")).to_have_text("beta leads")
        expect(light.page.locator("#nodes")).to_contain_text("silent, was leader")
        light.page.wait_for_timeout(4000)
        take(light, into / "status_page_takeover.png")
        standby.process.signal(signal.SIGKILL)
        expect(light.page.locator("#lost")).to_be_visible()
        light.page.wait_for_timeout(2000)
        take(light, into / "status_page_lost.png")


def live(seen: Watched) -> None:
    """Wait until the page has heard of its node, and shown it."""
    expect(seen.page.locator("body")).to_have_attribute("data-link", "live")
    seen.page.wait_for_timeout(2000)


def take(seen: Watched, file: Path, **options: Any) -> None:
    """Take a picture of what is on the screen."""
    seen.page.screenshot(path=file, **options)
    print(f"{file.name}: {file.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images")
