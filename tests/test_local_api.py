"""The local API over real sockets: what each route answers, and what the commands do."""

import re
import socket
import sys
from typing import Any

import httpx2
import pytest
import trio

from conductor_jobs import Conductor, Cron, LeaseTiming, Node, TickContext, TimedJobs
from conductor_jobs.lease import LeaseStore
from conductor_jobs.local_api import serve_local_api, views
from conductor_jobs.local_api.recent import Recent
from conductor_jobs.local_api.registered import Registered
from conductor_jobs.stores.memory import MemoryLeaseStore

from .local_api import BEARER, PATIENCE, TOKEN, Site, served
from .support import NodeStore, WatchingNodeStore, make_conductor, make_jobs

STRANGE_NAMES = ["a/b", "a b", "ü", "%2F", "?x=1", "#", "a+b", "..%2e", "/", "run", "//", "\U0001f600", 'a"b\\', ";x=y"]


async def succeeds(ctx: TickContext) -> None:
    """Do nothing."""


async def fails(ctx: TickContext) -> None:
    raise ValueError("no luck")


def quiet(*runners: Any, store: LeaseStore | None = None, **settings: Any) -> Conductor:
    """Return a conductor without interval ticks."""
    settings.setdefault("autostart", False)
    return make_conductor(make_jobs(*runners), store, **settings)[0]


def problem(response: httpx2.Response) -> tuple[int, str]:
    body = response.json()
    assert body.keys() >= {"error", "message"}
    assert body["message"].endswith(".")
    return response.status_code, body["error"]


class Polled:
    """A store that remembers neither nodes nor pauses nor claims."""

    def __init__(self) -> None:
        store = MemoryLeaseStore()
        self.acquire = store.acquire
        self.release = store.release


# Status


async def test_the_status_tells_who_leads_and_for_how_long() -> None:
    async with served(quiet(succeeds)) as site:
        status = await site.json("/v1/status")
        assert status["node"] == {
            "node_id": "mini-main", "host": "mini", "role": "primary", "priority": 100, "version": "0.1.0",
        }  # fmt: skip
        told = {name: status[name] for name in ("leadership", "term", "holder_id", "lease_name", "ttl", "runner_count")}
        assert told == {
            "leadership": "leader", "term": 1, "holder_id": "mini-main", "lease_name": "conductor", "ttl": 30.0,
            "runner_count": 1,
        }  # fmt: skip
        assert 0 < status["lease_remaining"] <= 27
        assert status["lease"].items() >= {"holder_id": "mini-main", "term": 1, "held": True}.items()
        assert 0 < status["lease"]["expires_in"] <= 30
        assert (status["started"], status["settled"], status["stopping"], status["writable"]) == (
            True,
            True,
            False,
            True,
        )
        assert status["now"].endswith("Z")


