"""The control API's routes of runners, claims, pauses and cursors: over the wire, and as its client has them."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Holder, StaleTerm
from conductor_jobs.control_api.asking import STORE_TIMEOUT
from conductor_jobs.control_api.exchange import LARGEST_BODY
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores.http_errors import ControlAPIError
from conductor_jobs.stores.http_wire_runners import LARGEST_OF_RUNNERS
from conductor_jobs.stores.memory import MemoryLeaseStore

from .api_site import Polled, Site, refused

ALPHA = Holder("alpha", "1")
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
LATER = datetime(2500, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
CLAIM = {"leaseName": "jobs", "term": 1, "claims": [{"runner": "report", "dueAt": "2026-03-28T12:00:00Z"}]}
PAUSE = {"leaseName": "jobs", "runner": "report", "paused": True}
CURSOR = {"leaseName": "jobs", "runner": "report", "term": 1, "cursor": "message:7"}


@pytest.fixture
async def memory() -> MemoryLeaseStore:
    """A store whose lease `jobs` alpha holds in term 1."""
    store = MemoryLeaseStore()
    await store.acquire("jobs", ALPHA, 1000.0)
    return store


@pytest.fixture
async def watches() -> AsyncGenerator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@pytest.fixture
async def site(memory: MemoryLeaseStore, watches: trio.Nursery) -> Site:
    return Site(memory, watches)


class Keeping(Polled):
    """A store that keeps something besides leases, in its own way."""

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        await trio.sleep_forever()
        raise AssertionError

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        raise OSError("no route to host")


# The wire


async def test_a_claim_answers_with_the_runners_whose_claims_are_kept(site: Site, memory: MemoryLeaseStore) -> None:
    response = await site.post("/v1/runners/claim", **CLAIM)
    assert response.json() == {"ok": True, "data": {"kept": ["report"]}}
    again = {"runner": "report", "dueAt": "2026-03-28T13:00:00+01:00", "result": "completed"}
    new = {"runner": "a", "dueAt": "2500-01-01T00:00:00.999999Z", "result": None}
    earlier = {"runner": "a", "dueAt": "2499-01-01T00:00:00Z"}
    for asked, kept in (([again, new], ["report", "a"]), ([earlier], [])):
        response = await site.post("/v1/runners/claim", **CLAIM | {"claims": asked})
        assert response.json() == {"ok": True, "data": {"kept": kept}}
    listed = await site.ask("GET", "/v1/runners/claims?leaseName=jobs")
    assert listed.json()["data"] == {
        "claims": [
            {"runner": "a", "dueAt": "2500-01-01T00:00:00.999999Z", "term": 1, "result": None},
            {"runner": "report", "dueAt": "2026-03-28T12:00:00Z", "term": 1, "result": "completed"},
        ]
    }
    assert await memory.claims("jobs") == [Claim("a", LATER, 1), Claim("report", NOON, 1, "completed")]


async def test_a_runner_is_paused_and_resumed(site: Site) -> None:
    for runner, paused in (("b", True), ("a", True), ("c", False), ("c", True), ("c", False)):
        answer = await site.post("/v1/runners/pause", **PAUSE | {"runner": runner, "paused": paused})
        assert answer.json() == {"ok": True, "data": {}}
    listed = await site.ask("GET", "/v1/runners/paused?leaseName=jobs")
    assert listed.json() == {"ok": True, "data": {"runners": ["a", "b"]}}


async def test_a_cursor_is_saved_and_told(site: Site) -> None:
    where = "/v1/runners/cursor?leaseName=jobs&runner=report"
    assert (await site.ask("GET", where)).json() == {"ok": True, "data": {"cursor": None}}
    assert (await site.post("/v1/runners/cursor/save", **CURSOR)).json() == {"ok": True, "data": {}}
    assert (await site.ask("GET", where)).json() == {"ok": True, "data": {"cursor": "message:7"}}


@pytest.mark.parametrize(("path", "body"), [("claim", CLAIM), ("cursor/save", CURSOR)])
async def test_a_stale_term_is_a_conflict_and_keeps_nothing(
    site: Site, memory: MemoryLeaseStore, path: str, body: dict[str, Any]
) -> None:
    response = await site.post(f"/v1/runners/{path}", **body | {"term": 2})
    assert refused(response) == (409, "stale_term")
    assert response.json()["message"] == "a write under term 2 of lease 'jobs' was refused: its term is 1"
    assert await memory.claims("jobs") == []
    assert await memory.load_cursor("jobs", "report") is None


# The store


async def test_the_client_passes_on_all_that_is_kept(site: Site, memory: MemoryLeaseStore) -> None:
    store = site.store
    ended, opened = Claim("ende\n", NOON, 1, "failed"), Claim("öffn/en?&#", LATER, 1)
    assert await store.claim("jobs", [opened, ended]) == [opened, ended]
    assert await store.claim("jobs", [Claim("ende\n", NOON, 1, "unknown"), opened]) == [opened]
    assert await store.claims("jobs") == [ended, opened] == await memory.claims("jobs")
    assert all(claim.due_at.tzinfo is UTC for claim in await store.claims("jobs"))
    assert await store.claims("others") == []
    await store.set_paused("jobs", "öffn/en?&#", True)
    assert await store.paused("jobs") == {"öffn/en?&#"}
    assert await store.load_cursor("jobs", "öffn/en?&#") is None
    await store.save_cursor("jobs", "öffn/en?&#", 1, "")
    assert await store.load_cursor("jobs", "öffn/en?&#") == ""


async def test_a_stale_term_is_told_in_the_words_of_the_servers_store(site: Site, memory: MemoryLeaseStore) -> None:
    await memory.release("jobs", ALPHA)
    for write in (
        site.store.claim("jobs", [Claim("report", NOON, 1)]),
        site.store.save_cursor("jobs", "report", 1, "late"),
    ):
        with pytest.raises(StaleTerm) as caught:
            await write
        assert str(caught.value) == "a write under term 1 of lease 'jobs' was refused: that term has been released"


async def test_no_claims_are_no_question(watches: trio.Nursery) -> None:
    assert await Site(Polled(MemoryLeaseStore()), watches).store.claim("jobs", []) == []


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ([Claim("a", NOON, 1), Claim("b", NOON, 2)], "claims must be of one term, not [1, 2]."),
        ([Claim("a", NOON, 1), Claim("a", LATER, 1)], "claims must be of 1 runners, one of each, not 2."),
        ([Claim("a\0", NOON, 1)], "runner must be a text of 1 to 1000 characters without NUL, not 'a\\x00'."),
    ],
)
async def test_claims_against_the_rules_are_not_sent(site: Site, claims: list[Claim], problem: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        await site.store.claim("jobs", claims)
    assert str(caught.value) == problem


async def test_a_moment_without_a_zone_is_not_sent(site: Site) -> None:
    with pytest.raises(ValueError, match="dueAt must be an instant from 1970 to 9999, with its zone, not '2026"):
        await site.store.claim("jobs", [Claim("a", NOON.replace(tzinfo=None), 1)])


@pytest.mark.parametrize("length", [30, 1000])
async def test_ten_thousand_claims_go_into_one_call(
    site: Site, memory: MemoryLeaseStore, length: int, autojump_clock: MockClock
) -> None:
    claims = [
        Claim(f"{number:05}".ljust(length, "ä"), NOON + timedelta(number), 1, "registered") for number in range(10_000)
    ]
    assert await site.store.claim("jobs", claims) == claims
    assert await site.store.claims("jobs") == claims


async def test_a_cursor_of_megabytes_is_kept(site: Site) -> None:
    cursor = "\x01ä" * 2**21
    await site.store.save_cursor("jobs", "report", 1, cursor)
    assert await site.store.load_cursor("jobs", "report") == cursor


async def test_a_cursor_beyond_all_bounds_is_refused(site: Site) -> None:
    long = json.dumps(CURSOR).encode() + b" " * LARGEST_OF_RUNNERS
    status, answer = await site.send("/v1/runners/cursor/save", {"content-type": "application/json"}, long)
    assert (status, answer["error"]) == (413, "too_large")
    assert answer["message"] == f"the body must be at most {LARGEST_OF_RUNNERS} bytes."


# What is refused


DUE_RULE = "dueAt must be an instant from 1970 to 9999, with its zone"
RESULT_RULE = "must be one of 'completed', 'failed', 'skipped', 'paused', 'registered', 'unknown', None"


def claiming(**fields: object) -> dict[str, Any]:
    return CLAIM | {"claims": [{"runner": "report", "dueAt": "2026-03-28T12:00:00Z"} | fields]}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("claim", CLAIM | {"term": -1}, "term must be an integer from 0 to 2**63 - 1, not -1."),
    ("claim", CLAIM | {"claims": {}}, "claims: Expected `array`, got `object`, not {}."),
    ("claim", CLAIM | {"claims": [3]}, "claims[0]: Expected `object`, got `int`, not 3."),
    ("claim", CLAIM | {"claims": 2 * claiming()["claims"]}, "claims must be of 1 runners, one of each, not 2."),
    ("claim", claiming(runner=""), "claims[0]: runner must be a text of 1 to 1000 characters without NUL, not ''."),
    ("claim", claiming(term=1), "claims[0]: Object contains unknown field `term`."),
    ("claim", claiming(result="done"), f"claims[0].result: {RESULT_RULE}, not 'done'."),
    ("claim", claiming(dueAt=1_774_699_200), "claims[0].dueAt: Expected `datetime`, got `int`, not 1774699200."),
    ("claim", claiming(dueAt="noon"), "claims[0].dueAt: Invalid RFC3339 encoded datetime, not 'noon'."),
    ("claim", claiming(dueAt="2026-03-28T12:00:00"), f"claims[0]: {DUE_RULE}, not '2026-03-28T12:00:00'."),
    ("claim", claiming(dueAt="1969-12-31T23:59:59Z"), f"claims[0]: {DUE_RULE}"),
    ("claim", claiming(dueAt="9999-12-31T23:59:59-00:01"), f"claims[0]: {DUE_RULE}"),
    ("claim", claiming(dueAt="0001-01-01T00:00:00+00:01"), f"claims[0]: {DUE_RULE}"),
    ("pause", PAUSE | {"paused": 1}, "paused: Expected `bool`, got `int`, not 1."),
    ("pause", PAUSE | {"runner": "a\0"}, "runner must be a text of 1 to 1000 characters without NUL, not 'a\\x00'."),
    ("cursor/save", CURSOR | {"cursor": None}, "cursor: Expected `str`, got `null`, not None."),
    ("cursor/save", CURSOR | {"cursor": "a\0b"}, "cursor must be a text without NUL, not 'a\\x00b'."),
    ("cursor/save", CURSOR | {"term": 2**63}, f"term must be an integer from 0 to 2**63 - 1, not {2**63}."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "message"), WRONG)
async def test_a_body_against_the_rules_is_refused_with_field_value_and_rule(
    site: Site, memory: MemoryLeaseStore, path: str, body: dict[str, Any], message: str
) -> None:
    response = await site.post(f"/v1/runners/{path}", **body)
    assert refused(response) == (400, "bad_request")
    assert response.json()["message"].startswith(message)
    assert await memory.claims("jobs") == []
    assert await memory.load_cursor("jobs", "report") is None


@pytest.mark.parametrize(
    ("path", "body", "status"), [("claim", CLAIM, 200), ("cursor/save", CURSOR, 200), ("pause", PAUSE, 413)]
)
async def test_only_claims_and_cursors_may_be_long(site: Site, path: str, body: dict[str, Any], status: int) -> None:
    long = json.dumps(body).encode() + b" " * LARGEST_BODY
    answer = await site.send(f"/v1/runners/{path}", {"content-type": "application/json"}, long)
    assert answer[0] == status


@pytest.mark.parametrize("what", ["claims", "pauses", "cursors"])
async def test_a_store_without_an_ability_says_so(memory: MemoryLeaseStore, watches: trio.Nursery, what: str) -> None:
    store = Site(Polled(memory), watches).store
    calls: dict[str, list[Callable[[], Any]]] = {
        "claims": [lambda: store.claims("jobs"), lambda: store.claim("jobs", [Claim("report", NOON, 1)])],
        "pauses": [lambda: store.paused("jobs"), lambda: store.set_paused("jobs", "report", True)],
        "cursors": [lambda: store.load_cursor("jobs", "a"), lambda: store.save_cursor("jobs", "a", 1, "")],
    }
    for call in calls[what]:
        with pytest.raises(ControlAPIError, match=f"the lease store of this server keeps no {what}") as caught:
            await call()
        assert caught.value.code == "not_supported"
        assert str(caught.value).startswith("control API http://localhost answered 501 not_supported: ")


async def test_a_store_that_fails_or_hangs_is_an_error_of_the_api(
    memory: MemoryLeaseStore, watches: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = Site(Keeping(memory), watches).store
    with pytest.raises(ControlAPIError, match="503 store_failed: the lease store failed: OSError: no route to host"):
        await store.claim("jobs", [Claim("report", NOON, 1)])
    start = trio.current_time()
    with pytest.raises(ControlAPIError, match="503 store_failed"):
        await store.claims("jobs")
    assert trio.current_time() - start == STORE_TIMEOUT


async def test_an_instant_of_no_zone_from_the_servers_store_is_a_fault_of_it(
    memory: MemoryLeaseStore, watches: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    await memory.claim("jobs", [Claim("a", NOON.replace(tzinfo=None), 1)])
    assert refused(await Site(memory, watches).ask("GET", "/v1/runners/claims?leaseName=jobs")) == (500, "internal")
    assert DUE_RULE in capsys.readouterr().err


async def test_instants_come_back_in_utc_whatever_zone_they_were_given_in(site: Site, memory: MemoryLeaseStore) -> None:
    berlin = timezone(timedelta(hours=1))
    await site.store.claim("jobs", [Claim("a", NOON.astimezone(berlin), 1)])
    (kept,) = await memory.claims("jobs")
    assert (kept.due_at, kept.due_at.tzinfo) == (NOON, UTC)
