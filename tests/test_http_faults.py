"""The control API as a real process, and what befalls it: killed, frozen, cut off, slow, locked, and not itself."""

import http.server
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest
import trio

from conductor_jobs import Holder, LeaseTiming
from conductor_jobs.stores.http import HTTPLeaseStore
from conductor_jobs.stores.http_errors import ControlAPIError
from conductor_jobs.verify import verify

from .real_nodes import LONG, PATIENCE, TTL, RealNode, leader, running, until
from .real_servers import free_port
from .real_servers.control_api import TOKEN, ControlAPIProcess

NODES = ("alpha", "beta")


@pytest.fixture
def server(tmp_path: Path) -> Generator[ControlAPIProcess]:
    """A running server over SQLite; whatever befalls it, it has printed no token and no traceback."""
    server = ControlAPIProcess(tmp_path / "server")
    server.start()
    yield server
    server.thaw()
    server.kill()
    assert TOKEN not in server.output.read_text()
    assert server.printed() == []


def over(
    server: ControlAPIProcess, folder: Path, *names: str, timing: LeaseTiming | None = None, token: str = TOKEN
) -> AbstractAsyncContextManager[list[RealNode]]:
    """Run nodes over the server."""

    def open_store(proxy: object) -> HTTPLeaseStore:
        return HTTPLeaseStore(f"http://127.0.0.1:{proxy.port}", token)  # type: ignore[attr-defined] # a Proxy

    return running(folder, server.port, open_store, *names, timing=timing)


async def in_thread(work: object) -> None:
    await trio.to_thread.run_sync(work)  # type: ignore[arg-type] # a function


