"""The control API in one process, on virtual time: the store that is its client, and what goes over the wire."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2
import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Holder, LeaseGrant
from conductor_jobs.control_api.asking import STORE_TIMEOUT
from conductor_jobs.control_api.calls import MOST_WAITING
from conductor_jobs.control_api.exchange import BODY_TIMEOUT, LARGEST_BODY
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import Node, NodeSeen
from conductor_jobs.stores.http import HTTPLeaseStore
from conductor_jobs.stores.http_errors import ControlAPIError
from conductor_jobs.stores.http_wire import LONGEST_WAIT
from conductor_jobs.stores.memory import MemoryLeaseStore

from .api_site import CLIENT_STAYS, TOKEN, Polled, Site, refused
from .support import make_conductor, make_jobs

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
CAMPAIGN: dict[str, Any] = {"leaseName": "jobs", "controllerId": "alpha", "incarnation": "1", "ttl": 30.0}
RELEASE = {key: CAMPAIGN[key] for key in ("leaseName", "controllerId", "incarnation")}
HEARTBEAT = RELEASE | {"host": "mini", "role": "primary", "priority": 100, "version": "1"}
HEARTBEAT |= {"state": "leader", "fingerprint": "f"}


class Broken:
    """A store that fails, or hangs."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.given_up = 0

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        if self._error is not None:
            raise self._error
        try:
            await trio.sleep_forever()
        finally:
            self.given_up += 1
        raise AssertionError

    async def release(self, lease_name: str, holder: Holder) -> bool:
        return (await self.acquire(lease_name, holder, 1)).is_leader


@pytest.fixture
async def memory() -> MemoryLeaseStore:
    return MemoryLeaseStore(wall_clock=lambda: 1000.0)


@pytest.fixture
async def watches() -> AsyncGenerator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@pytest.fixture
async def site(memory: MemoryLeaseStore, watches: trio.Nursery) -> Site:
    return Site(memory, watches)


# The wire


async def test_an_acquire_answers_with_the_names_of_the_seed(site: Site, autojump_clock: MockClock) -> None:
    response = await site.post("/v1/leader/acquire", **CAMPAIGN)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == {
        "ok": True,
        "data": {
            "holderId": "alpha", "term": 1, "isLeader": True, "operation": "acquire",
            "renewedAt": 1000.0, "leaseExpiresAt": 1030.0, "expiresIn": 30.0,
        },
    }  # fmt: skip
    await trio.sleep(10)
    renewed = (await site.post("/v1/leader/acquire", **CAMPAIGN, term=1)).json()["data"]
    assert (renewed["operation"], renewed["isLeader"], renewed["expiresIn"]) == ("renew", True, 30.0)