async def test_a_standby_tells_whom_it_follows_and_when_the_lease_runs_out() -> None:
    memory = MemoryLeaseStore()
    leader, _ = make_conductor(make_jobs(), WatchingNodeStore(memory), node_id="alpha", autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(leader.run)
        async with served(quiet(succeeds, store=WatchingNodeStore(memory), node_id="beta")) as site:
            status = await site.json("/v1/status")
            assert (status["leadership"], status["holder_id"], status["lease_remaining"]) == ("standby", "alpha", None)
            assert status["lease"]["holder_id"] == "alpha"
            assert status["lease"]["held"] is True
            nodes = (await site.json("/v1/nodes"))["nodes"]
            states = {node["node_id"]: (node["state"], node["alive"], node["same_runners"]) for node in nodes}
            assert states["beta"] == ("standby", True, True)
            assert states["alpha"][1:] == (True, False)
            assert all(0 <= node["seen_ago"] < 30 for node in nodes)
        leader.request_stop()


async def test_the_store_is_asked_at_most_once_a_second_however_many_ask() -> None:
    store = NodeStore(MemoryLeaseStore())
    async with served(quiet(succeeds, store=store)) as site:
        before = store.count("renew")

        async def ask() -> None:
            for _ in range(20):
                await site.json("/v1/status")

        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        # The lease is renewed beside it every five seconds.
        assert store.count("renew") - before <= 2 + (trio.current_time() - started) * 1.2


async def test_of_a_store_that_hangs_the_status_tells_what_it_said_last() -> None:
    store = NodeStore(MemoryLeaseStore())
    async with served(quiet(succeeds, store=store, timing=LeaseTiming(ttl=3.0))) as site:
        await site.json("/v1/status")
        store.hang()
        await trio.sleep(1.1)
        status = await site.json("/v1/status")
        assert status["lease"]["holder_id"] == "mini-main"
        assert status["lease"]["asked_ago"] > 1
        store.heal()


async def test_of_a_store_that_fails_the_status_says_with_what() -> None:
    store = NodeStore(MemoryLeaseStore())
    async with served(quiet(succeeds, store=store)) as site:
        store.error = OSError("the cable is out")
        status = await site.json("/v1/status")
        assert status["lease"] is None
        assert status["lease_problem"] == "OSError: the cable is out"
        assert (await site.json("/v1/nodes")) == {
            "nodes": None, "node_count": 0, "problem": "OSError: the cable is out",
        }  # fmt: skip


# Probes


async def test_probes_say_whether_the_conductor_runs_and_takes_part() -> None:
    conductor = quiet(succeeds)
    async with served(conductor, running=False) as site, trio.open_nursery() as nursery:
        assert problem(await site.get("/healthz")) == (503, "not_running")
        assert problem(await site.get("/readyz")) == (503, "not_running")
        await nursery.start(conductor.run)
        assert (await site.json("/healthz")) == {"ok": True}
        assert (await site.json("/readyz")) == {"ok": True}
        await conductor.stop()
        assert problem(await site.get("/healthz")) == (503, "not_running")


async def test_while_it_drains_a_node_is_healthy_and_not_ready() -> None:
    release = trio.Event()

    async def waits(ctx: TickContext) -> None:
        await release.wait()

    async with served(quiet(waits)) as site:
        assert (await site.post("/v1/ticks?wait=0")).status_code == 202
        site.conductor.request_stop()
        await site.wait_until("/v1/status", stopping=True)
        assert (await site.json("/healthz")) == {"ok": True}
        assert problem(await site.get("/readyz")) == (503, "stopping")
        release.set()


async def test_before_the_stores_first_answer_a_node_is_not_ready() -> None:
    store = NodeStore(MemoryLeaseStore())
    store.hang()
    conductor = quiet(succeeds, store=store)
    async with served(conductor, running=False) as site, trio.open_nursery() as nursery:
        nursery.start_soon(conductor.run)
        await site.wait_until("/v1/status", started=True)
        assert (await site.json("/healthz")) == {"ok": True}
        assert problem(await site.get("/readyz")) == (503, "starting")
        store.heal()
        nursery.cancel_scope.cancel()


async def test_a_lease_task_that_hangs_in_its_store_is_unhealthy() -> None:
    # Such a store gives a cancelled call up only after minutes, and nothing can be done about it.
    clings = trio.CancelScope(shield=True)

    class Clinging(NodeStore):
        async def _before(self, call: str) -> None:
            await super()._before(call)
            if call == "renew":
                with clings:
                    await trio.sleep_forever()

    conductor = quiet(succeeds, store=Clinging(MemoryLeaseStore()), timing=LeaseTiming(ttl=0.3))
    async with served(conductor) as site:
        try:
            with trio.fail_after(PATIENCE):
                while (response := await site.get("/healthz")).status_code == 200:
                    await trio.sleep(0.05)
        finally:
            clings.cancel()
        assert problem(response) == (503, "lease_task_stuck")


# Ticks and runners


async def test_a_tick_is_run_now_and_remembered_with_its_failure() -> None:
    async with served(quiet(succeeds, fails)) as site:
        response = await site.post("/v1/ticks")
        assert response.status_code == 200
        told = response.json()
        batch_id = told["tick"]["batch_id"]
        assert told == {
            "ended": True,
            "tick": {"batch_id": batch_id, "decision": "scheduled", "runner_count": 2, "failed_runner_count": 1},
        }
        answer = await site.json("/v1/ticks")
        (tick,) = answer["ticks"]
        assert tick.items() >= {
            "batch_id": batch_id, "trigger": "manual", "decision": "scheduled", "result": "completed_with_failures",
            "runner_count": 2, "failed_runner_count": 1, "error": None,
        }.items()  # fmt: skip
        assert tick["failures"] == [{"runner": "fails", "outcome": "failed", "result": "failed", "error": "no luck"}]
        (error,) = answer["errors"]
        assert error.items() >= {"runner": "fails", "stage": "runner_failed", "error": "no luck"}.items()


async def test_runners_show_their_last_run_and_the_durations_of_the_latest_ones() -> None:
    async with served(quiet(succeeds, fails)) as site:
        for _ in range(3):
            await site.post("/v1/ticks")
        first, second = (await site.json("/v1/runners"))["runners"]
        assert (first["name"], first["paused"], first["at_work"], first["schedule"]) == ("succeeds", False, False, None)
        assert (first["runs"]["run_count"], first["runs"]["failed_run_count"]) == (3, 0)
        assert first["runs"]["outcomes"] == ["completed"] * 3
        assert len(first["runs"]["durations_ms"]) == 3
        assert second["runs"]["failed_run_count"] == 3
        last = second["runs"]["last_run"]
        assert last.items() >= {"outcome": "failed", "result": "failed", "error": "no luck"}.items()
        assert last["started_at"] <= last["ended_at"]


async def test_a_runner_with_a_schedule_shows_when_it_is_due() -> None:
    jobs = TimedJobs()
    jobs.register_runner("report", succeeds, schedule=Cron("0 6 * * *", tz="Europe/Berlin"), description="The report")
    conductor, _ = make_conductor(jobs, autostart=False)
    async with served(conductor) as site:
        (runner,) = (await site.json("/v1/runners"))["runners"]
        told = {name: runner[name] for name in ("schedule", "tz", "misfire", "on_crash", "description")}
        assert told == {
            "schedule": "0 6 * * *", "tz": "Europe/Berlin", "misfire": "run_once", "on_crash": "report",
            "description": "The report",
        }  # fmt: skip
        assert len(runner["next_due_at"]) == 3
        assert all(due.endswith(":00:00Z") for due in runner["next_due_at"])


async def test_a_tick_at_work_shows_and_the_request_does_not_wait_for_longer_than_it_says() -> None:
    release = trio.Event()

    async def waits(ctx: TickContext) -> None:
        await release.wait()

    async with served(quiet(waits)) as site:
        response = await site.post("/v1/ticks?wait=0.05")
        assert (response.status_code, response.json()) == (202, {"ended": False, "tick": None})
        (tick,) = (await site.json("/v1/ticks"))["ticks"]
        assert (tick["ended_at"], tick["decision"]) == (None, None)
        (runner,) = (await site.json("/v1/runners"))["runners"]
        assert runner["at_work"] is True
        assert runner["runs"]["at_work_since"] is not None
        refused = await site.post("/v1/ticks")
        assert problem(refused) == (409, "skipped_busy")
        assert refused.json()["tick"]["decision"] == "skipped_busy"
        release.set()
        await site.conductor.stop()
        (_, tick) = (await site.json("/v1/ticks"))["ticks"]
        assert tick["decision"] == "scheduled"


async def test_who_goes_away_leaves_the_tick_that_he_asked_for_to_go_on() -> None:
    begun, release = trio.Event(), trio.Event()

    async def waits(ctx: TickContext) -> None:
        begun.set()
        await release.wait()

    async with served(quiet(waits)) as site:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.post, "/v1/ticks")
            await begun.wait()
            nursery.cancel_scope.cancel()
        release.set()
        with trio.fail_after(PATIENCE):
            while site.conductor.status().batch_in_flight is not None:
                await trio.sleep(0.01)
        (tick,) = (await site.json("/v1/ticks"))["ticks"]
        assert tick["decision"] == "scheduled"