async def test_a_server_that_is_killed_and_restarted_in_a_term_ends_no_term(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with over(server, tmp_path, *NODES, timing=LONG) as nodes:
        await until(lambda: leader(nodes))
        await in_thread(server.kill)
        await nodes[0].until(lambda node: node.problems())
        await in_thread(server.start)
        await nodes[0].until(lambda node: node.conductor.status().consecutive_renew_failures == 0)
        await nodes[0].ticks()
        assert [node.term for node in nodes] == [1, 1]
        assert not nodes[0].journal("leader_ended")
    assert all("ControlAPIError: control API http://127.0.0.1:" in problem for problem in nodes[0].problems())
    assert all(" cannot be reached: " in problem for problem in nodes[0].problems())


async def test_a_server_that_is_away_for_longer_than_the_ttl_ends_the_term_and_terms_go_on_rising(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with over(server, tmp_path, *NODES) as nodes:
        await until(lambda: leader(nodes))
        await in_thread(server.kill)
        await nodes[0].until(lambda node: not node.leads)
        await nodes[0].until(lambda node: node.conductor.status().degraded)
        await nodes[1].until(lambda node: node.conductor.status().degraded)
        await in_thread(server.start)
        await until(lambda: leader(nodes))
        assert (leader(nodes) or nodes[0]).term >= 2
        for node in nodes:
            await node.until(lambda node: not node.conductor.status().degraded)
    assert nodes[0].journal("leader_ended")[0].result == "lease_expired"


async def test_a_frozen_server_ends_the_term_in_time_and_goes_on_when_it_thaws(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with over(server, tmp_path, *NODES) as nodes:
        await until(lambda: leader(nodes))
        server.freeze()
        await nodes[0].until(lambda node: not node.leads)
        await nodes[0].until(lambda node: node.conductor.status().degraded)
        assert leader(nodes) is None
        server.thaw()
        await until(lambda: leader(nodes))
        await (leader(nodes) or nodes[0]).ticks()
    assert any("gave no answer within" in problem for problem in nodes[0].problems())


async def test_a_renewal_whose_answer_is_lost_extends_nothing_and_is_tried_again(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with over(server, tmp_path, "alpha", timing=LONG) as (alpha,):
        await alpha.until(lambda node: node.leads)
        alpha.proxy.lose_answer(b"/v1/leader/acquire")
        await alpha.until(lambda node: node.problems())
        await alpha.ticks(5)
        assert (alpha.leads, alpha.term) == (True, 1)
        alpha.proxy.lose_request(b"/v1/leader/acquire")
        await alpha.until(lambda node: len(node.problems()) == 2)
        await alpha.ticks(5)
        assert (alpha.leads, alpha.term) == (True, 1)


async def test_a_campaign_whose_answer_is_lost_is_followed_by_one_for_a_higher_term(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with HTTPLeaseStore(server.url, TOKEN) as other:
        barrier = Holder("barrier", "1")
        assert (await other.acquire("conductor", barrier, 60.0)).term == 1
        # With a timing so long that the next campaign is that after the release.
        async with over(server, tmp_path, "alpha", timing=LeaseTiming(60.0)) as (alpha,):
            alpha.proxy.lose_answer(b"/v1/leader/acquire")
            await other.release("conductor", barrier)
            await alpha.until(lambda node: node.leads)
            # Term 2 was granted, and nobody learned of it.
            assert alpha.term == 3
            await alpha.ticks()
    assert len(alpha.problems()) == 1


async def test_connections_that_break_cost_an_attempt_and_no_term(server: ControlAPIProcess, tmp_path: Path) -> None:
    async with over(server, tmp_path, *NODES, timing=LONG) as nodes:
        await until(lambda: leader(nodes))
        for _ in range(20):
            for node in nodes:
                node.proxy.cut()
            await trio.sleep(0.15)
        await nodes[0].ticks()
        assert [node.term for node in nodes] == [1, 1]


async def test_the_threads_of_the_application_are_not_needed_to_find_the_host(server: ControlAPIProcess) -> None:
    busy, threads = threading.Event(), trio.to_thread.current_default_thread_limiter()
    url = server.url.replace("127.0.0.1", "localhost")
    async with trio.open_nursery() as nursery, HTTPLeaseStore(url, TOKEN) as store:
        for _ in range(int(threads.total_tokens)):
            nursery.start_soon(in_thread, busy.wait)
        await until(lambda: threads.available_tokens == 0)
        with trio.move_on_after(PATIENCE) as patience:
            assert (await store.acquire("conductor", Holder("alpha", "1"), 30.0)).is_leader
        busy.set()
    assert not patience.cancelled_caught


async def test_an_address_that_leads_nowhere_is_not_waited_for(
    server: ControlAPIProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(_host: str, _port: int) -> list[str]:
        # One where nobody listens, one that swallows (TEST-NET-1, RFC 5737), and the right one.
        return ["127.0.0.2", "192.0.2.1", "127.0.0.1"]

    monkeypatch.setattr("conductor_jobs.stores.http_transport._looked_up", look_up)
    async with HTTPLeaseStore(server.url.replace("127.0.0.1", "conductor.example"), TOKEN) as store:
        assert (await store.acquire("conductor", Holder("alpha", "1"), 30.0)).is_leader


async def test_of_two_nodes_the_one_that_is_cut_off_stops_and_the_other_leads(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with over(server, tmp_path, *NODES) as nodes:
        alpha, beta = nodes
        await alpha.until(lambda node: node.leads)
        alpha.proxy.black_hole()
        await beta.until(lambda node: node.leads)
        assert not alpha.leads
        await beta.ticks()
        await alpha.until(lambda node: node.conductor.status().degraded)
        alpha.proxy.heal()
        await alpha.until(lambda node: not node.conductor.status().degraded)
        await alpha.until(lambda node: node.conductor.status().holder_id == "beta")
        assert (beta.leads, alpha.leads, alpha.term) == (True, False, 2)


async def test_latency_below_the_store_timeout_costs_nothing(server: ControlAPIProcess, tmp_path: Path) -> None:
    async with over(server, tmp_path, *NODES, timing=LONG) as nodes:
        await until(lambda: leader(nodes))
        for node in nodes:
            node.proxy.delay = LONG.store_timeout / 8
        await trio.sleep(6 * LONG.renew_interval)
        assert [node.term for node in nodes] == [1, 1]
        assert leader(nodes) is nodes[0]
        for node in nodes:
            node.proxy.delay = 0.0


async def test_latency_above_the_store_timeout_lets_nobody_lead_until_it_is_over(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with over(server, tmp_path, *NODES) as nodes:
        await until(lambda: leader(nodes))
        for node in nodes:
            node.proxy.delay = 0.9 * TTL
        await nodes[0].until(lambda node: not node.leads)
        await trio.sleep(2 * TTL)
        for node in nodes:
            node.proxy.delay = 0.0
        await until(lambda: leader(nodes))
        await (leader(nodes) or nodes[0]).ticks()
        assert (leader(nodes) or nodes[0]).term > 1


async def test_a_wrong_token_is_a_degraded_standby_until_the_server_takes_it(tmp_path: Path) -> None:
    server = ControlAPIProcess(tmp_path / "server", token="another-token")
    server.start()
    try:
        async with over(server, tmp_path, "alpha") as (alpha,):
            await alpha.until(lambda node: node.conductor.status().degraded)
            await in_thread(server.stop)
            server.token = TOKEN
            await in_thread(server.start)
            await alpha.until(lambda node: node.leads)
            assert not alpha.conductor.status().degraded
    finally:
        server.kill()
    assert "refused the token (401 unauthorized): the shared token is not the server's" in alpha.problems()[0]
    journal = "".join(file.read_text() for file in alpha.folder.iterdir())
    for text in (journal, server.output.read_text()):
        assert TOKEN not in text
        assert "another-token" not in text


@contextmanager
def somebody_else(
    status: int, content_type: str, body: bytes, location: str | None = None, tls: Path | None = None
) -> Generator[int]:
    """Run a web server that is no control API, and return its port. `tls`: where its key and certificate are."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            if location is not None:
                self.send_header("location", location)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base has it
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "certificate.pem", tls / "key.pem")
            web.socket = context.wrap_socket(web.socket, server_side=True)
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield web.server_port
        web.shutdown()
        thread.join()


async def test_what_is_no_control_api_is_said_to_be_none(server: ControlAPIProcess) -> None:
    expected = {
        (404, None): "answered 404 with text/html, not as a control API does: is it one?",
        (302, f"{server.url}/v1/leader/acquire"): "answered 302, a redirect, which is not followed",
    }
    for (status, location), text in expected.items():
        with somebody_else(status, "text/html", b"<html></html>", location) as port:
            async with HTTPLeaseStore(f"http://127.0.0.1:{port}", TOKEN) as store:
                with pytest.raises(ControlAPIError, match=re.escape(text)):
                    await store.acquire("conductor", Holder("alpha", "1"), 30.0)
    with pytest.raises(ControlAPIError, match="cannot be reached"):
        await HTTPLeaseStore(f"https://127.0.0.1:{server.port}", TOKEN).acquire("a", Holder("b", "c"), 1.0)
    with pytest.raises(ControlAPIError, match="Connection refused"):
        await HTTPLeaseStore(f"http://127.0.0.1:{free_port()}", TOKEN).acquire("a", Holder("b", "c"), 1.0)


async def test_two_servers_over_one_file_are_as_good_as_one(server: ControlAPIProcess, tmp_path: Path) -> None:
    other = ControlAPIProcess(tmp_path / "other", store=f"sqlite:///{tmp_path / 'server' / 'conductor.db'}")
    other.start()
    try:
        async with over(server, tmp_path, "alpha") as (alpha,), over(other, tmp_path, "beta") as (beta,):
            await alpha.until(lambda node: node.leads)
            await beta.until(lambda node: node.conductor.status().holder_id == "alpha")
            await alpha.conductor.stop()
            await beta.until(lambda node: node.leads)
            assert beta.term == 2
            await beta.ticks()
    finally:
        other.kill()
    report = verify([alpha.folder, beta.folder])
    assert report.violation_count == 0, report.violations


async def test_over_memory_a_restart_begins_again_and_a_node_waits_until_terms_rise(tmp_path: Path) -> None:
    server = ControlAPIProcess(tmp_path / "server", store="memory:")
    server.start()
    try:
        async with HTTPLeaseStore(server.url, TOKEN) as store:
            for life in range(5):
                await store.acquire("conductor", Holder("other", str(life)), 30.0)
                await store.release("conductor", Holder("other", str(life)))
        async with over(server, tmp_path, "alpha", timing=LONG) as (alpha,):
            await alpha.until(lambda node: node.leads)
            assert alpha.term == 6
            await in_thread(server.kill)
            await in_thread(server.start)
            await alpha.until(lambda node: node.leads and node.term > 6)
            await alpha.ticks()
    finally:
        server.kill()


async def test_a_sigterm_ends_the_server_at_once_though_many_wait(tmp_path: Path) -> None:
    # It would give requests an hour to be answered.
    server = ControlAPIProcess(tmp_path / "server", grace=3600.0)
    server.start()
    try:
        async with over(server, tmp_path, *NODES, timing=LeaseTiming(30.0)) as nodes:
            await until(lambda: leader(nodes))
            await trio.sleep(0.5)
            with trio.fail_after(PATIENCE / 2):
                await in_thread(server.stop)
            await in_thread(server.start)
            await nodes[0].until(lambda node: not node.conductor.status().consecutive_renew_failures)
            await nodes[0].ticks()
    finally:
        server.kill()
    assert server.printed() == []


SLOW = {
    "says nothing": b"",
    "half a header": b"POST /v1/leader/acquire HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "half a body": (
        b"POST /v1/leader/acquire HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Length: 100\r\n\r\n{"
    ),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


async def test_two_hundred_clients_that_never_finish_cost_the_leader_nothing(
    server: ControlAPIProcess, tmp_path: Path
) -> None:
    async with over(server, tmp_path, *NODES, timing=LONG) as nodes:
        await until(lambda: leader(nodes))
        clients = []
        for number in range(200):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(list(SLOW.values())[number % len(SLOW)])
            clients.append(client)
        for _ in range(20):
            await trio.sleep(0.2)
            for client in clients[1::4]:
                client.sendall(b"x")
        await nodes[0].ticks()
        assert nodes[0].problems() == []
        assert nodes[0].term == 1
        for client in clients:
            client.close()


async def test_a_certificate_that_nobody_vouches_for_ends_the_call_before_the_token_is_sent(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files], check=True, capture_output=True
    )
    grant = (
        b'{"ok":true,"data":{"holderId":"alpha","term":1,"isLeader":true,"operation":"acquire",'
        b'"renewedAt":0,"leaseExpiresAt":0,"expiresIn":30}}'
    )
    holder = Holder("alpha", "1")
    with somebody_else(200, "application/json", grant, tls=tmp_path) as port:
        async with HTTPLeaseStore(f"https://localhost:{port}", TOKEN) as store:
            with pytest.raises(ControlAPIError, match=r"cannot be reached: .*certificate verify failed"):
                await store.acquire("conductor", holder, 30.0)
        trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
        async with HTTPLeaseStore(f"https://localhost:{port}", TOKEN, ssl_context=trusting) as store:
            assert (await store.acquire("conductor", holder, 30.0)).term == 1
        async with HTTPLeaseStore(f"https://127.0.0.1:{port}", TOKEN, ssl_context=trusting) as store:
            with pytest.raises(ControlAPIError, match="IP address mismatch"):
                await store.acquire("conductor", holder, 30.0)