async def test_whoever_looks_is_told_how_the_lease_stands_and_takes_nothing(
    site: Site, memory: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    nobody = (await site.ask("GET", "/v1/leader?leaseName=jobs")).json()["data"]
    assert (nobody["holderId"], nobody["term"], nobody["held"]) == (None, 0, False)
    await memory.acquire("jobs", ALPHA, 30.0)
    await trio.sleep(10)
    held = (await site.ask("GET", "/v1/leader?leaseName=jobs")).json()["data"]
    assert held == {
        "leaseName": "jobs", "holderId": "alpha", "term": 1, "held": True,
        "renewedAt": 990.0, "leaseExpiresAt": 1020.0, "expiresIn": 20.0,
    }  # fmt: skip
    await trio.sleep(20)
    expired = (await site.ask("GET", "/v1/leader?leaseName=jobs")).json()["data"]
    assert (expired["holderId"], expired["held"], expired["expiresIn"]) == ("alpha", False, 0.0)
    assert (await memory.acquire("jobs", BETA, 30.0)).term == 2


async def test_nodes_are_listed_with_what_their_heartbeats_said(site: Site) -> None:
    assert (await site.post("/v1/controllers/heartbeat", **HEARTBEAT)).json() == {"ok": True, "data": {}}
    listed = (await site.ask("GET", "/v1/controllers?leaseName=jobs")).json()["data"]
    expected = {key: value for key, value in HEARTBEAT.items() if key != "leaseName"}
    expected |= {"firstSeenAt": 1000.0, "lastSeenAt": 1000.0}
    assert listed == {"controllers": [expected]}


# The store


async def test_the_client_passes_on_all_that_a_store_says(
    site: Site, memory: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    store = site.store
    assert await store.acquire("jobs", ALPHA, 30.0) == LeaseGrant("alpha", 1, True, "acquire", 1000.0, 1030.0, 30.0)
    assert await store.acquire("jobs", BETA, 30.0) == LeaseGrant("alpha", 1, False, "acquire", 1000.0, 1030.0, 30.0)
    assert (await store.acquire("jobs", ALPHA, 30.0, term=1)).operation == "renew"
    assert await store.release("jobs", BETA) is False
    assert await store.release("jobs", ALPHA) is True
    assert not (await store.acquire("jobs", ALPHA, 30.0)).is_leader
    node = Node("alpha", "mini", "standby", 7, "1.2")
    await store.heartbeat("jobs", node, "1", "stopped", "f")
    assert (
        await store.nodes("jobs") == [NodeSeen(node, "1", "stopped", 1000.0, 1000.0, "f")] == await memory.nodes("jobs")
    )
    assert await store.nodes("others") == []


@pytest.mark.parametrize("native", [True, False])
async def test_all_who_wait_are_told_of_a_release_at_once(
    memory: MemoryLeaseStore, watches: trio.Nursery, autojump_clock: MockClock, native: bool
) -> None:
    site = Site(memory if native else Polled(memory), watches)
    await site.store.acquire("jobs", ALPHA, 300.0)
    start = trio.current_time()
    told: list[float] = []

    async def wait() -> None:
        await site.store.wait_released("jobs", 1)
        told.append(trio.current_time() - start)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        # Longer than one long poll lasts.
        await trio.sleep(2 * LONGEST_WAIT + 7.25)
        assert told == []
        await site.store.acquire("others", BETA, 300.0)
        await site.store.release("others", BETA)
        await trio.sleep(1)
        assert told == []
        await site.store.release("jobs", ALPHA)
    assert told == [2 * LONGEST_WAIT + 8.25] * 2
    await site.store.wait_released("jobs", 1)
    assert trio.current_time() - start == told[0]


async def test_a_release_past_the_server_is_found_within_half_a_second(
    memory: MemoryLeaseStore, watches: trio.Nursery, autojump_clock: MockClock
) -> None:
    site = Site(Polled(memory), watches)
    await memory.acquire("jobs", ALPHA, 300.0)
    start = trio.current_time()
    with trio.testing.assert_checkpoints():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.store.wait_released, "jobs", 1)
            await trio.sleep(7.25)
            await memory.release("jobs", ALPHA)
    assert trio.current_time() - start == 7.5


async def test_an_expiry_is_no_release_and_a_later_term_is_as_good_as_one(
    memory: MemoryLeaseStore, watches: trio.Nursery, autojump_clock: MockClock
) -> None:
    site = Site(Polled(memory), watches)
    await memory.acquire("jobs", ALPHA, 3.0)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.store.wait_released, "jobs", 1)
        await trio.sleep(20)
        assert nursery.child_tasks
        await site.store.acquire("jobs", BETA, 30.0)
    assert trio.current_time() - start == 20


@pytest.mark.parametrize("native", [True, False])
async def test_the_beginning_of_a_term_is_told_at_once_and_a_release_is_none(
    memory: MemoryLeaseStore, watches: trio.Nursery, autojump_clock: MockClock, native: bool
) -> None:
    site = Site(memory if native else Polled(memory), watches)
    await site.store.acquire("jobs", ALPHA, 300.0)
    await site.store.wait_begun("jobs", 1)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.store.wait_begun, "jobs", 2)
        await trio.sleep(3.25)
        await site.store.release("jobs", ALPHA)
        await trio.sleep(5)
        assert nursery.child_tasks
        await site.store.acquire("jobs", BETA, 30.0)
    assert trio.current_time() - start == 8.25


