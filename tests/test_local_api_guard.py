"""Who may ask the local API: the token, pages of other sites, names that are not ours, and what is said to them."""

import re

import h11
import pytest
import trio
from starlette.requests import Request

from conductor_jobs.local_api.guard import Guard
from conductor_jobs.local_api.page_files import PageFiles

from .local_api import BEARER, PATIENCE, TOKEN, Site, served
from .test_local_api import problem, quiet, succeeds

READS = ["/v1/status", "/v1/nodes", "/v1/runners", "/v1/ticks", "/v1/events", "/metrics", "/openapi.json"]
WRITES = [
    "/v1/ticks", "/v1/resign", "/v1/runners/succeeds/run", "/v1/runners/succeeds/pause", "/v1/runners/succeeds/resume",
]  # fmt: skip
WRONG = [
    {},
    {"authorization": TOKEN},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Bearer {TOKEN} {TOKEN}"},
    {"authorization": "Bearer"},
    {"authorization": "Bearer \xff"},
]
CROSS_SITE = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "http://localhost"},
]


async def spoken(site: Site, head: str) -> tuple[int, bytes]:
    """Send a request as it stands, and return the status and all of the answer."""
    stream = await trio.open_tcp_stream("127.0.0.1", site.port)
    async with stream:
        await stream.send_all(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
        http, answer = h11.Connection(h11.CLIENT), b""
        http.send(h11.Request(method="GET", target="/", headers=[("host", "any")]))
        http.send(h11.EndOfMessage())
        with trio.fail_after(PATIENCE):
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    chunk = bytes(await stream.receive_some())
                    http.receive_data(chunk)
                    answer += chunk
    return int(answer.split()[1]), answer


# The token


@pytest.mark.parametrize("path", WRITES)
async def test_nobody_writes_without_the_token_even_on_this_machine(path: str) -> None:
    async with served(quiet(succeeds)) as site:
        for headers in WRONG:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            response = await site.client.post(path, headers=raw)
            assert problem(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        assert (await site.json("/v1/ticks"))["ticks"] == []
        assert (await site.post(path)).status_code == 200


@pytest.mark.parametrize("path", WRITES)
async def test_where_no_token_is_configured_nobody_writes_and_is_told_what_to_set(path: str) -> None:
    async with served(quiet(succeeds), token=None) as site:
        response = await site.post(path)
        assert problem(response) == (403, "not_writable")
        assert "BAA_CONDUCTOR_LOCAL_API_TOKEN" in response.json()["message"]
        assert (await site.json("/v1/status"))["writable"] is False


async def test_a_token_given_twice_is_none() -> None:
    async with served(quiet(succeeds)) as site:
        line = f"Authorization: Bearer {TOKEN}"
        status, _ = await spoken(site, f"POST /v1/ticks HTTP/1.1\nHost: localhost\n{line}\n{line}\nContent-Length: 0")
        assert status == 401


async def test_on_this_machine_everybody_reads() -> None:
    async with served(quiet(succeeds)) as site:
        for path in [*READS, "/", "/healthz", "/readyz"]:
            async with site.client.stream("GET", path) as response:
                assert response.status_code in (200, 501), path


async def test_where_others_can_connect_whoever_reads_needs_the_token_too() -> None:
    async with served(quiet(succeeds), url="http://0.0.0.0:0") as site:
        for path in READS:
            assert problem(await site.get(path)) == (401, "unauthorized")
            async with site.client.stream("GET", path, headers=BEARER) as response:
                assert response.status_code in (200, 501), path
        # Probes and a browser that opens the page bear no token, and hear nothing by these.
        for path in ("/", "/healthz", "/readyz"):
            assert (await site.get(path)).status_code == 200
        assert problem(await site.get("/v1/nothing")) == (401, "unauthorized")


# Pages of other sites


@pytest.mark.parametrize("headers", CROSS_SITE)
async def test_a_page_of_another_site_is_refused_even_with_the_token(headers: dict[str, str]) -> None:
    async with served(quiet(succeeds)) as site:
        assert problem(await site.get("/v1/status", **headers)) == (403, "cross_site")
        assert problem(await site.post("/v1/ticks", headers | BEARER)) == (403, "cross_site")
        assert (await site.json("/v1/ticks"))["ticks"] == []


async def test_the_page_itself_may_ask_and_may_be_linked_to() -> None:
    async with served(quiet(succeeds)) as site:
        own = {"sec-fetch-site": "same-origin", "origin": f"http://127.0.0.1:{site.port}"}
        assert (await site.get("/v1/status", **own)).status_code == 200
        assert (await site.post("/v1/ticks", own | BEARER)).status_code == 200
        typed = {"sec-fetch-site": "none"}
        assert (await site.get("/v1/status", **typed)).status_code == 200
        link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert (await site.get("/", **link)).status_code == 200
        embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        assert problem(await site.get("/", **embedded)) == (403, "cross_site")


async def test_a_preflight_of_another_site_gets_no_permission() -> None:
    async with served(quiet(succeeds)) as site:
        asks = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        response = await site.client.options("/v1/ticks", headers=asks)
        assert response.status_code == 403
        assert not any(name.startswith("access-control") for name in response.headers)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4317", "127.0.0.1.evil.example", "192.168.1.7", "", "localhost.", "[::2]", "0"],
)
async def test_a_name_that_is_not_ours_is_refused_for_it_may_be_rebound(host: str) -> None:
    async with served(quiet(succeeds)) as site:
        for method in ("GET /v1/status", "GET /", "GET /healthz", "POST /v1/ticks"):
            status, answer = await spoken(site, f"{method} HTTP/1.1\nHost: {host}\nContent-Length: 0")
            assert status in (400, 403), answer
            assert b"mini-main" not in answer


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1", "127.8.9.10:4317", "[::1]:4317", "LOCALHOST"]
)
async def test_every_name_of_this_machine_is_ours(host: str) -> None:
    async with served(quiet(succeeds)) as site:
        status, _ = await spoken(site, f"GET /v1/status HTTP/1.1\nHost: {host}")
        assert status == 200


async def test_whoever_bears_the_token_may_come_by_another_name_as_through_a_proxy() -> None:
    async with served(quiet(succeeds)) as site:
        status, _ = await spoken(
            site, f"GET /v1/status HTTP/1.1\nHost: ops.example\nAuthorization: Bearer {TOKEN}\nConnection: close"
        )
        assert status == 200


def test_no_answer_of_the_guard_bears_the_token() -> None:
    guard = Guard(TOKEN, exposed=True, page=PageFiles().paths)
    for headers in [*WRONG, *CROSS_SITE, {"host": "evil.example"}]:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        for method in ("GET", "POST"):
            scope = {"type": "http", "method": method, "path": "/v1/status", "headers": raw, "http_version": "1.1",
                     "query_string": b"", "server": ("127.0.0.1", 1), "scheme": "http"}  # fmt: skip
            refused = guard.why_not(Request(scope))
            assert refused is not None
            assert not re.search(TOKEN, str(refused))
