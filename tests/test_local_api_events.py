"""Event streams: what is told, going on where one left off, and listeners who do not read."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx2
import pytest
import trio

from conductor_jobs import Conductor, LeaseTiming, TickContext
from conductor_jobs.http_serving import connections
from conductor_jobs.local_api import events, recent, streams
from conductor_jobs.local_api.serving import listening
from conductor_jobs.stores.memory import MemoryLeaseStore

from .local_api import PATIENCE, TOKEN, Event, Listener, Site, served
from .support import WatchingNodeStore, make_conductor, make_jobs
from .test_local_api import fails, problem, quiet, succeeds


async def ticks_of(listener: Listener, count: int) -> list[tuple[str, str]]:
    """Return the ids of the next so many ended ticks' events, and the ids of those ticks."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        event = await listener.wait_for("tick")
        if event.data["ended_at"] is not None:
            found.append((event.id, event.data["batch_id"]))
    return found


async def test_whoever_listens_hears_of_ticks_runs_and_errors() -> None:
    async with served(quiet(succeeds, fails)) as site, site.listening() as listener:
        assert listener.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (await listener.wait_for("hello")).data == {"version": "0.1.0"}
        assert listener.retry == 2000
        status = (await listener.wait_for("status")).data
        assert status.items() >= {"leadership": "leader", "term": 1, "node": status["node"]}.items()
        batch_id = (await site.post("/v1/ticks")).json()["tick"]["batch_id"]
        tick = (await listener.wait_for("tick")).data
        assert tick == (await site.json("/v1/ticks"))["ticks"][0]
        assert tick["batch_id"] == batch_id
        runs = [(await listener.wait_for("runner")).data for _ in range(2)]
        assert runs == [each["runs"] for each in (await site.json("/v1/runners"))["runners"]]
        error = (await listener.wait_for("error")).data
        assert [error] == (await site.json("/v1/ticks"))["errors"]


async def test_texts_that_utf8_cannot_hold_are_told_as_their_escapes_and_end_nothing() -> None:
    async def reads(ctx: TickContext) -> None:
        raise FileNotFoundError("no file called \udcfc\\")  # as the name of a file that is not in UTF-8

    async with served(quiet(reads)) as site, site.listening() as listener:
        await site.post("/v1/ticks")
        error = (await listener.wait_for("error")).data
        assert error["error"] == "no file called \\udcfc\\"
        assert (await site.json("/v1/ticks"))["errors"] == [error]
        last_run = (await site.json("/v1/runners"))["runners"][0]["runs"]["last_run"]
        assert last_run["error"] == error["error"]


async def test_a_takeover_and_every_renewal_are_told_as_a_status() -> None:
    memory = MemoryLeaseStore()
    timing = {"timing": LeaseTiming(ttl=30.0, renew_interval=0.5)}
    leader, _ = make_conductor(make_jobs(), WatchingNodeStore(memory), node_id="alpha", autostart=False, **timing)
    async with trio.open_nursery() as nursery:
        await nursery.start(leader.run)
        conductor = quiet(succeeds, store=WatchingNodeStore(memory), node_id="beta", **timing)
        async with served(conductor) as site, site.listening() as listener:
            while (status := (await listener.wait_for("status")).data)["lease"] is None:
                pass
            assert (status["leadership"], status["lease"]["holder_id"]) == ("standby", "alpha")
            leader.request_stop()
            while (status := (await listener.wait_for("status")).data)["leadership"] != "leader":
                pass
            assert status["term"] == 2
            # A lease that runs out later was renewed.
            expiries = [expiry_of(status)]
            while len(expiries) < 4:
                if (expiry := expiry_of((await listener.wait_for("status")).data)) > expiries[-1] + 0.1:
                    expiries.append(expiry)


def expiry_of(status: Any) -> float:
    """Return when the lease runs out, in seconds, that a node told of which leads."""
    return datetime.fromisoformat(status["now"]).timestamp() + float(status["lease_remaining"])