async def test_a_standby_says_that_it_does_not_lead() -> None:
    memory = MemoryLeaseStore()
    leader, _ = make_conductor(make_jobs(), WatchingNodeStore(memory), node_id="alpha", autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(leader.run)
        async with served(quiet(succeeds, store=WatchingNodeStore(memory), node_id="beta")) as site:
            assert problem(await site.post("/v1/ticks")) == (409, "skipped_not_leader")
            assert problem(await site.post("/v1/runners/succeeds/run")) == (409, "skipped_not_leader")
            assert problem(await site.post("/v1/resign")) == (409, "skipped_not_leader")
            (runner,) = (await site.json("/v1/runners"))["runners"]
            # Not having run is no result of the runner's.
            assert runner["runs"]["run_count"] == 0
        leader.request_stop()


@pytest.mark.parametrize("path", ["/v1/ticks", "/v1/runners/succeeds/run", "/v1/runners/succeeds/pause", "/v1/resign"])
async def test_commands_to_a_conductor_that_does_not_run_say_so(path: str) -> None:
    async with served(quiet(succeeds), running=False) as site:
        assert problem(await site.post(path)) == (503, "not_running")


async def test_runners_of_any_name_are_run_paused_and_resumed() -> None:
    jobs = TimedJobs()
    for name in STRANGE_NAMES:
        jobs.register_runner(name, succeeds, schedule=Cron("0 6 1 1 *"))
    conductor, _ = make_conductor(jobs, autostart=False)
    async with served(conductor) as site:
        for name in STRANGE_NAMES:
            path = f"/v1/runners/{encoded(name)}"
            assert (await raw_post(site, f"{path}/pause")) == 200, name
            assert conductor.status().paused == (name,)
            assert (await raw_post(site, f"{path}/run")) == 200, name
            assert (await raw_post(site, f"{path}/resume")) == 200, name
            assert conductor.status().paused == ()
        runners = (await site.json("/v1/runners"))["runners"]
        assert [(each["name"], each["runs"]["run_count"]) for each in runners] == [(name, 1) for name in STRANGE_NAMES]


def encoded(name: str) -> str:
    """Encode every byte, as a careful client may."""
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def raw_post(site: Site, target: str) -> int:
    """POST to a path that no client touches on its way; return the status."""
    stream = await trio.open_tcp_stream("127.0.0.1", site.port)
    async with stream:
        head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n"
        await stream.send_all(f"{head}Connection: close\r\n\r\n".encode())
        answer = b"".join([chunk async for chunk in stream])
    return int(answer.split()[1])


async def test_pausing_shows_in_the_list_at_once() -> None:
    async with served(quiet(succeeds)) as site:
        assert (await site.json("/v1/runners"))["runners"][0]["paused"] is False
        assert (await site.post("/v1/runners/succeeds/pause")).json() == {"ok": True}
        assert (await site.json("/v1/runners"))["runners"][0]["paused"] is True


async def test_a_list_that_was_being_made_when_a_runner_was_paused_is_not_given_again() -> None:
    conductor = quiet()
    for number in range(100):
        conductor.jobs.register_runner(f"runner-{number}", succeeds)
    registered = Registered(conductor, Recent())

    async def pause_as_a_command_does() -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        await conductor.pause("runner-0")
        registered.forget()

    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        nursery.start_soon(pause_as_a_command_does)
        made_meanwhile = await registered.page(100, 0)
        assert conductor.status().paused == ("runner-0",)
        assert not made_meanwhile.runners[0].paused
        assert (await registered.page(100, 0)).runners[0].paused
        conductor.request_stop()


async def test_a_runner_that_is_not_registered_is_not_found() -> None:
    async with served(quiet(succeeds)) as site:
        for action in ("run", "pause", "resume"):
            assert problem(await site.post(f"/v1/runners/nobody/{action}")) == (404, "unknown_runner")
            assert problem(await site.post(f"/v1/runners/%ff/{action}")) == (400, "bad_request")


async def test_a_store_that_keeps_no_pauses_and_no_nodes_is_said_to_keep_none() -> None:
    async with served(quiet(succeeds, store=Polled())) as site:
        assert problem(await site.post("/v1/runners/succeeds/pause")) == (501, "not_supported")
        assert (await site.json("/v1/nodes")) == {"nodes": None, "node_count": 0, "problem": None}


async def test_a_leader_resigns_when_asked_to() -> None:
    async with served(quiet(succeeds)) as site:
        assert (await site.post("/v1/resign")).json() == {"ok": True}
        await site.wait_until("/v1/status", term=2, leadership="leader")


async def test_pages_of_runners_and_limits_of_ticks() -> None:
    jobs = TimedJobs()
    for number in range(7):
        jobs.register_runner(f"r{number}", succeeds)
    conductor, _ = make_conductor(jobs, autostart=False)
    async with served(conductor) as site:
        page = await site.json("/v1/runners?limit=3&offset=5")
        assert ([each["name"] for each in page["runners"]], page["runner_count"]) == (["r5", "r6"], 7)
        for _ in range(5):
            await site.post("/v1/ticks")
        ticks = (await site.json("/v1/ticks?limit=2"))["ticks"]
        everything = (await site.json("/v1/ticks"))["ticks"]
        assert ticks == everything[:2]
        assert [int(tick["batch_id"].rpartition("-")[2]) for tick in everything] == sorted(
            (int(tick["batch_id"].rpartition("-")[2]) for tick in everything), reverse=True
        )


async def test_many_ticks_are_gathered_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async def counted(limit: int) -> int:
        return len((await site.json(f"/v1/ticks?limit={limit}"))["ticks"])

    monkeypatch.setattr(views, "_FRESH_FOR", 1000.0)
    async with served(quiet(succeeds)) as site:
        await site.post("/v1/ticks")
        assert (await counted(4000), await counted(500)) == (1, 1)
        await site.post("/v1/ticks")
        assert (await counted(4000), await counted(500), await counted(3999)) == (1, 2, 2)
        monkeypatch.setattr(views, "_FRESH_FOR", 0.0)
        assert await counted(4000) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/ticks?limit=0", "limit must be an integer from 1 to 4000, once, not '0'."),
        ("/v1/ticks?limit=4001", "limit must be an integer from 1 to 4000, once, not '4001'."),
        ("/v1/ticks?limit=x", "limit must be an integer from 1 to 4000, once, not 'x'."),
        ("/v1/ticks?limit=%D9%A3", "limit must be an integer from 1 to 4000, once, not '٣'."),
        ("/v1/ticks?limit=1&limit=2", "limit must be an integer from 1 to 4000, once, not ['1', '2']."),
        ("/v1/ticks?limits=1", "there is no parameter 'limits' here."),
        ("/v1/runners?offset=-1", "offset must be an integer from 0 to 999999999, once, not '-1'."),
        ("/v1/status?x", "there is no parameter 'x' here."),
    ],
)
async def test_a_bad_parameter_is_named_with_its_value_and_rule(path: str, message: str) -> None:
    async with served(quiet(succeeds)) as site:
        response = await site.get(path)
        assert response.json() == {"error": "bad_request", "message": message}
        assert response.status_code == 400


