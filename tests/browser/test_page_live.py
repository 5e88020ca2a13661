"""The page follows its node without a reload: a takeover, a failure, a node that is gone and comes back."""

import itertools
import re
import signal
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from .chromium import PATIENCE_MS, Watched, expect, opened
from .nodes import SHORT_TTL, Shown, free_port, node, outbox_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LEADER, STATE, RUNNERS = "#leader", "#node-state", "#runners"


def text_is(seen: Watched, place: str, text: str) -> None:
    expect(seen.page.locator(place)).to_have_text(text)


def live(seen: Watched) -> None:
    expect(seen.page.locator("body")).to_have_attribute("data-link", "live")


def never_reloads(seen: Watched) -> None:
    seen.page.evaluate("window.loadedOnce = true")


def was_not_reloaded(seen: Watched) -> None:
    assert seen.page.evaluate("window.loadedOnce") is True
    assert [url for url in seen.requests if url.endswith("/")] == [f"{seen.url}/"]


def test_the_page_of_the_second_node_shows_the_takeover_without_a_reload(browser: "Browser", folder: Path) -> None:
    app = outbox_in(folder)
    with node(folder, app, "alpha", ttl=SHORT_TTL) as alpha:
        alpha.process.wait_for("leader_started")
        with node(folder, app, "beta", ttl=SHORT_TTL) as beta, opened(browser, beta.url) as seen:
            text_is(seen, LEADER, "alpha leads")
            text_is(seen, STATE, "stands by")
            expect(seen.page.locator("#nodes")).to_contain_text("leader")
            never_reloads(seen)
            seen.note("#announcer")
            alpha.process.signal(signal.SIGKILL)
            text_is(seen, LEADER, "beta leads")
            text_is(seen, STATE, "leads")
            expect(seen.page.locator("#remaining")).to_contain_text("term 2")
            seen.noted("beta leads")
            expect(seen.page.locator("#nodes")).to_contain_text("silent, was leader")
            expect(seen.page.get_by_role("row", name="outbox.dispatcher")).to_contain_text("completed")
            was_not_reloaded(seen)
            seen.assert_clean()


def test_a_failing_runner_turns_red_with_its_error_and_is_well_again(browser: "Browser", folder: Path) -> None:
    with node(folder, "shop.py:jobs", "alpha") as alpha, opened(browser, alpha.url) as seen:
        row = seen.page.get_by_role("row", name="invoices")
        expect(row).to_contain_text("completed")
        never_reloads(seen)
        seen.note("#announcer")
        (folder / "invoices.fails").touch()
        expect(row).to_contain_text("failed")
        expect(row).to_contain_text("no answer from mail.example:587 (is the relay up?)")
        expect(row.locator("use[href='#shape-failed']")).to_have_count(1)
        expect(seen.page.locator("#health")).to_have_text("1 failing: invoices")
        expect(seen.page.locator("#errors")).to_contain_text("no answer from mail.example:587")
        seen.noted("failing: invoices")
        color = row.locator(".outcome-of").evaluate("element => getComputedStyle(element).color")
        red, green, blue = (int(part) for part in color.removeprefix("rgb(").rstrip(")").split(","))
        assert red > 2 * max(green, blue)
        assert seen.page.locator(f"{RUNNERS} tbody tr").first.inner_text().startswith("invoices")
        (folder / "invoices.fails").unlink()
        expect(row).to_contain_text("completed")
        expect(seen.page.locator("#health")).to_have_text("all are well")
        was_not_reloaded(seen)
        seen.assert_clean()


def test_a_node_that_is_gone_is_told_of_and_nothing_old_looks_new_until_it_is_back(
    browser: "Browser", folder: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        node(folder, "shop.py:jobs", "alpha", url=url, ttl=SHORT_TTL) as alpha,
        opened(browser, url) as seen,
    ):
        live(seen)
        text_is(seen, LEADER, "alpha leads")
        expect(seen.page.locator("#lost")).to_be_hidden()
        expect(seen.page.locator("#runners")).to_contain_text(re.compile(r"\d s ago"))
        alpha.process.signal(signal.SIGKILL)
        expect(seen.page.locator("#lost")).to_be_visible()
        expect(seen.page.locator("#lost")).to_contain_text("Connection lost since")
        expect(seen.page.locator("#lost")).to_contain_text("What is shown is from then.")
        text_is(seen, LEADER, "When last heard: alpha leads")
        expect(seen.page.locator("#remaining")).to_have_text("how the lease stands now is not known")
        expect(seen.page.locator("#meter")).to_have_attribute("aria-valuenow", "0.00")
        expect(seen.page.locator("main")).not_to_contain_text(" ago")
        expect(seen.page.locator("#nodes time")).to_have_text(re.compile(r"^(\d+ \w+,? )?\d\d:\d\d(:\d\d)?$"))
        assert "not connected" in seen.page.title()
        seen.page.get_by_role("button", name="Pause report").click()
        expect(seen.page.locator("#outcome")).to_contain_text("not asked for: the connection is lost")
    with node(folder, "shop.py:jobs", "alpha", url=url), opened(browser, url) as another:
        live(another)
        expect(another.page.locator("#remaining")).to_contain_text("term 2")