async def test_a_pause_and_a_new_runner_are_told() -> None:
    conductor = quiet(succeeds)
    async with served(conductor) as site, site.listening() as listener:
        await listener.wait_for("status")
        await site.post("/v1/runners/succeeds/pause")
        await listener.wait_for("runners")
        conductor.jobs.register_runner("another", succeeds)
        await listener.wait_for("runners")


async def test_the_stop_is_told_and_a_runner_that_logs_in_a_thread_is_heard() -> None:
    def in_thread(ctx: TickContext) -> None:
        ctx.log("trouble", error="from a thread")

    async with served(quiet(in_thread)) as site, site.listening() as listener:
        await site.post("/v1/ticks")
        assert (await listener.wait_for("error")).data["error"] == "from a thread"
        site.conductor.request_stop()
        while (await listener.wait_for("status")).data["started"]:
            pass


async def ticks_until_reset(site: Site, listener: Listener) -> Event:
    """Run ticks flat out until the listener is told to look at everything anew, and return what it was told."""

    async def run_ticks() -> None:
        while True:
            await site.conductor.run_tick()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_ticks)
        event = await listener.wait_for("reset")
        nursery.cancel_scope.cancel()
    return event


async def hears_of_new_ticks(site: Site, listener: Listener) -> None:
    """Return once a listener has heard of a tick that was begun after this was called."""
    begun: set[str] = set()

    async def keep_posting() -> None:
        while True:
            begun.add((await site.post("/v1/ticks")).json()["tick"]["batch_id"])
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_posting)
        while (await ticks_of(listener, 1))[0][1] not in begun:
            pass
        nursery.cancel_scope.cancel()


# Going on


async def test_whoever_comes_again_goes_on_where_he_left_off_without_gap_or_repetition() -> None:
    async with served(quiet(succeeds)) as site:
        batches: list[str] = []
        heard: list[tuple[str, str]] = []
        last = ""
        for visit in range(6):
            async with site.listening(**({"last_event_id": last} if last else {})) as listener:
                if not last:
                    last = (await listener.wait_for("hello")).id
                batches += [(await site.post("/v1/ticks")).json()["tick"]["batch_id"] for _ in range(visit + 1)]
                # Not to the end of what there is: the next visit has to catch up.
                heard += await ticks_of(listener, visit + 1)
                last = heard[-1][0]
            batches.append((await site.post("/v1/ticks")).json()["tick"]["batch_id"])
        async with site.listening(last_event_id=last) as listener:
            heard += await ticks_of(listener, len(batches) - len(heard))
        assert [batch for _, batch in heard] == batches
        numbers = [int(event_id.rpartition(".")[2]) for event_id, _ in heard]
        assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("last_event_id", ["", "x", "1", "deadbeef.1", "deadbeef.-1", "\xff"])
async def test_whoever_comes_with_an_id_that_is_none_of_ours_is_told_to_look_at_everything_anew(
    last_event_id: str,
) -> None:
    async with served(quiet(succeeds)) as site:
        async with site.listening(last_event_id=last_event_id) as listener:
            event = await listener.next()
            assert event is not None
            assert (event.kind, event.data) == ("reset", {"reason": "events were missed"})
            batch_id = (await site.post("/v1/ticks")).json()["tick"]["batch_id"]
            assert (await ticks_of(listener, 1))[0][1] == batch_id
        # From its id on nothing is missed.
        async with site.listening(last_event_id=event.id) as again:
            assert (await ticks_of(again, 1))[0][1] == batch_id


async def test_whoever_comes_too_late_is_told_to_look_at_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_EVENTS", 20)
    async with served(quiet(succeeds)) as site:
        async with site.listening() as listener:
            hello = await listener.wait_for("hello")
            await ticks_until_reset(site, listener)
        async with site.listening(last_event_id=hello.id) as late:
            event = await late.next()
            assert event is not None
            assert event.kind == "reset"


async def test_a_listener_who_falls_behind_what_is_kept_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_EVENTS", 20)
    # More between two looks than is kept, and never too much to tell.
    monkeypatch.setattr(recent, "MOST_CHANGES", 1_000_000)
    async with served(quiet(succeeds)) as site, site.listening() as listener:
        await listener.wait_for("hello")
        assert (await ticks_until_reset(site, listener)).data == {"reason": "events were missed"}
        await hears_of_new_ticks(site, listener)