@pytest.mark.parametrize("wait", ["-1", "301", "nan", "inf", "1e3", ""])
async def test_a_bad_wait_runs_no_tick(wait: str) -> None:
    async with served(quiet(succeeds)) as site:
        assert problem(await site.post(f"/v1/ticks?wait={wait}")) == (400, "bad_request")
        assert (await site.json("/v1/ticks"))["ticks"] == []


async def test_unknown_routes_and_methods_are_refused() -> None:
    async with served(quiet(succeeds)) as site:
        assert problem(await site.get("/v1/nothing")) == (404, "not_found")
        assert problem(await site.get("/page/../app.py")) == (404, "not_found")
        assert problem(await site.get("/v1/runners/succeeds/run")) == (405, "method_not_allowed")
        assert problem(await site.post("/v1/status")) == (405, "method_not_allowed")
        assert (await site.client.head("/v1/status")).status_code == 200


async def test_metrics_are_those_of_this_conductor() -> None:
    async with served(quiet(succeeds)) as site:
        await site.post("/v1/ticks")
        response = await site.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain; version=")
        assert re.search(r"^conductor_jobs_\w*ticks_total\{.*\} 1\.0$", response.text, re.MULTILINE)


async def test_without_their_package_metrics_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "conductor_jobs.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with served(quiet(succeeds)) as site:
        response = await site.get("/metrics")
        assert problem(response) == (501, "not_installed")
        assert "pip install 'conductor-jobs[metrics]'" in response.json()["message"]


