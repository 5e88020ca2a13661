"""A Chromium of the system's, driven by Playwright; and what is to be said where there is none."""

import importlib.util
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

#: Debian's; another one can be named.
EXECUTABLE: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = 60_000
_NOTE: Final = """(place) => {
    const element = document.querySelector(place);
    window.noted = [];
    const note = () => window.noted.push(element.textContent);
    new MutationObserver(note).observe(element, { childList: true, characterData: true, subtree: true });
}"""
Scheme = Literal["dark", "light"]


def why_not() -> str | None:
    """Return why the page cannot be looked at here, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed, see the extra `test`"
    if not Path(EXECUTABLE).exists():
        return f"there is no {EXECUTABLE}: apt-get install chromium, or name one by CHROMIUM"
    return None


def must_be_there() -> bool:
    """Return whether a missing browser is a failure: in CI it is."""
    return os.environ.get("CI", "").lower() in ("1", "true")


@contextmanager
def chromium() -> "Generator[Browser]":
    """Start the browser; it ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=list(_FLAGS), timeout=2 * PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and all that it said and asked for: to the console, of its policy, of other origins."""

    def __init__(self, context: "BrowserContext", url: str) -> None:
        self.url = url
        self.console: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dialog)
        self.page.goto(url)

    def note(self, place: str) -> None:
        """Note each text that an element has from now on, so that none is missed that is soon followed by another."""
        self.page.evaluate(_NOTE, place)

    def noted(self, text: str) -> None:
        """Wait until the element that is noted has said something."""
        self.page.wait_for_function("(text) => window.noted.some((each) => each.includes(text))", arg=text)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def assert_clean(self, *, beside: str | None = None) -> None:
        """Nothing went wrong, and nothing was asked of another; `beside`: what a line of the console may have in it."""
        assert self.errors == []
        assert self.dialogs == []
        assert [line for line in self.console if beside is None or beside not in line] == []
        assert [url for url in self.requests if not url.startswith(f"{self.url}/") and url != self.url] == []


@contextmanager
def opened(
    browser: "Browser", url: str, *, width: int = 1280, height: int = 800, scheme: Scheme = "light", **options: Any
) -> Generator[Watched]:
    """Open the page at a URL, in a context of its own."""
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, locale="en-GB", **options)  # type: ignore[arg-type] # a TypedDict
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield Watched(context, url)
    finally:
        context.close()


def expect(target: Any) -> Any:
    """Return Playwright's assertions, which wait: for a machine that is busy, long."""
    from playwright.sync_api import expect as expected

    expected.set_options(timeout=PATIENCE_MS)
    return expected(target)