async def test_a_store_is_watched_once_for_all_who_wait_and_only_while_they_do(
    memory: MemoryLeaseStore, watches: trio.Nursery, autojump_clock: MockClock
) -> None:
    site = Site(memory, watches)
    await memory.acquire("jobs", ALPHA, 300.0)
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(site.ask, "GET", "/v1/leader/wait?leaseName=jobs&term=1")
            await trio.sleep(1)
            assert len(watches.child_tasks) == 1
    await trio.testing.wait_all_tasks_blocked()
    assert len(watches.child_tasks) == 0


async def test_a_long_poll_ends_after_the_time_that_was_asked_for(
    site: Site, memory: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    await memory.acquire("jobs", ALPHA, 300.0)
    start = trio.current_time()
    for query, seconds in (("", LONGEST_WAIT), ("&timeout=2.5", 2.5), ("&timeout=0", 0.0)):
        answer = await site.ask("GET", f"/v1/leader/wait?leaseName=jobs&term=1{query}")
        assert answer.json() == {"ok": True, "data": {"happened": False}}
        assert trio.current_time() - start == seconds
        start = trio.current_time()


async def test_only_so_many_may_wait(site: Site, memory: MemoryLeaseStore, autojump_clock: MockClock) -> None:
    await memory.acquire("jobs", ALPHA, 300.0)
    async with trio.open_nursery() as nursery:
        for number in range(MOST_WAITING):
            nursery.start_soon(site.ask, "GET", f"/v1/leader/wait?leaseName=jobs&term={number % 3 + 1}&timeout=5")
        await trio.sleep(1)
        assert refused(await site.ask("GET", "/v1/leader/wait?leaseName=jobs&term=1")) == (503, "busy")
        assert (await site.store.acquire("jobs", ALPHA, 300.0, term=1)).is_leader
    assert (await site.ask("GET", "/v1/leader/wait?leaseName=jobs&term=1&timeout=0")).status_code == 200


async def test_a_server_that_stops_answers_those_who_wait(
    site: Site, memory: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    await memory.acquire("jobs", ALPHA, 300.0)
    start = trio.current_time()
    answers = []

    async def wait() -> None:
        answers.append((await site.ask("GET", "/v1/leader/wait?leaseName=jobs&term=1")).json()["data"]["happened"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(3)
        site.api.stop()
    await wait()
    assert answers == [False, False]
    assert trio.current_time() - start == 3


async def test_a_client_does_not_hammer_a_server_that_has_nothing_to_tell(
    site: Site, memory: MemoryLeaseStore, autojump_clock: MockClock
) -> None:
    await memory.acquire("jobs", ALPHA, 300.0)
    site.api.stop()
    asked = 0

    async def count(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += 1
        await site.api(scope, receive, send)

    store = HTTPLeaseStore("http://localhost", TOKEN, transport=httpx2.ASGITransport(count))
    with trio.move_on_after(10.25):
        await store.wait_released("jobs", 1)
    assert asked == 21


# Two conductors over it


async def test_conductors_over_the_api_hand_over_at_once(
    memory: MemoryLeaseStore, watches: trio.Nursery, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    site = Site(Polled(memory), watches)
    # By another name, or they would be two conductors of one process on one lease.
    other = HTTPLeaseStore("http://127.0.0.1", TOKEN, transport=site.transport)
    alpha, alphas = make_conductor(make_jobs(), site.store, node=Node("alpha"))
    beta, betas = make_conductor(make_jobs(), other, node=Node("beta"))
    await nursery.start(alpha.run)
    assert (await alpha.wait_leader()).number == 1
    await nursery.start(beta.run)
    await trio.sleep(100)
    assert sorted(alphas.stages(of="timed-jobs.lease")) == ["heartbeat_failed", "leader_started"]
    assert "remembers no nodes" in str(alphas.one("heartbeat_failed").error)
    await alpha.stop()
    stopped_at = trio.current_time()
    assert (await beta.wait_leader()).number == 2
    assert trio.current_time() - stopped_at <= 0.02
    assert "acquire_failed" not in betas.stages()
    await beta.stop()


# What is refused


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": "Bearer é"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/leader?leaseName=jobs", "/nowhere"])
async def test_without_the_token_nobody_is_told_anything(site: Site, headers: dict[str, str], path: str) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    response = await site.ask("GET", path, headers=encoded)
    assert refused(response) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in response.text


async def test_two_authorizations_are_none(site: Site) -> None:
    twice = [("authorization", f"Bearer {TOKEN}")] * 2
    async with httpx2.AsyncClient(transport=site.transport) as client:
        response = await client.get("http://localhost/v1/leader?leaseName=jobs", headers=twice)
    assert refused(response) == (401, "unauthorized")


async def test_a_token_may_be_of_any_letters(memory: MemoryLeaseStore, watches: trio.Nursery) -> None:
    site = Site(memory, watches, token="clé ☃")
    assert (await site.store.acquire("jobs", ALPHA, 30.0)).is_leader


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:4000", 200),
        ("127.0.0.2", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("10.0.0.1", 403),
        ("[", 403),
    ],
)
async def test_without_a_token_only_a_name_of_this_machine_is_answered(
    memory: MemoryLeaseStore, watches: trio.Nursery, host: str, status: int
) -> None:
    site = Site(memory, watches, token=None)
    response = await site.ask("GET", "/v1/leader?leaseName=jobs", headers={"host": host})
    assert response.status_code == status


TTL_RULE = "ttl must be a positive number of seconds, at most 604800"
TERM_RULE = "term must be null or an integer from 0 to 2**63 - 1"
NAME_RULE = "must be a text of 1 to 1000 characters without NUL"
ROLE_RULE = "role: must be one of 'primary', 'standby'"
PRIORITY_RULE = "must be an integer of 64 bits at most"
MISFIT = "the request does not fit: Object"
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("leader/acquire", CAMPAIGN | {"ttl": -3}, f"{TTL_RULE}, not -3.0."),
    ("leader/acquire", CAMPAIGN | {"ttl": "30"}, "ttl: Expected `float`, got `str`, not '30'."),
    ("leader/acquire", CAMPAIGN | {"ttl": True}, "ttl: Expected `float`, got `bool`, not True."),
    ("leader/acquire", CAMPAIGN | {"ttl": 10**9}, f"{TTL_RULE}, not 1000000000.0."),
    ("leader/acquire", CAMPAIGN | {"term": -1}, f"{TERM_RULE}, not -1."),
    ("leader/acquire", CAMPAIGN | {"term": 2**63}, f"{TERM_RULE}, not {2**63}."),
    ("leader/acquire", CAMPAIGN | {"term": 1.0}, "term: Expected `int | null`, got `float`, not 1.0."),
    ("leader/acquire", CAMPAIGN | {"leaseName": ""}, f"leaseName {NAME_RULE}, not ''."),
    ("leader/acquire", CAMPAIGN | {"leaseName": "a\0b"}, f"leaseName {NAME_RULE}, not 'a\\x00b'."),
    ("leader/release", RELEASE | {"controllerId": "x" * 1001}, f"controllerId {NAME_RULE}, not '{'x' * 79}…."),
    ("leader/release", RELEASE | {"term": 1}, f"{MISFIT} contains unknown field `term`."),
    ("leader/release", {"leaseName": "jobs"}, f"{MISFIT} missing required field `controllerId`."),
    ("controllers/heartbeat", HEARTBEAT | {"host": " "}, "host must be a text that is not blank, not ' '."),
    ("controllers/heartbeat", HEARTBEAT | {"role": "boss"}, f"{ROLE_RULE}, not 'boss'."),
    ("controllers/heartbeat", HEARTBEAT | {"fingerprint": 3}, "fingerprint: Expected `str`, got `int`, not 3."),
    ("controllers/heartbeat", HEARTBEAT | {"role": "` - at `$.b"}, f"{ROLE_RULE}, not '` - at `$.b'."),
    ("controllers/heartbeat", HEARTBEAT | {"priority": 2**63}, f"priority {PRIORITY_RULE}, not {2**63}."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "message"), WRONG)
async def test_a_body_against_the_rules_is_refused_with_field_value_and_rule(
    site: Site, memory: MemoryLeaseStore, path: str, body: dict[str, Any], message: str
) -> None:
    response = await site.post(f"/v1/{path}", **body)
    assert refused(response) == (400, "bad_request")
    assert response.json()["message"] == message
    assert (await memory.acquire("jobs", BETA, 1.0)).term == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b"{", b"\xff", b'"\\ud800"', b"[" * 9000, b"{}" * 2, b"null"])