async def test_every_answer_bears_the_headers_that_keep_browsers_in() -> None:
    async with served(quiet(succeeds)) as site:
        for path in ("/", "/v1/status", "/v1/nothing", "/metrics", "/openapi.json"):
            headers = (await site.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "no-referrer"
            assert "server" not in headers
            assert not any(name.startswith("access-control") for name in headers)
        assert (await site.get("/")).headers["content-type"] == "text/html; charset=utf-8"


# Serving


async def test_a_url_that_cannot_be_listened_on_is_refused_with_its_rule() -> None:
    conductor = quiet(succeeds)
    not_urls: list[Any] = [5, None]
    for not_url in not_urls:
        with pytest.raises(ValueError, match="serve_local_api url must be an http URL of a host and a port"):
            await serve_local_api(conductor, not_url)
    for url in ("https://127.0.0.1:1", "http://127.0.0.1:1/x", "http://u@127.0.0.1:1", "http://127.0.0.1:99999", "x"):
        with pytest.raises(ValueError, match="serve_local_api url must be an http URL of a host and a port") as raised:
            await serve_local_api(conductor, url)
        assert url not in str(raised.value)
    with pytest.raises(ValueError, match=r"0\.0\.0\.0 can be reached by others: give a token \(BAA_CONDUCTOR_LOCAL"):
        await serve_local_api(conductor, "http://0.0.0.0:0")
    tokens: list[Any] = ["", "  ", "a\nb", " a", 5, b"a"]
    for token in tokens:
        with pytest.raises(ValueError, match="serve_local_api token must be a non-empty line of text without blanks"):
            await serve_local_api(conductor, "http://127.0.0.1:0", token=token)
    nobody: Any = None
    with pytest.raises(TypeError, match="serve_local_api conductor must be a Conductor, not None"):
        await serve_local_api(nobody, "http://127.0.0.1:0")


async def test_a_port_in_use_is_an_error_and_a_free_one_is_told() -> None:
    conductor = quiet(succeeds)
    async with served(conductor) as site:
        with pytest.raises(OSError, match="in use"):
            await serve_local_api(conductor, site.urls[0])


async def test_it_serves_on_ipv6_too() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with served(quiet(succeeds), url="http://[::1]:0") as site:
        assert site.urls[0].startswith("http://[::1]:")
        assert (await site.json("/healthz")) == {"ok": True}
        assert (await site.post("/v1/ticks")).status_code == 200


async def test_it_serves_from_run_to_run_of_its_conductor() -> None:
    conductor = quiet(succeeds)
    async with served(conductor) as site:
        await site.post("/v1/ticks")
        await conductor.stop()
        await site.wait_until("/v1/status", started=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await site.post("/v1/ticks")
            assert len((await site.json("/v1/ticks"))["ticks"]) == 2
            conductor.request_stop()


async def test_once_it_has_ended_the_journal_is_not_listened_to_any_more() -> None:
    conductor = quiet(succeeds)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        async with served(conductor, running=False):
            assert len(conductor._recorder.journals) == 2
        assert len(conductor._recorder.journals) == 1
        conductor.request_stop()


async def test_a_fault_of_ours_is_told_of_here_and_not_to_whoever_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conductor = quiet(succeeds)
    async with served(conductor) as site:
        monkeypatch.setattr(conductor.jobs.__class__, "runner_names", property(lambda _: 1 / 0))
        response = await site.get("/v1/runners")
        monkeypatch.undo()
    assert response.status_code == 500
    assert response.json() == {"error": "internal", "message": "the server has a fault, see its output."}
    printed = capsys.readouterr().err
    assert "ZeroDivisionError" in printed
    assert TOKEN not in printed


async def test_nodes_of_one_id_are_told_by_their_descriptions() -> None:
    node = Node("solo", "there", role="standby", version="7")
    async with served(quiet(succeeds, node=node)) as site:
        (seen,) = (await site.json("/v1/nodes"))["nodes"]
        assert seen.items() >= {"node_id": "solo", "host": "there", "role": "standby", "version": "7"}.items()
        assert (await site.client.post("/v1/ticks", headers=BEARER)).status_code == 200
