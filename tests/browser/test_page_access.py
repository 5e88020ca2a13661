"""Whoever sees little, or not at all, or on a phone, is told the same."""

from typing import TYPE_CHECKING, Any, get_args

import pytest

from .chromium import Scheme, Watched, expect, opened
from .nodes import Shown

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

CONTROLS = {"button", "checkbox", "combobox", "link", "meter", "searchbox", "slider", "textbox", "DisclosureTriangle"}
# The contrast of each text that is seen, by WCAG's formula, with the colour behind it; only what is too faint is told.
FAINT = """(least) => {
    const drawing = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        drawing.clearRect(0, 0, 1, 1);
        drawing.fillStyle = color;
        drawing.fillRect(0, 0, 1, 1);
        return [...drawing.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (color) => {
        const [red, green, blue] = color.slice(0, 3).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const color = rgba(getComputedStyle(each).backgroundColor);
            if (color[3] === 255) return color;
        }
        return [255, 255, 255, 255];
    };
    const faint = [];
    let count = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("noscript")) continue;
        const [one, other] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        count += 1;
        if (contrast < least) faint.push([walker.currentNode.data.trim(), contrast]);
    }
    return [count, faint];
}"""

TEXT_AND_TITLE = "(element) => [element.innerText, element.title.split('\\n')[0]]"


def in_order(seen: Watched) -> None:
    expect(seen.page.locator("body")).to_have_attribute("data-link", "live")
    expect(seen.page.get_by_role("row", name="outbox")).to_contain_text("completed")


def another_tick(seen: Watched) -> None:
    """Wait until a tick is told of that began in another second than the last."""
    latest = seen.page.get_by_role("row", name="outbox").locator("time").first
    expect(latest).not_to_have_attribute("title", latest.get_attribute("title"))


def nodes_of_accessibility(seen: Watched) -> list[tuple[str, str]]:
    """Return role and name of everything that a screen reader finds."""
    session = seen.page.context.new_cdp_session(seen.page)
    tree: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    told = [node for node in tree if not node.get("ignored")]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in told]


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_every_text_has_enough_contrast(browser: "Browser", shop: Shown, shop_folder: "Path", scheme: Scheme) -> None:
    (shop_folder / "invoices.fails").touch()
    try:
        with opened(browser, shop.url, scheme=scheme) as seen:
            in_order(seen)
            expect(seen.page.get_by_role("row", name="invoices")).to_contain_text("failed")
            seen.page.locator("#tick-table summary").click()
            expect(seen.page.locator("#tick-rows tr").first).to_be_visible()
            count, faint = seen.page.evaluate(FAINT, 4.5)
            assert count > 100
            assert faint == []
            seen.page.get_by_role("button", name="Token…").click()
            assert seen.page.evaluate(FAINT, 4.5)[1] == []
            seen.page.keyboard.press("Escape")
            # As it looks while the connection is lost: grey besides, which keeps the luminance.
            seen.page.evaluate("document.getElementById('lost').hidden = false")
            assert seen.page.evaluate(FAINT, 4.5)[1] == []
            # The measure itself: there is some text that is not black on white.
            assert seen.page.evaluate(FAINT, 20)[1] != []
    finally:
        (shop_folder / "invoices.fails").unlink()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_has_a_name_and_every_table_its_headers(browser: "Browser", shop: Shown, width: int) -> None:
    with opened(browser, shop.url, width=width) as seen:
        in_order(seen)
        told = nodes_of_accessibility(seen)
        assert [role for role, name in told if role in CONTROLS and not name.strip()] == []
        assert {"banner", "main", "heading", "meter", "slider", "status"} <= {role for role, _ in told}
        assert {("columnheader", name) for name in ("Runner", "Last run", "Next due", "Node", "State")} <= set(told)
        assert ("table", "Runners 8") in told
        assert any(role == "rowheader" and name.startswith("outbox") for role, name in told)
        assert any(role == "region" and name.startswith("Errors") for role, name in told)
        # Also by a phone's one column, where rows are blocks to the eye.
        expect(seen.page.get_by_role("row", name="outbox").get_by_role("cell")).to_have_count(4)
        drawing = seen.page.get_by_role("row", name="outbox").get_by_role("img")
        assert "median" in (drawing.get_attribute("aria-label") or "")


def test_a_screen_reader_is_told_little(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url) as seen:
        in_order(seen)
        # That a runner is well again that another test had fail is news, but not to a page that never saw it fail.
        expect(seen.page.locator("#health")).to_have_text("all are well")
        seen.page.reload()
        in_order(seen)
        seen.page.evaluate("""() => {
            window.told = [];
            const note = ({ target }) => window.told.push(target.textContent);
            const observer = new MutationObserver((changes) => changes.forEach(note));
            for (const region of document.querySelectorAll("[role=status], [role=alert], [aria-live]")) {
                observer.observe(region, { childList: true, characterData: true, subtree: true });
            }
        }""")
        # Some ticks, renewals and heartbeats, none of which is news.
        for _ in range(3):
            another_tick(seen)
        assert seen.page.evaluate("window.told") == []


@pytest.mark.parametrize("width", [320, 390, 700, 1280])
def test_nothing_is_wider_than_the_screen_or_too_small_to_touch(browser: "Browser", shop: Shown, width: int) -> None:
    with opened(browser, shop.url, width=width) as seen:
        in_order(seen)
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        heights = seen.page.evaluate("""() => [...document.querySelectorAll("button")]
            .filter((button) => button.checkVisibility()).map((button) => button.getBoundingClientRect().height)""")
        assert min(heights) >= (40 if width < 640 else 24)


def test_times_are_local_and_on_demand_in_utc(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url, timezone_id="Asia/Kathmandu") as seen:
        in_order(seen)
        due = seen.page.get_by_role("row", name="cleanup").locator("time").last
        local, title = due.evaluate(TEXT_AND_TITLE)
        assert title.endswith(":00 UTC")
        seen.page.get_by_role("button", name="Times in UTC").click()
        expect(due).not_to_have_text(local)
        text, title = due.evaluate(TEXT_AND_TITLE)
        moment = title.split()[1]
        # Of another day the day is told, and the time to the minute.
        assert text == moment or text.endswith(f" {moment[:5]}")
        seen.assert_clean()


def test_the_policy_lets_no_inline_code_run(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url) as seen:
        in_order(seen)
        with seen.page.expect_console_message(lambda message: "Content Security Policy" in message.text):
            seen.page.evaluate("""() => {
                const script = document.createElement("script");
                script.textContent = "window.ran = true";
                document.body.append(script);
            }""")
        assert seen.page.evaluate("window.ran") is None