async def test_a_body_that_is_no_object_is_refused(site: Site, body: bytes) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    response = await site.ask("POST", "/v1/leader/acquire", content=body, headers=headers)
    assert refused(response) == (400, "bad_request")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", f"{MISFIT} missing required field `leaseName`."),
        ("leaseName=a&term=1&term=2", "'term' must be given once."),
        ("leaseName=a&term=x", "term: Expected `int`, got `str`, not 'x'."),
        ("leaseName=a&term=-1", "term must be an integer from 0 to 2**63 - 1, not -1."),
        ("leaseName=a&term=1&timeout=31", "timeout must be a number of seconds from 0 to 30, not 31.0."),
        ("leaseName=a&term=1&timeout=nan", "timeout must be a number of seconds from 0 to 30, not nan."),
        ("leaseName=a&term=1&event=x", "event: must be one of 'released', 'begun', not 'x'."),
        ("leaseName=a&term=1&x=", f"{MISFIT} contains unknown field `x`."),
    ],
)
async def test_a_query_against_the_rules_is_refused(site: Site, query: str, message: str) -> None:
    response = await site.ask("GET", f"/v1/leader/wait?{query}")
    assert refused(response) == (400, "bad_request")
    assert response.json()["message"] == message


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", (404, "not_found")),
        ("GET", "/v1/leader/", (404, "not_found")),
        ("POST", "/v1/leader/wait", (405, "method_not_allowed")),
        ("GET", "/v1/leader/acquire", (405, "method_not_allowed")),
        ("DELETE", "/v1/leader", (405, "method_not_allowed")),
    ],
)
async def test_what_is_no_route_is_refused_in_the_envelope(
    site: Site, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert refused(await site.ask(method, path)) == expected


async def test_only_json_is_read_and_only_so_much_of_it(site: Site) -> None:
    text = json.dumps(CAMPAIGN).encode()
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/jsonx"}):
        response = await site.ask("POST", "/v1/leader/acquire", content=text, headers=headers)
        assert refused(response) == (415, "unsupported_media_type")
    headers = {"content-type": "application/json"}
    padded = text + b" " * (LARGEST_BODY - len(text))
    assert (await site.ask("POST", "/v1/leader/acquire", content=padded, headers=headers)).status_code == 200
    status, answer = await site.send("/v1/leader/acquire", headers, padded + b" ")
    assert (status, answer["error"]) == (413, "too_large")
    response = await site.ask("POST", "/v1/leader/acquire?leaseName=jobs", content=text, headers=headers)
    assert refused(response) == (400, "bad_request")


async def test_a_body_that_trickles_in_is_not_waited_for_without_end(site: Site, autojump_clock: MockClock) -> None:
    async def trickle() -> AsyncGenerator[bytes]:
        while True:
            yield b" "
            await trio.sleep(1)

    start = trio.current_time()
    headers = {"content-type": "application/json"}
    response = await site.ask("POST", "/v1/leader/acquire", content=trickle(), headers=headers)
    assert refused(response) == (408, "too_slow")
    assert trio.current_time() - start == BODY_TIMEOUT


# A store that fails


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("no route to host"), "the lease store failed: OSError: no route to host"),
        (Unusable("database is none."), "the lease store failed: Unusable: database is none."),
    ],
)
async def test_a_store_that_fails_is_an_error_of_the_api_and_no_end_of_anybodys_run(
    watches: trio.Nursery, autojump_clock: MockClock, error: Exception, text: str
) -> None:
    site = Site(Broken(error), watches)
    calls: list[Callable[[], Any]] = [
        lambda: site.store.acquire("jobs", ALPHA, 30.0),
        lambda: site.store.release("jobs", ALPHA),
        lambda: site.store.wait_released("jobs", 1),
        lambda: site.store.wait_begun("jobs", 1),
    ]
    for call in calls:
        with pytest.raises(ControlAPIError, match=text) as caught:
            await call()
        assert caught.value.code == "store_failed"
        assert str(caught.value).startswith("control API http://localhost answered 503 store_failed: ")