def test_the_page_comes_back_by_itself_when_its_node_is_started_again(browser: "Browser", folder: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        with node(folder, "shop.py:jobs", "alpha", url=url) as alpha:
            seen = stack.enter_context(opened(browser, url))
            live(seen)
            text_is(seen, LEADER, "alpha leads")
            never_reloads(seen)
            alpha.process.signal(signal.SIGTERM)
            expect(seen.page.locator("#lost")).to_contain_text("it had said that it was stopping")
            alpha.process.wait()
        with node(folder, "shop.py:jobs", "alpha", url=url):
            live(seen)
            expect(seen.page.locator("#lost")).to_be_hidden()
            expect(seen.page.locator("#remaining")).to_contain_text("term 2")
            was_not_reloaded(seen)
            # A browser tells of each connection that was refused, whoever asked.
            seen.assert_clean(beside="ERR_CONNECTION_REFUSED")


def test_a_frozen_node_is_not_taken_for_a_live_one(browser: "Browser", folder: Path) -> None:
    with node(folder, "shop.py:jobs", "alpha") as alpha, opened(browser, alpha.url) as seen:
        live(seen)
        alpha.process.signal(signal.SIGSTOP)
        try:
            # After six seconds of silence the page asks; they need not really pass.
            seen.page.evaluate("{ const now = Date.now; Date.now = () => now() + 6000; }")
            expect(seen.page.locator("#lost")).to_contain_text("it does not answer")
        finally:
            alpha.process.signal(signal.SIGCONT)
        live(seen)
        expect(seen.page.locator("#lost")).to_be_hidden()
        seen.assert_clean()


def test_the_bar_empties_and_is_full_again_with_each_renewal(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url) as seen:
        live(seen)
        # The bar's part that is filled, ten times a second, until it has become less and then more.
        parts = seen.page.evaluate(
            """async (patience) => {
                const filled = () => new DOMMatrix(getComputedStyle(document.getElementById("fill")).transform).a;
                const parts = [filled()];
                const end = Date.now() + patience;
                let [less, more] = [false, false];
                while (!(less && more) && Date.now() < end) {
                    await new Promise((resolve) => setTimeout(resolve, 100));
                    parts.push(filled());
                    const change = parts.at(-1) - parts.at(-2);
                    less ||= change < 0;
                    more ||= less && change > 0.01;
                }
                return parts;
            }""",
            PATIENCE_MS,
        )
        changes = [after - before for before, after in itertools.pairwise(parts)]
        assert any(change < 0 for change in changes)
        assert changes[-1] > 0
        assert all(0 <= part <= 1 for part in parts)


def test_nothing_moves_for_whoever_wants_no_motion(browser: "Browser", shop: Shown) -> None:
    with opened(browser, shop.url, reduced_motion="reduce") as seen:
        live(seen)
        expect(seen.page.locator("#remaining")).to_contain_text("more unless renewed")
        assert seen.page.evaluate("document.getAnimations().length") == 0
        part = "new DOMMatrix(getComputedStyle(document.getElementById('fill')).transform).a"
        assert 0 < seen.page.evaluate(part) <= 1
    with opened(browser, shop.url) as seen:
        live(seen)
        seen.page.wait_for_function("document.getAnimations().length === 1")


def test_two_hundred_runners_have_a_row_each_and_can_be_filtered(browser: "Browser", folder: Path) -> None:
    with node(folder, "many.py:jobs", "alpha") as alpha, opened(browser, alpha.url) as seen:
        expect(seen.page.locator(f"{RUNNERS} tbody tr")).to_have_count(200)
        seen.page.get_by_role("searchbox", name="Runners whose name contains").fill("-06")
        expect(seen.page.locator(f"{RUNNERS} tbody tr")).to_have_count(10)
        seen.page.get_by_role("button", name="Paused").click()
        expect(seen.page.locator("#no-runners")).to_be_visible()
        seen.assert_clean()


def test_a_store_that_fails_is_told_of_in_its_own_words(browser: "Browser", folder: Path) -> None:
    with node(folder, "shop.py:jobs", "alpha", ttl=SHORT_TTL) as alpha, opened(browser, alpha.url) as seen:
        text_is(seen, STATE, "leads")
        place = folder / ".conductor/state/conductor.db"
        database = sqlite3.connect(place, timeout=PATIENCE_MS / 1000, isolation_level=None)
        with closing(database):
            database.execute("BEGIN EXCLUSIVE")
            text_is(seen, STATE, "is degraded")
            expect(seen.page.locator("#node-more")).to_contain_text("calls of the store in a row have failed")
            expect(seen.page.locator("#node-more")).to_contain_text("the lease store gave no answer")
            text_is(seen, LEADER, "It is not known who leads")
            expect(seen.page.locator("#node-count")).to_have_text("as the store told last, which fails now")
            expect(seen.page.locator("#nodes")).not_to_contain_text("silent")
            expect(seen.page.locator("#meter")).to_have_attribute("data-state", "out")
            database.execute("ROLLBACK")
        text_is(seen, STATE, "leads")
        text_is(seen, LEADER, "alpha leads")
        seen.assert_clean()


def test_a_node_with_other_runners_is_named(browser: "Browser", folder: Path) -> None:
    with node(folder, "shop.py:jobs", "alpha") as alpha:
        alpha.process.wait_for("leader_started")
        with node(folder, "many.py:jobs", "beta"), opened(browser, alpha.url) as seen:
            expect(seen.page.locator("#notes")).to_have_text(
                "Registry drift: beta has other runners or schedules registered than this leader."
            )
            expect(seen.page.get_by_role("row", name="beta")).to_contain_text("other runners registered")
            seen.assert_clean()