async def test_flat_out_ticks_are_told_to_be_too_many_in_place_of_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # So few that a slow machine too runs more between two looks.
    monkeypatch.setattr(recent, "MOST_CHANGES", 10)
    async with served(quiet(succeeds)) as site, site.listening() as listener:
        await listener.wait_for("hello")
        assert (await ticks_until_reset(site, listener)).data == {"reason": "too much has changed at once"}


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    async with (
        served(quiet(succeeds), running=False) as site,
        site.listening() as listener,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(listener.rest)
        with trio.fail_after(PATIENCE):
            while listener.comments < 2:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_head_says_what_get_would_be_and_ends() -> None:
    async with served(quiet(succeeds)) as site:
        response = await site.client.head("/v1/events")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert (await site.json("/v1/status"))["event_clients"] == 0


# Listeners who do not read, and many of them


async def never_reads(port: int) -> trio.SocketStream:
    """Ask for the events and read nothing of them, with as little room for them as the system gives."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    await sock.connect(("127.0.0.1", port))
    stream = trio.SocketStream(sock)
    await stream.send_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return stream


async def test_who_never_reads_is_dropped_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SEND_TIMEOUT", 0.3)
    # Each tick is told of, however many a fast machine runs between two looks.
    monkeypatch.setattr(recent, "MOST_CHANGES", 1_000_000)
    heard: list[tuple[str, str]] = []

    async def hear(listener: Listener) -> None:
        while True:
            heard.extend(await ticks_of(listener, 1))

    async with served(quiet(succeeds, fails)) as site, site.listening() as listener, await never_reads(site.port):
        await site.wait_until("/v1/status", event_clients=2)
        term, told = site.conductor.status().term, 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, listener)
            with trio.fail_after(PATIENCE):
                while (await site.json("/v1/status"))["event_clients"] == 2:
                    assert (await site.post("/v1/ticks")).json()["tick"]["decision"] == "scheduled"
                    told += 1
                # Whoever reads hears of every tick meanwhile.
                while len(heard) < told:
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        assert len(set(heard)) == told
        assert site.conductor.status().term == term


async def test_two_hundred_listeners_and_one_who_never_reads_hear_of_every_tick() -> None:
    async with served(quiet(succeeds)) as site, trio.open_nursery() as nursery:
        heard: list[int] = []

        async def listen(task_status: trio.TaskStatus[None]) -> None:
            async with site.listening() as listener:
                await listener.wait_for("hello")
                task_status.started()
                heard.append(len(set(await ticks_of(listener, 10))))

        async with await never_reads(site.port):
            for _ in range(200):
                await nursery.start(listen)
            await site.wait_until("/v1/status", event_clients=201)
            for _ in range(10):
                assert (await site.post("/v1/ticks")).json()["tick"]["decision"] == "scheduled"
            with trio.fail_after(PATIENCE):
                while len(heard) < 200:
                    await trio.sleep(0.05)
        assert heard == [10] * 200
        assert site.conductor.status().consecutive_renew_failures == 0


async def test_only_so_many_may_listen() -> None:
    conductor = quiet(succeeds)
    async with trio.open_nursery() as nursery, limited(conductor, nursery, most=4) as site:
        async with site.listening() as one, site.listening() as two:
            await one.wait_for("hello")
            await two.wait_for("hello")
            assert problem(await site.get("/v1/events")) == (503, "too_many_listeners")
            assert (await site.json("/v1/status"))["event_clients"] == 2
        # Who has gone makes room.
        await site.wait_until("/v1/status", event_clients=0)
        async with site.listening() as again:
            await again.wait_for("hello")
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def limited(conductor: Conductor, nursery: trio.Nursery, most: int) -> AsyncGenerator[Site]:
    """Serve with so many connections; half of them may listen."""
    async with listening("http://127.0.0.1:0", TOKEN) as server:
        server._server.most_connections = most
        nursery.start_soon(server.run, conductor)
        async with httpx2.AsyncClient(base_url=server.urls[0], timeout=PATIENCE) as client:
            yield Site(conductor, list(server.urls), client)


# The end


async def test_a_stop_ends_open_streams_with_the_last_events_and_who_never_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "SEND_TIMEOUT", 1000.0)
    conductor = quiet(succeeds)
    async with trio.open_nursery() as nursery, listening("http://127.0.0.1:0", TOKEN) as server:
        ended = trio.Event()

        async def serve() -> None:
            await server.run(conductor)
            ended.set()

        await nursery.start(conductor.run)
        nursery.start_soon(serve)
        async with httpx2.AsyncClient(base_url=server.urls[0], timeout=PATIENCE) as client:
            site = Site(conductor, list(server.urls), client)
            async with site.listening() as listener, await never_reads(site.port):
                await site.wait_until("/v1/status", event_clients=2)
                await conductor.run_tick()
                await conductor.stop()
                server.request_stop()
                rest = await listener.rest()
                with trio.fail_after(PATIENCE):
                    await ended.wait()
        kinds = [event.kind for event in rest]
        assert "tick" in kinds
        last = [event.data for event in rest if event.kind == "status"][-1]
        assert last["started"] is False


async def choked(site: Site) -> trio.SocketStream:
    """Return a connection that is never read, into which the server cannot send any more."""
    connection = await never_reads(site.port)
    await site.wait_until("/v1/status", event_clients=1)
    for _ in range(40):
        for _ in range(10):
            await site.conductor.run_tick()
        await trio.sleep(0.01)
    await trio.sleep(0.5)
    return connection


async def test_a_stop_waits_for_nobody_whose_buffers_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    # What he would have otherwise.
    monkeypatch.setattr(connections, "SEND_TIMEOUT", 1000.0)
    conductor = quiet(succeeds, verbose_failure)
    async with trio.open_nursery() as nursery, listening("http://127.0.0.1:0", TOKEN) as server:
        await nursery.start(conductor.run)
        async with trio.open_nursery() as serving_nursery:
            serving_nursery.start_soon(server.run, conductor)
            async with httpx2.AsyncClient(base_url=server.urls[0], timeout=PATIENCE) as client:
                connection = await choked(Site(conductor, list(server.urls), client))
                await conductor.stop()
                server.request_stop()
                serving_nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        assert not serving_nursery.cancel_scope.cancelled_caught
        await connection.aclose()


async def test_a_cancellation_waits_for_nobody_whose_buffers_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SEND_TIMEOUT", 1000.0)
    conductor = quiet(succeeds, verbose_failure)
    with trio.fail_after(PATIENCE):
        async with served(conductor) as site:
            connection = await choked(site)
    await connection.aclose()


async def verbose_failure(ctx: TickContext) -> None:
    raise ValueError("x" * 2000)


async def test_who_asked_for_a_long_tick_and_went_away_keeps_no_connection_busy() -> None:
    begun = trio.Event()

    async def waits(ctx: TickContext) -> None:
        begun.set()
        await trio.sleep_forever()

    conductor = quiet(waits)
    async with trio.open_nursery() as nursery, listening("http://127.0.0.1:0", TOKEN) as server:
        await nursery.start(conductor.run)
        nursery.start_soon(server.run, conductor)
        async with httpx2.AsyncClient(base_url=server.urls[0], timeout=PATIENCE) as client:
            async with trio.open_nursery() as asking:
                asking.start_soon(Site(conductor, list(server.urls), client).post, "/v1/ticks?wait=300")
                await begun.wait()
                asking.cancel_scope.cancel()
            with trio.fail_after(PATIENCE):
                while server._server._connections:
                    await trio.sleep(0.05)
        assert conductor.status().batch_in_flight is not None
        conductor.request_stop()
        conductor.cancel_work()
        server.request_stop()


async def test_cancelling_ends_it_at_once_with_streams_open() -> None:
    conductor = quiet(succeeds)
    async with trio.open_nursery() as nursery:
        async with served(conductor, running=False) as site:
            connection = await never_reads(site.port)
            await site.wait_until("/v1/status", event_clients=1)
        # Left: the port is free again, and the conductor's journal its own.
        assert conductor._recorder.journals == ()
        await connection.aclose()
        nursery.cancel_scope.cancel()