async def test_a_store_that_hangs_is_given_up(watches: trio.Nursery, autojump_clock: MockClock) -> None:
    broken = Broken(None)
    site = Site(broken, watches)
    start = trio.current_time()
    assert refused(await site.post("/v1/leader/acquire", **CAMPAIGN)) == (503, "store_failed")
    assert trio.current_time() - start == STORE_TIMEOUT
    assert broken.given_up == 1


async def test_a_client_that_goes_away_takes_its_call_with_it(watches: trio.Nursery, autojump_clock: MockClock) -> None:
    broken = Broken(None)
    start = trio.current_time()
    headers = {"content-type": "application/json"}
    status, answer = await Site(broken, watches).send("/v1/leader/acquire", headers, json.dumps(CAMPAIGN).encode())
    assert (trio.current_time() - start, broken.given_up) == (CLIENT_STAYS, 1)
    # For one that has only said that it will send no more.
    assert (status, answer["error"]) == (408, "gone")


async def test_a_store_without_nodes_says_so(memory: MemoryLeaseStore, watches: trio.Nursery) -> None:
    site = Site(Polled(memory), watches)
    with pytest.raises(ControlAPIError, match="remembers no nodes"):
        await site.store.heartbeat("jobs", Node("alpha"), "1", "leader", "f")
    with pytest.raises(ControlAPIError, match="remembers no nodes"):
        await site.store.nodes("jobs")


async def test_a_store_that_confirms_a_stranger_is_not_believed(watches: trio.Nursery) -> None:
    class Yes(Polled):
        def __init__(self) -> None:
            self.acquire = self._yes

        async def _yes(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
            return LeaseGrant(holder.node_id, 1, True, "renew", 0.0, 0.0, 1.0)

        async def release(self, lease_name: str, holder: Holder) -> bool:
            return False

    response = await Site(Yes(), watches).ask("GET", "/v1/leader?leaseName=jobs")
    assert refused(response) == (503, "store_failed")


async def test_a_fault_of_ours_is_told_of_here_and_not_to_whoever_asks(
    memory: MemoryLeaseStore, watches: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    class Odd(Polled):
        async def nodes(self, lease_name: str) -> object:
            return [object()]

        async def heartbeat(self, *_: object) -> None:
            raise AssertionError

    response = await Site(Odd(memory), watches).ask("GET", "/v1/controllers?leaseName=jobs")
    assert refused(response) == (500, "internal")
    printed = capsys.readouterr().err
    assert "AttributeError" in printed
    assert TOKEN not in printed
