"""Commands of the page: with the token, without it, by the keyboard alone, and for runners of any name."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..local_api import TOKEN
from .apps import NASTY
from .chromium import Watched, expect, opened
from .nodes import Shown, node

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

# Chromium tells of each answer that is no success, on its own account.
REFUSED = "the server responded with a status of 4"


def button(seen: Watched, name: str) -> "Locator":
    return seen.page.get_by_role("button", name=name, exact=True)


def told(seen: Watched, text: str) -> None:
    expect(seen.page.locator("#outcome-text")).to_contain_text(text)


def give_token(seen: Watched, token: str = TOKEN) -> None:
    seen.page.get_by_label("Token of this node's local API").fill(token)
    button(seen, "Use it").click()


def posts(seen: Watched) -> list[str]:
    return [url for url in seen.requests if "/v1/runners/" in url]


def test_run_now_works_with_the_token_which_this_tab_alone_keeps(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url) as seen:
        button(seen, "Run backup now").click()
        expect(seen.page.locator("#token-why")).to_have_text("Run of backup: this needs the token.")
        assert posts(seen) == []
        give_token(seen)
        told(seen, "Run of backup: completed.")
        row = seen.page.get_by_role("row", name="backup")
        expect(row).to_contain_text("completed")
        # It is not asked for again, and is nowhere but there.
        seen.note("#outcome-text")
        button(seen, "Run backup now").click()
        seen.noted("Run of backup: asked for…")
        seen.noted("Run of backup: completed.")
        assert seen.page.evaluate("Object.values(sessionStorage)") == [TOKEN]
        assert seen.page.evaluate("localStorage.length") == 0
        assert seen.page.context.cookies() == []
        assert TOKEN not in "".join([*seen.requests, seen.page.url, seen.page.content()])
        button(seen, "Token kept…").click()
        button(seen, "Forget it").click()
        expect(button(seen, "Token…")).to_be_visible()
        assert seen.page.evaluate("sessionStorage.length") == 0
        seen.assert_clean()
        another = seen.page.context.new_page()
        another.goto(shop.url)
        assert another.evaluate("sessionStorage.length") == 0


def test_a_token_of_any_letters_is_borne(browser: "Browser", folder: Path) -> None:
    token = "tökén 日本"
    with (
        node(folder, "shop.py:jobs", "alpha", BAA_CONDUCTOR_LOCAL_API_TOKEN=token) as shown,
        opened(browser, shown.url) as seen,
    ):
        button(seen, "Run backup now").click()
        give_token(seen, token)
        told(seen, "Run of backup: completed.")
        seen.assert_clean()


def test_run_now_is_refused_in_words_without_the_token_and_with_a_wrong_one(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url) as seen:
        button(seen, "Run backup now").click()
        button(seen, "Cancel").click()
        told(seen, "Run of backup: refused: commands need the token.")
        assert posts(seen) == []
        button(seen, "Run backup now").click()
        give_token(seen, "wrong")
        told(seen, "Run of backup: refused: the bearer token is missing, or is not this server's.")
        assert seen.page.evaluate("sessionStorage.length") == 0
        assert len(posts(seen)) == 1
        seen.assert_clean(beside=REFUSED)


def test_a_node_without_a_token_says_how_to_give_it_one(browser: "Browser", folder: Path) -> None:
    with (
        node(folder, "shop.py:jobs", "alpha", BAA_CONDUCTOR_LOCAL_API_TOKEN="") as alpha,
        opened(browser, alpha.url) as seen,
    ):
        button(seen, "Pause report").click()
        told(seen, "refused: writing needs a token: start with BAA_CONDUCTOR_LOCAL_API_TOKEN")
        seen.assert_clean(beside=REFUSED)


def test_a_run_that_fails_is_told_of_as_one(browser: "Browser", shop: Shown, shop_folder: Path) -> None:
    failing = shop_folder / "backup.fails"
    failing.touch()
    try:
        with opened(browser, shop.url) as seen:
            button(seen, "Run backup now").click()
            give_token(seen)
            told(seen, "Run of backup: ended, and failed: see Errors.")
            expect(seen.page.get_by_role("row", name="backup")).to_contain_text("no answer from mail.example:587")
            failing.unlink()
            button(seen, "Run backup now").click()
            told(seen, "Run of backup: completed.")
            expect(seen.page.locator("#health")).to_have_text("all are well")
    finally:
        failing.unlink(missing_ok=True)


def test_a_runner_is_paused_and_resumed_on_every_node(browser: "Browser", folder: Path) -> None:
    with node(folder, "shop.py:jobs", "alpha") as alpha:
        alpha.process.wait_for("leader_started")
        with (
            node(folder, "shop.py:jobs", "beta") as beta,
            opened(browser, alpha.url) as seen,
            opened(browser, beta.url) as other,
        ):
            expect(other.page.locator("#node-state")).to_have_text("stands by")
            button(seen, "Pause invoices").click()
            give_token(seen)
            told(seen, "invoices: is paused on every node.")
            expect(seen.page.get_by_role("row", name="invoices")).to_contain_text("paused")
            expect(button(seen, "Resume invoices")).to_be_visible()
            expect(other.page.get_by_role("row", name="invoices")).to_contain_text("paused")
            button(other, "Resume invoices").click()
            give_token(other)
            told(other, "invoices: is resumed.")
            expect(button(seen, "Pause invoices")).to_be_visible()
            # What a standby would refuse it does not ask for.
            expect(button(other, "Run invoices now")).to_be_disabled()
            button(other, "Run invoices now").press("Enter")
            told(other, "refused: this node does not lead: ask alpha, by its own page.")
            expect(button(other, "Run a tick now")).to_be_hidden()
            expect(button(other, "Resign…")).to_be_hidden()
            seen.assert_clean()
            other.assert_clean()


def test_a_leader_resigns_once_that_is_confirmed(browser: "Browser", folder: Path) -> None:
    with node(folder, "shop.py:jobs", "alpha") as alpha:
        alpha.process.wait_for("leader_started")
        with node(folder, "shop.py:jobs", "beta"), opened(browser, alpha.url) as seen:
            expect(seen.page.locator("#nodes")).to_contain_text("standby")
            button(seen, "Resign…").click()
            button(seen, "Keep leading").click()
            expect(seen.page.locator("#outcome")).to_be_hidden()
            expect(seen.page.locator("#leader")).to_have_text("alpha leads")
            button(seen, "Resign…").click()
            button(seen, "Resign").click()
            give_token(seen)
            expect(seen.page.locator("#leader")).to_have_text("beta leads")
            told(seen, "Resign: the lease was given back.")
            seen.assert_clean()


def test_beyond_loopback_reading_needs_the_token_and_the_page_asks_for_it(browser: "Browser", folder: Path) -> None:
    with node(folder, "shop.py:jobs", "alpha", url="http://0.0.0.0:0") as alpha, opened(browser, alpha.url) as seen:
        expect(seen.page.locator("#token-why")).to_contain_text("Reading needs the token")
        expect(seen.page.locator("#leader")).to_have_text("…")
        give_token(seen, "wrong")
        expect(seen.page.locator("#token-why")).to_contain_text("not this server's")
        give_token(seen)
        expect(seen.page.locator("#leader")).to_have_text("alpha leads")
        expect(seen.page.locator("#lost")).to_be_hidden()
        seen.assert_clean(beside=REFUSED)


def test_names_that_look_like_html_are_text_and_their_runners_obey(browser: "Browser", folder: Path) -> None:
    with node(folder, "hostile.py:jobs", "<b>alpha</b>") as alpha, opened(browser, alpha.url) as seen:
        names = seen.page.locator("#runners tbody .name")
        expect(names).to_have_count(len(NASTY))
        assert sorted(name for name in names.all_text_contents()) == sorted(NASTY)
        expect(seen.page.locator("#leader")).to_have_text("<b>alpha</b> leads")
        for name in NASTY:
            row = seen.page.locator("#runners tbody tr").filter(has=seen.page.get_by_text(name, exact=True)).first
            expect(row).to_contain_text("failed")
            expect(seen.page.locator("#errors")).to_contain_text(name)
        assert seen.page.locator("main img, main script, main b").count() == 0
        button(seen, f"Pause {NASTY[0]}").click()
        give_token(seen)
        for name in NASTY[1:]:
            button(seen, f"Pause {name}").click()
            told(seen, f"{name}: is paused on every node.")
        expect(seen.page.locator("#runners .flag > .paused")).to_have_count(len(NASTY))
        assert seen.page.locator("img, main script").count() == 0
        seen.assert_clean()


def test_all_can_be_done_by_the_keyboard_and_the_focus_is_seen(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url) as seen:
        page = seen.page
        expect(page.get_by_role("row", name="backup")).to_be_visible()
        expect(button(seen, "Resign…")).to_be_visible()
        reached: list[str] = []
        while "Pause reindex" not in reached:
            page.keyboard.press("Tab")
            name, outline = page.evaluate("""() => {
                const focused = document.activeElement, style = getComputedStyle(focused);
                return [focused.ariaLabel ?? focused.textContent, `${style.outlineStyle} ${style.outlineWidth}`];
            }""")
            assert outline == "solid 3px", name
            assert len(reached) < 60
            reached.append(name)
        assert reached[:3] == ["To the runners", "Times in UTC", "Token…"]
        assert {"Run a tick now", "Resign…", "Minute of the last hour", "Run backup now", "Pause backup"} <= set(
            reached
        )
        # Back to where a run is asked for; the token's dialog has the focus, gives it back, and Escape leaves it.
        while page.evaluate("document.activeElement.ariaLabel") != "Run backup now":
            page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Token of this node's local API")).to_be_focused()
        page.keyboard.press("Escape")
        told(seen, "refused: commands need the token")
        expect(button(seen, "Run backup now")).to_be_focused()
        page.keyboard.press("Space")
        expect(page.get_by_label("Token of this node's local API")).to_be_focused()
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        told(seen, "Run of backup: completed.")
        expect(button(seen, "Run backup now")).to_be_focused()
        page.get_by_role("slider").focus()
        page.keyboard.press("Home")
        expect(page.locator("#minute")).to_contain_text("not known, the local API did not run")
        page.keyboard.press("End")
        expect(page.locator("#minute")).to_contain_text("this minute")
        seen.assert_clean()
